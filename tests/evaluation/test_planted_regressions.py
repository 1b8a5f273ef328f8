"""A regression that was planted fails exactly the gates that it should."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from llm_assets.evaluation.checks import evaluation_gates
from llm_assets.evaluation.evidence import evidence_of
from llm_assets.evaluation.exact_match import ExactMatch
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.samples import Measured
from llm_assets.evaluation.task import Score
from llm_assets.evaluation.toxicity import Toxicity
from llm_assets.line import Line
from llm_assets.records.evaluation import EvaluationReport
from resources.store import Artifact
from tests.evaluation.small_exam import SmallExam
from tests.evaluation.small_report import make_line, make_report
from tests.training.small_training import chat

GATES: dict[str, dict[str, Any]] = {
    "beats_base": {
        "metric": "perplexity",
        "minimum_n": 20,
        "change": {"against": "base", "maximum": 0.95, "minimum_effect": 0.2},
    },
    "keeps_up": {
        "metric": "perplexity",
        "minimum_n": 20,
        "change": {"against": "champion", "maximum": 1.2, "minimum_effect": 0.2},
    },
    "truthfulness_kept": {
        "metric": "truthfulness",
        "change": {"against": "base", "minimum": -0.2, "minimum_effect": 0.2},
    },
}
SETS = {"held_out": {"kind": "chat", "max_new_tokens": 4}, "facts": {"kind": "truthfulness"}}
FACTS = [
    {"id": f"f{n}", "prompt": "", "true": f"{n} is {n}.", "false": f"{n} is not {n}.", "category": "x"}
    for n in range(40)
]
ROWS = {"held_out": [chat(number) for number in range(100, 140)], "facts": FACTS}


def refused(line: Line, report: EvaluationReport) -> dict[str, str]:
    results = [gate.judge(report) for gate in evaluation_gates(line)]
    return {result.gate: result.outcome for result in results if not result.passed}


def scaled(exam: SmallExam, adapter: Artifact, factor: float, folder: Path) -> Artifact:
    shutil.copytree(exam.store.path(adapter), folder, ignore=shutil.ignore_patterns("MANIFEST.json"))
    weights = load_file(folder / "adapter_model.safetensors")
    changed = {name: weight * factor if "lora_B" in name else weight for name, weight in weights.items()}
    (folder / "adapter_model.safetensors").unlink()
    save_file(changed, folder / "adapter_model.safetensors")
    return exam.store.put_tree(folder)


@pytest.fixture(scope="module")
def exam(tiny_model_dir: Path) -> SmallExam:
    return SmallExam(tiny_model_dir)


def test_an_adapter_scaled_by_zero_fails_what_compares_its_learning_and_nothing_else(
    exam: SmallExam, tmp_path: Path
) -> None:
    line = exam.line(SETS, GATES)
    good = exam.trained.checkpoint.adapter
    assert refused(line, exam.run(line, ROWS, good, champion=good).report) == {}
    broken = scaled(exam, good, 0.0, tmp_path / "adapter")
    made = exam.run(line, ROWS, broken, champion=good)
    assert refused(line, made.report) == {"beats_base": "FAIL", "keeps_up": "FAIL"}
    ratio = made.report.find("perplexity", "base")
    assert ratio is not None
    assert ratio.value == pytest.approx(1.0, abs=1e-6)


def test_one_slice_that_was_corrupted_fails_the_gate_that_looks_there_and_nothing_else() -> None:
    change = {"against": "base", "minimum": -0.55, "minimum_effect": 0.5}
    kept = {"metric": "exact_match", "set": "asked", "change": change}
    content = make_line().model_dump(mode="json")
    content["evaluation"]["sets"] |= {"asked": {"kind": "questions", "path": "q.jsonl"}}
    content["gates"] = {
        "kept": kept,
        "kept_in_english": {**kept, "slices": ["language=english"]},
        "kept_in_chinese": {**kept, "slices": ["language=chinese"]},
        "clean": {"metric": "toxicity", "value": {"maximum": 0.3, "minimum_effect": 0.2}},
    }
    line = Line.model_validate(content)
    examples = [Example(str(n), [], slices=(f"language={'english' if n % 2 else 'chinese'}",)) for n in range(120)]
    right = [Score(float(n % 10 < 8)) for n in range(120)]
    corrupted = [score if n % 2 else Score(0.0) for n, score in enumerate(right)]
    clean = [Score(float(n % 20 == 0)) for n in range(120)]

    def report(candidate: list[Score]) -> EvaluationReport:
        measured = [
            Measured("held_out", examples, {}, [], {}),
            Measured("asked", examples, {}, [ExactMatch()], {"exact_match": {"base": right, "candidate": candidate}}),
            Measured("toxic", examples, {}, [Toxicity()], {"toxicity": {"base": clean, "candidate": clean}}),
        ]
        return make_report(*evidence_of(line, measured))

    assert refused(line, report(right)) == {}
    assert refused(line, report(corrupted)) == {"kept_in_chinese": "FAIL"}


def test_one_score_that_is_no_number_is_an_error_of_its_gate_and_of_no_other() -> None:
    line = make_line(
        clean={"metric": "toxicity", "change": {"against": "base", "maximum": 0.5, "minimum_effect": 0.5}},
        rarely={"metric": "toxicity", "value": {"maximum": 0.5, "minimum_effect": 0.5}},
    )
    examples = [Example(str(n), []) for n in range(40)]
    whole, holed = [Score(0.0)] * 40, [Score(0.0)] * 39 + [Score(None)]

    def outcomes(base: list[Score], candidate: list[Score]) -> list[str]:
        scores = {"toxicity": {"base": base, "candidate": candidate}}
        measured = [Measured("held_out", examples, {}, [], {}), Measured("toxic", examples, {}, [Toxicity()], scores)]
        report = make_report(*evidence_of(line, measured))
        return [gate.judge(report).outcome for gate in evaluation_gates(line)]

    assert outcomes(whole, whole) == ["PASS", "PASS"]
    assert outcomes(holed, whole) == ["ERROR", "PASS"]
    assert outcomes(whole, holed) == outcomes(holed, holed) == ["ERROR", "ERROR"]
