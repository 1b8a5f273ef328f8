"""A scoring function that a line names is found, or said to be missing, before anything runs."""

from pathlib import Path
from typing import Any

import pytest

from llm_assets.data.dataset import build_evaluation_sets
from llm_assets.data.functions import function_source
from llm_assets.data.sources import evaluation_source
from llm_assets.demo_registry import make_registry
from llm_assets.evaluation_spec import EvaluationSpec
from llm_assets.line import Line
from llm_assets.records.data import EvaluationSets
from resources.errors import DataError
from tests.data.small_registry import Stage, failure_of, line_on, write_rows
from tests.test_harness import ROWS, write_task

GRADE = "def grade(input, output, reference):\n    return 1\n"


def test_a_file_is_read_from_beside_the_lines_and_a_module_from_where_it_is_installed(tmp_path: Path) -> None:
    (tmp_path / "grade.py").write_text(GRADE)
    assert function_source("grade.py:grade", tmp_path.joinpath) == GRADE.encode()
    assert b"def normal_form" in function_source("llm_assets.data.text:normal_form", tmp_path.joinpath)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("grade.py:grad", "grade.py defines no grad; it defines grade"),
        ("missing.py:grade", "missing.py can't be read as Python"),
        ("broken.py:grade", "broken.py can't be read as Python"),
        ("no_such_module:grade", "no Python module no_such_module"),
        ("llm_assets.data.no_such:grade", "no Python module llm_assets.data.no_such"),
        ("math:sqrt", "no Python module math"),
    ],
)
def test_what_is_missing_is_named(named: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "grade.py").write_text(GRADE)
    (tmp_path / "broken.py").write_text("def grade(:\n")
    with pytest.raises(DataError, match=f"function {named}: .*{message}"):
        function_source(named, tmp_path.joinpath)


def with_sets(line: Line, **sets: dict[str, Any]) -> Line:
    return line.model_copy(update={"evaluation": EvaluationSpec.model_validate({"sets": sets})})


def write_own(folder: Path) -> list[str]:
    write_rows(folder / "evaluation/own.jsonl", [{"id": f"e{n}", "input": "Hi", "reference": "Yo"} for n in range(4)])
    write_rows(folder / "chat/a.jsonl", [{"id": "a"}])
    write_task(folder)
    return ["chat", "evaluation/own.jsonl", "evaluation/capitals"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "registry"
    make_registry(folder, write_own)
    return folder


def made_of(run: Any) -> EvaluationSets:
    assert run.success
    found: EvaluationSets = run.output_for_node("small__evaluation_sets")
    return found


def test_another_function_is_another_exam_of_the_same_rows(own: Path, stage: Stage) -> None:
    path = stage.settings.resolve("lines/grade.py")
    path.parent.mkdir(parents=True)
    spec = {"kind": "custom", "path": "evaluation/own.jsonl", "function": "lines/grade.py:grade"}
    line = with_sets(line_on(own, train=["chat"]), own=spec)
    path.write_text(GRADE)
    first = made_of(stage.run(line, "evaluation_sets"))
    assert made_of(stage.run(line, "evaluation_sets")) == first
    path.write_text(GRADE.replace("1", "0"))
    second = made_of(stage.run(line, "evaluation_sets"))
    assert second.digest != first.digest
    assert second.sets["own"].rows == first.sets["own"].rows
    found = second.sets["own"].function
    assert found is not None
    assert (stage.store.path(found) / "function.py").read_text() == GRADE.replace("1", "0")
    path.unlink()
    assert "function lines/grade.py:grade" in failure_of(stage.run(line, "evaluation_sets"))


def test_an_lm_eval_set_holds_its_task_its_data_and_a_row_per_document(own: Path, stage: Stage) -> None:
    pytest.importorskip("lm_eval")
    spec = {"kind": "lm_eval", "path": "evaluation/capitals", "task": "capitals", "limit": 5}
    line = with_sets(line_on(own, train=["chat"]), capitals=spec)
    source = evaluation_source(line, stage.registry, stage.settings)
    found = build_evaluation_sets(line, source, stage.registry, stage.settings, stage.store).sets["capitals"]
    assert found.size == 5 < len(ROWS)
    folder = stage.store.path(found.rows)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "MANIFEST.json",
        "set.jsonl",
        "task.json",
        "task/capitals.jsonl",
        "task/capitals.yaml",
    }
