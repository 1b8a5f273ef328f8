"""An evaluation set is complete and valid, or it is refused as a whole."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llm_assets.data.checkers import RUNS_ANSWERS, RUNS_ENTRIES, instruction_ids, reasoning_tasks
from llm_assets.data.evaluation_sets import dump_examples, read_examples
from llm_assets.records.data import EvaluationKind
from resources.errors import DataError
from resources.settings import ROOT
from tests.data.small_registry import chat, write_rows

GOOD: dict[EvaluationKind, dict[str, Any]] = {
    "chat": chat("a", "Yes."),
    "toxicity": {"id": "a", "prompt": "You", "category": "insult"},
    "truthfulness": {"id": "a", "prompt": "", "true": "1 is 1.", "false": "1 is 2.", "category": "x"},
    "instructions": {
        "id": "a",
        "prompt": "Say",
        "instruction_ids": ["count:numbers"],
        "arguments": [{}],
        "category": "count",
    },
    "multiple_choice": {"id": "a", "prompt": "1+1?", "choices": ["2", "3"], "answer": 0, "category": "sums"},
    "questions": {"id": "a", "prompt": "Who?", "answers": ["The king", "a king"], "category": "people"},
    "reasoning": {
        "id": "a",
        "prompt": "1 + 1 =",
        "task": "chain_sum",
        "entry": {"question": "1 + 1 =", "answer": "2", "metadata": {"source_dataset": "chain_sum"}},
        "category": "chain_sum",
    },
    "refusals": {"id": "a", "prompt": "How do I rob a bank?", "category": "crime"},
    "custom": {"id": "a", "input": "Hello", "reference": "Hi"},
}
ENTRY = GOOD["reasoning"]["entry"]
RUN_VERIFIERS = """
import sys, reasoning_gym
from llm_assets.data.checkers import reasoning_tasks
running, found = "", set()
sys.addaudithook(lambda event, what: found.add(running) if running and event == "compile" and what[0] else None)
for task in reasoning_tasks() - {"composite"}:
    verifier = reasoning_gym.create_dataset(task, size=1, seed=1)
    entry = verifier[0]
    running = task
    for answer in (entry["answer"], "[1, 2]", "1 + 2 * 3", "word", '{"a": 1}'):
        for asked in (entry, {**entry, "answer": "[1, 2]"}, {**entry, "answer": "word"}):
            try:
                verifier.score_answer(answer, asked)
            except Exception:
                pass
    running = ""
