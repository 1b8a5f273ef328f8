"""The page shows hostile text as text and needs nothing but itself."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser

import pytest

from llm_assets.evaluation.checks import evaluation_gates
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.judge import EmbeddingJudge
from llm_assets.evaluation.judge_status import Qualification, status_of
from llm_assets.evaluation.outputs import Output, Subject
from llm_assets.evaluation.page import render
from llm_assets.evaluation.perplexity import Perplexity
from llm_assets.evaluation.request import EvaluationRequest
from llm_assets.evaluation.samples import Measured, parquet
from llm_assets.evaluation.task import Score
from llm_assets.evaluation.win_rate import WinRate
from llm_assets.records.data import EvaluationSets
from llm_assets.records.evaluation import Identity, JudgeStatus, Measurement
from llm_assets.records.gate import Rate
from tests.evaluation.small_report import IDENTITY, NOTHING, evidence, make_calibration, make_line, make_report

HOSTILE = "<script>alert(1)</script></style></title></td></details>\"'><img src=x onerror=alert(2)>{{ 7*7 }}&lt;"
CURVE = {"train": [[1, 3.0], [2, 2.0]], "validation": [[0, 3.1], [2, 2.2]]}


class Page(HTMLParser):
    """What a browser would make of it: elements, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def measured(text: str) -> Measured:
    models = ("base", "candidate")
    messages = [{"role": "user", "content": text}]
    examples = [Example(f"{text}{number}", messages, text, slices=(f"language={text}",)) for number in range(3)]
    said = {model: [Output(example.id, text) for example in examples] for model in models}
    near = {"base": 0.2, "candidate": 0.7}
    scores: dict[str, dict[str, list[Score]]] = {
        "perplexity": {model: [Score(1.0, 3)] * 3 for model in models},
        "win_rate": {model: [Score(near[model], reason=text), Score(0.5), Score(1 - near[model])] for model in models},
    }
    judge = EmbeddingJudge(None)  # type: ignore[arg-type] # no text is embedded here
    return Measured("held_out", examples, said, [Perplexity(), WinRate(judge, 0.02)], scores)


@pytest.fixture(scope="module")
def page() -> str:
    return rendered()


def rendered(judge_status: JudgeStatus | None = None) -> str:
    line = make_line().model_copy(update={"description": HOSTILE})
    request = EvaluationRequest(
        store_url="store",
        store_cache="cache",
        line=line,
        subjects={name: Subject(base=NOTHING, adapter=None, system=HOSTILE) for name in ("base", "candidate")},
        sets=EvaluationSets(objects={}, sets={}),
        embedder="embedder",
        curve=NOTHING,
        champion_name=HOSTILE,
        judge="judge",
        calibration=make_calibration(line),
        identity=Identity(**IDENTITY, champion="release"),
        code={},
    )
    report = make_report(
        evidence(line, "beats_base", "base"),
        evidence(line, "wins", "base", p_pass=0.3, p_fail=0.7),
        champion="release",
        measurements=[measurement(name) for name in ("all", HOSTILE)],
    ).model_copy(update={"judge_status": judge_status})
    gates = [gate.judge(report) for gate in evaluation_gates(line)]
    return render(request, report, gates, CURVE, [measured(HOSTILE)])


def measurement(slice_name: str) -> Measurement:
    found = {"value": 0.7, "standard_error": 0.05, "low": 0.6, "high": 0.75, "n": 50}
    return Measurement(metric="perplexity", set="held_out", slice=slice_name, against="base", **found)


def names(elements: Sequence[tuple[str, dict[str, str | None]]]) -> set[str]:
    return {tag for tag, _ in elements}


def test_hostile_text_of_data_and_models_stays_text(page: str) -> None:
    found = Page(page)
    assert not names(found.elements) & {"script", "img", "iframe", "object", "link", "base", "form"}
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert found.text.count(HOSTILE) >= 3 * 4  # prompt, reference and both outputs of every sample
    assert "<script" not in page
    assert "49" not in re.findall(r"alert\(2\)&gt;(\d+)", page)


def test_the_page_refers_to_nothing_outside_of_itself(page: str) -> None:
    # matplotlib's plots carry a description of themselves: names of vocabularies, which nothing ever loads.
    drawn = re.sub(r"<metadata>.*?</metadata>", "", page, flags=re.DOTALL)
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", drawn))
    assert {address for address in addresses if "//www.w3.org/" not in address} == set()
    loaded = [
        value
        for _, attributes in Page(page).elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "data", "action") and value and not value.startswith(("#", "data:"))
    ]
    assert loaded == []
    assert "@import" not in page


def test_the_page_says_what_every_gate_said_and_shows_its_plots(page: str) -> None:
    text = Page(page).text
    for name, outcome in (("beats_base", "PASS"), ("wins", "INCONCLUSIVE"), ("clean", "ERROR"), ("keeps_up", "ERROR")):
        assert name in text
        assert outcome in text
    assert "1 of 4 pass" in text
    assert page.count("<svg") == 3
    assert IDENTITY["checkpoint"] in text


def test_sentences_do_not_run_together(page: str) -> None:
    assert ", which serves. A gate passes on a test" in " ".join(Page(page).text.split())


def test_the_page_says_how_often_each_gate_errs(page: str) -> None:
    text = " ".join(Page(page).text.split())
    assert "How often these gates err" in text
    assert "3.0% [2.0, 4.0]" in text
    assert "10.0% [9.0, 11.0]" in text


def test_the_page_shows_what_the_judge_is_worth_beside_what_is_required(page: str) -> None:
    assert "The judge" not in Page(page).text  # nothing was judged there
    rate = Rate(value=0.8375, low=0.759, high=0.894, n=80)
    none = Rate(value=0.0, low=0.0, high=0.012, n=240)
    found = Qualification(
        agreement=rate,
        position_bias=none,
        length_bias=none,
        attack_rate=none,
        worst_attack=none,
        judged=398,
        missing=0,
        failed=0,
    )
    status = status_of(make_line().evaluation.judge, HOSTILE, found, judged=90, missing=6)
    text = Page(rendered(status)).text
    assert "The judge: qualified" in text
    assert "90 of 96 pairs of this report, required 90%" in text
    for shown in ("agreement", "0.838", "0.759 to 0.894", ">= 0.7", "attack rate", "0 to 0.012", "<= 0.02"):
        assert shown in text
    assert HOSTILE in text  # the model's name is as hostile as any


def test_the_same_evaluation_gives_the_same_page(page: str) -> None:
    assert measured("a").rows() == measured("a").rows()
    assert parquet([measured("a")]) == parquet([measured("a")])


def test_samples_hold_every_output_and_score_of_every_model() -> None:
    import io

    import polars as pl

    table = pl.read_parquet(io.BytesIO(parquet([measured(HOSTILE)])))
    assert table.height == 3
    assert {"output_base", "output_candidate", "nats_per_token_base", "similarity_candidate"} <= set(table.columns)
    assert table["prompt"].to_list() == [HOSTILE] * 3
