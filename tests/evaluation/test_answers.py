"""What a model was asked before, prompt by prompt: `llm_assets/evaluation/answers.py`."""

import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from llm_assets.evaluation import preparation
from llm_assets.evaluation.answers import AnswerCache, Answers, prompt_keys
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.instruction_following import InstructionFollowing
from llm_assets.evaluation.outputs import Output, Subject
from llm_assets.evaluation.reasoning import Reasoning
from llm_assets.evaluation.task import Task
from llm_assets.evaluation.toxicity import Toxicity
from resources.store import Artifact, ArtifactStore

MODEL = Subject(base=Artifact(digest="base", files=1, size=1), adapter=None, system="Be kind.")
OTHER = Subject(base=MODEL.base, adapter=None, system="Be brief.")


def example(number: int, **changes: object) -> Example:
    fields = {"id": f"e{number}", "messages": [{"role": "user", "content": f"Question {number}?"}], **changes}
    return Example(**fields)  # type: ignore[arg-type]


def answer(number: int) -> Output:
    return Output(f"e{number}", f"Answer {number} 你好", {"reference": (1.5 * number, number), "broken": (None, 2)})


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")


def keys(*numbers: int) -> list[str]:
    return prompt_keys("chat", [example(n) for n in numbers], 8)


def opened(store: ArtifactStore, subject: Subject = MODEL, code: str = "code") -> AnswerCache:
    return AnswerCache(store, subject, code)


def add(cache: AnswerCache, *numbers: int) -> None:
    cache.add(dict(zip(keys(*numbers), map(answer, numbers), strict=True)))


def missing(cache: AnswerCache, *numbers: int) -> list[str]:
    return [found.id for found in cache.missing(keys(*numbers), [example(n) for n in numbers]).values()]


def parts(store: ArtifactStore) -> list[int]:
    found = Answers.published(store, opened(store).result_key)
    assert found is not None
    return [part.size for part in found.parts]


def test_answers_come_back_as_they_were_in_any_order_and_under_any_id(store: ArtifactStore) -> None:
    add(opened(store), 1, 2, 3)
    asked = [example(3, id="another"), example(1)]
    found = opened(store).outputs(prompt_keys("chat", asked, 8), asked)
    assert found == [Output("another", answer(3).text, answer(3).losses), answer(1)]


def test_only_what_was_never_asked_is_missing_and_each_prompt_once(store: ArtifactStore) -> None:
    cache = opened(store)
    assert missing(cache, 1, 2) == ["e1", "e2"]
    add(cache, 1, 2)
    assert missing(cache, 2, 3, 1, 3) == missing(opened(store), 2, 3, 1, 3) == ["e3"]


@pytest.mark.parametrize(
    "changed",
    [
        {"messages": [{"role": "user", "content": "Question 1!"}]},
        {"messages": [{"role": "system", "content": "Question 1?"}]},
        {"reference": "Better."},
        {"target": {"true": "Yes."}},
    ],
)
def test_all_that_an_answer_depends_on_is_in_its_key(changed: dict[str, object]) -> None:
    assert prompt_keys("chat", [example(1, **changed)], 8) != keys(1)


def test_kind_and_length_are_in_the_key_and_id_and_slices_are_not() -> None:
    assert prompt_keys("toxicity", [example(1)], 8) != keys(1) != prompt_keys("chat", [example(1)], 9)
    assert prompt_keys("chat", [example(1, id="x", slices=("language=english",))], 8) == keys(1)


def test_another_model_prompt_or_code_knows_nothing(store: ArtifactStore) -> None:
    add(opened(store), 1)
    assert missing(opened(store, OTHER), 1) == missing(opened(store, code="changed"), 1) == ["e1"]


@pytest.mark.parametrize("package", ["torch", "transformers", "tokenizers", "peft", "lm-eval"])
def test_answers_of_another_version_of_what_asks_the_model_are_not_used(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> str:
        return preparation.versions_of(preparation.OUTPUTS_SOURCES, preparation.ASKED_WITH)

    assert asked() == preparation.OUTPUTS_CODE == preparation.CODE["outputs"]
    monkeypatch.setattr(preparation, "version", lambda name: "0.0" if name == package else version(name))
    assert asked() != preparation.OUTPUTS_CODE


@pytest.mark.parametrize("task", [InstructionFollowing, Reasoning, Toxicity])
def test_a_report_is_made_anew_by_another_version_of_whatever_scores(
    task: type[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    monkeypatch.setattr("llm_assets.evaluation.task.version", lambda name: used.append(name) or "1")
    assert task().identity
    assert set(used) <= set(preparation.SCORED_WITH)
    packages = (*preparation.ASKED_WITH, *preparation.SCORED_WITH)
    assert preparation.versions_of(preparation.REPORT_SOURCES, packages) == preparation.REPORT_CODE
    for package in set(used):
        monkeypatch.setattr(preparation, "version", lambda name, other=package: "0" if name == other else version(name))
        assert preparation.versions_of(preparation.REPORT_SOURCES, packages) != preparation.REPORT_CODE


def test_small_parts_are_joined_so_that_files_stay_few_and_nothing_is_lost(store: ArtifactStore) -> None:
    cache = opened(store)
    for number in range(100):
        add(cache, number)
        sizes = parts(store)
        assert sizes == sorted(sizes, reverse=True)
        assert len(sizes) <= 8
    assert missing(opened(store), *range(101)) == ["e100"]


def test_what_two_runs_add_one_after_the_other_is_all_there(store: ArtifactStore) -> None:
    one, two = opened(store), opened(store)
    add(one, 1, 2)
    add(two, 3)
    assert missing(opened(store), 1, 2, 3) == []


def test_adding_nothing_writes_nothing(store: ArtifactStore) -> None:
    opened(store).add({})
    assert Answers.published(store, opened(store).result_key) is None


def test_a_store_that_lost_a_part_asks_again(store: ArtifactStore, tmp_path: Path) -> None:
    add(opened(store), 1)
    shutil.rmtree(tmp_path / "store" / "trees")
    assert missing(opened(store), 1) == ["e1"]
    add(opened(store), 1)
    assert missing(opened(store), 1) == []
