"""Reasoning problems for the demo registry, made by reasoning-gym (Apache-2.0): what a second line trains and is asked.

Training and held-out problems come from seeds far apart (problem i of seed s is problem 0 of seed s + i), and a
held-out question is left out of training wherever it comes up again. Seeds are fixed, so the result is always the same.
"""

from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]

TRAIN_SEED, HELD_OUT_SEED = 0, 10_000_000
TRAIN_EACH, HELD_OUT_EACH = 400, 80
"""Problems per task, before those that repeat another one are left out."""
TASKS: dict[str, Json] = {
    "chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
    "needle_haystack": {"min_num_statements": 3, "max_num_statements": 6},
    "number_filtering": {
        "min_numbers": 3,
        "max_numbers": 4,
        "min_decimals": 0,
        "max_decimals": 0,
        "min_value": 0,
        "max_value": 100,
    },
    "spell_backward": {"min_word_len": 3, "max_word_len": 5},
    "word_sequence_reversal": {"min_words": 3, "max_words": 4},
}
"""Dataset of reasoning-gym -> its settings: small enough that a small model can learn something in minutes. (Not
`family_relationships`, whose answers are wrong in 0.1.25: it calls a son's wife his parents' father-in-law.)"""
_WORKINGS: dict[str, Callable[[Json], str]] = {
    "chain_sum": lambda entry: f"{entry['metadata']['expression']} = {entry['answer']}",
    "needle_haystack": lambda entry: entry["metadata"]["question"].replace("Who", entry["answer"], 1).split("?")[0],
    "spell_backward": lambda entry: " ".join(entry["metadata"]["word"]),
}
"""The line of working that a training answer begins with, where a task has one."""


def reasoning_set() -> list[Json]:
    """The held-out problems, as rows of an evaluation set of kind `reasoning`."""
    return [
        {
            "id": f"{task}-{number:04d}",
            "prompt": entry["question"].strip(),
            "task": task,
            "entry": entry,
            **_labels(task),
        }
        for task in TASKS
        for number, entry in _problems(task, HELD_OUT_SEED, HELD_OUT_EACH)
    ]


def reasoning_records(held_out: list[Json]) -> dict[str, list[Json]]:
    """Chat records to train on, by task; their answers end with a line `Answer: ...`.

    Args:
        held_out: rows of `reasoning_set`, whose questions are left out.
    """
    exam = {row["prompt"] for row in held_out}
    return {
        task: [
            _record(task, number, entry)
            for number, entry in _problems(task, TRAIN_SEED, TRAIN_EACH)
            if entry["question"].strip() not in exam
        ]
        for task in TASKS
    }


def _problems(task: str, seed: int, count: int) -> Iterator[tuple[int, Json]]:
    import reasoning_gym

    seen = set()
    for number, entry in enumerate(reasoning_gym.create_dataset(task, seed=seed, size=count, **TASKS[task])):
        if entry["question"] not in seen:
            seen.add(entry["question"])
            yield number, entry


def _record(task: str, number: int, entry: Json) -> Json:
    lines = [_WORKINGS[task](entry)] if task in _WORKINGS else []
    turns = {"user": entry["question"].strip(), "assistant": "\n".join([*lines, f"Answer: {entry['answer']}"])}
    messages = [{"role": role, "content": content} for role, content in turns.items()]
    return {"id": f"train-{task}-{number:04d}", "messages": messages, **_labels(task)}


def _labels(task: str) -> Json:
    return {"category": task, "language": "english"}
