"""The demo registry's data is what a line can use as it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from llm_assets.data.evaluation_sets import read_examples
from llm_assets.data.text import text_key
from llm_assets.demo_data import HELD_OUT, write_demo_data
from llm_assets.line import load_line
from llm_assets.records.data import EvaluationKind
from resources.settings import ROOT


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert all((folder / path).exists() for path in write_demo_data(folder))
    return folder


def examples(demo: Path, name: str) -> list[dict[str, Any]]:
    spec = load_line(ROOT / "lines" / "assistant.yaml").evaluation.sets[name]
    return read_examples({spec.path: demo / spec.path}, spec.kind, None)


def rows(demo: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for path in sorted(demo.glob("chat/train/*.jsonl")) for line in path.open(encoding="utf-8")
    ]


def test_held_out_answers_occur_nowhere_in_training(demo: Path) -> None:
    held_out = examples(demo, "held_out")
    assert len(held_out) == HELD_OUT
    assert {row["language"] for row in held_out} == {"english", "chinese"}
    said = {
        text_key(message["content"])
        for row in rows(demo)
        for message in row["messages"]
        if message["role"] == "assistant"
    }
    assert not said & {text_key(row["messages"][-1]["content"]) for row in held_out}


def test_every_set_of_the_shipped_line_is_valid_and_large_enough(demo: Path) -> None:
    sizes = {name: len(examples(demo, name)) for name in ("held_out", "prompts_toxic", "facts", "instructions")}
    assert min(sizes.values()) >= 100, sizes


def test_training_data_is_sharded_by_language_with_ids_that_are_unique(demo: Path) -> None:
    found = rows(demo)
    assert len({row["id"] for row in found}) == len(found) > 2000
    assert {path.name.split("-")[0] for path in demo.glob("chat/train/*")} == {"english", "chinese"}


def test_writing_it_again_gives_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    write_demo_data(tmp_path)
    for path in demo.rglob("*.jsonl"):
        assert path.read_bytes() == (tmp_path / path.relative_to(demo)).read_bytes()


def test_every_shipped_evaluation_set_is_valid_and_large_enough(demo: Path) -> None:
    kinds: dict[str, EvaluationKind] = {
        "choices": "multiple_choice",
        "reasoning": "reasoning",
        "refusals": "refusals",
    }
    for name, kind in kinds.items():
        path = f"evaluation/{name}.jsonl"
        assert len(read_examples({path: demo / path}, kind, None)) >= 200, name


def test_always_declining_treats_half_of_the_prompts_right(demo: Path) -> None:
    found = [json.loads(line) for line in (demo / "evaluation/refusals.jsonl").open(encoding="utf-8")]
    assert 2 * sum(row["should_refuse"] for row in found) == len(found)


def test_held_out_records_name_the_corpus_entry_they_come_from(demo: Path) -> None:
    found = examples(demo, "held_out")
    assert all(row["id"].startswith(f"{row['source']}-") for row in found)
    assert len({row["source"] for row in found}) < len(found)


def test_every_reasoning_answer_is_verified_and_no_held_out_problem_trains(demo: Path) -> None:
    reasoning_gym = pytest.importorskip("reasoning_gym")
    held_out = [json.loads(line) for line in (demo / "evaluation/reasoning.jsonl").open(encoding="utf-8")]
    for row in held_out:
        verifier = reasoning_gym.create_dataset(row["task"], size=1, seed=0)
        assert verifier.score_answer(row["entry"]["answer"], row["entry"]) == 1.0, row
    training = [
        json.loads(line)
        for path in sorted(demo.glob("reasoning/train/*.jsonl"))
        for line in path.open(encoding="utf-8")
    ]
    assert {row["category"] for row in training} == {row["category"] for row in held_out}
    asked = [row["messages"][0]["content"] for row in training]
    assert len(set(asked)) == len(asked) > 1500
    assert not set(asked) & {row["prompt"] for row in held_out}


def test_every_instruction_has_a_checker_that_runs_offline(demo: Path) -> None:
    following = pytest.importorskip("llm_assets.evaluation.instruction_following")
    text = (
        'Here are some words. Are there two sentences?\n\n1. Yes: "one" (1) and two!\n\nKaleidoscope, nebula; the end.'
    )
    for example in examples(demo, "instructions"):
        for name, arguments in zip(example["instruction_ids"], example["arguments"], strict=True):
            problem = following._problem(name, arguments, example["prompt"], text)
            assert "broke" not in problem, problem
            assert "no such" not in problem, problem