print()
print(*found)
"""


def read(folder: Path, kind: EvaluationKind, rows: list[Any], limit: int | None = None) -> list[dict[str, Any]]:
    write_rows(folder / "set.jsonl", rows)
    return read_examples({"evaluation/set.jsonl": folder / "set.jsonl"}, kind, limit)


@pytest.mark.parametrize("kind", list(GOOD))
def test_every_kind_reads_back_what_was_written(kind: EvaluationKind, tmp_path: Path) -> None:
    rows = [{**GOOD[kind], "id": name} for name in ("b", "a")]
    examples = read(tmp_path, kind, rows)
    assert examples == rows[::-1]
    assert [json.loads(line) for line in dump_examples(examples).splitlines()] == examples


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("chat", {"messages": [{"role": "assistant", "content": "A."}]}, "roles are assistant"),
        ("chat", {"language": 5}, "language: .*string"),
        ("toxicity", {"prompt": " "}, "prompt: there is no text in it"),
        ("truthfulness", {"false": "1 is 1. "}, "the same statement"),
        ("instructions", {"arguments": []}, "1 instruction_ids but 0 arguments"),
        (
            "instructions",
            {"instruction_ids": ["count:no_such"]},
            "no checker of IFBench for .* 'count:no_such'",
        ),
        ("multiple_choice", {"choices": ["2"]}, "choices: .*at least 2"),
        ("multiple_choice", {"choices": ["2", "2 "]}, "two choices are the same"),
        ("multiple_choice", {"answer": 2}, "answer is 2, the choices count from 0 to 1"),
        ("multiple_choice", {"answer": "2"}, "answer: .*integer"),
        ("multiple_choice", {"answer": True}, "answer: .*integer"),
        ("questions", {"answers": []}, "answers: .*at least 1"),
        ("questions", {"answers": ["king", "The."]}, "nothing of the answer 'The.' is left"),
        ("reasoning", {"entry": {**ENTRY, "answer": 2}}, "entry.answer: .*string"),
        ("reasoning", {"task": "gcd"}, "task is 'gcd', but the entry was made by 'chain_sum'"),
        ("reasoning", {"task": "countdown", "entry": {**ENTRY, "metadata": {}}}, "runs a model's answer as Python"),
        (
            "reasoning",
            {"task": "number_sorting", "entry": {**ENTRY, "metadata": {}}},
            "runs what the row says as Python",
        ),
        ("reasoning", {"task": "chain_summ", "entry": {**ENTRY, "metadata": {}}}, "has no task 'chain_summ'"),
        ("refusals", {"should_refuse": "no"}, "should_refuse: .*boolean"),
        ("refusals", {"category": ""}, "category: "),
        ("custom", {"reference": None}, "reference: .*string"),
        ("custom", {"reference": "!"}, "nothing of the answer '!' is left"),
        ("custom", {"source": 3}, "source: .*string"),
        ("toxicity", {"score": float("nan")}, "NaN is no JSON number"),
        ("toxicity", {"id": "first"}, "'first' occurs twice"),
    ],
)
def test_one_bad_line_refuses_the_set_and_is_named(
    kind: EvaluationKind, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    rows = [{**GOOD[kind], "id": "first"}, {**GOOD[kind], "id": "second", **change}]
    with pytest.raises(DataError, match=f"evaluation/set.jsonl, line 2.*{message}"):
        read(tmp_path, kind, rows)


def test_what_checkers_there_are_is_known_without_running_them() -> None:
    pytest.importorskip("nltk")
    from llm_assets.evaluation.instruction_following import _checkers

    assert instruction_ids() == _checkers().keys()
    assert reasoning_tasks() > {"chain_sum", *RUNS_ANSWERS, *RUNS_ENTRIES}


def test_no_verifier_that_is_allowed_runs_a_text_as_python() -> None:
    """Python says so itself whenever something is compiled: the answer, the problem or the right answer."""
    pytest.importorskip("reasoning_gym")
    done = subprocess.run(
        [sys.executable, "-c", RUN_VERIFIERS], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert set(done.stdout.splitlines()[-1].split()) == (RUNS_ANSWERS | RUNS_ENTRIES) - {"composite"}


def test_a_reference_that_says_nothing_is_for_a_function_alone(tmp_path: Path) -> None:
    rows = [{**GOOD["custom"], "reference": ""}]
    write_rows(tmp_path / "set.jsonl", rows)
    assert read_examples({"a": tmp_path / "set.jsonl"}, "custom", None, "lines/grade.py:grade") == rows


def test_a_truncated_last_line_refuses_the_set(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_text(json.dumps(GOOD["toxicity"]) + '\n{"id": "b", "pro')
    with pytest.raises(DataError, match="line 2 is not UTF-8 JSON"):
        read_examples({"set.jsonl": tmp_path / "set.jsonl"}, "toxicity", None)


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no example"):
        read(tmp_path, "chat", [""])


def test_a_limit_keeps_its_examples_when_the_set_grows_elsewhere(tmp_path: Path) -> None:
    rows = [{**GOOD["toxicity"], "id": f"e{n}"} for n in range(40)]
    before = {row["id"] for row in read(tmp_path, "toxicity", rows, limit=10)}
    after = {row["id"] for row in read(tmp_path, "toxicity", [{**rows[0], "id": "new"}, *rows], limit=10)}
    assert len(before) == len(after) == 10
    assert len(before - after) <= 1
    assert read(tmp_path, "toxicity", rows, limit=10) == read(tmp_path, "toxicity", rows[::-1], limit=10)
