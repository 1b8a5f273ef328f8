"""Which code a result came from: what changes the version, what does not, and what must be in it."""

import ast
import json
import sys
from pathlib import Path

import pytest

from llm_assets import code_version as versions
from llm_assets.code_version import code_version, source_files
from llm_assets.evaluation.preparation import REPORT_SOURCES, SCORES_SOURCES
from llm_assets.release.assets import RELEASE_SOURCES
from resources.settings import ROOT


def test_the_code_version_ignores_comments_and_layout(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("one.py", "two.py", "three.py"))
    one.write_text("x = 1  # why\n")
    two.write_text("\n\nx = (1)\n")
    three.write_text("x = 2\n")
    assert code_version(str(one)) == code_version(str(two)) != code_version(str(three))


def test_the_code_version_of_a_folder_has_its_templates_and_no_caches(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text("x = 1\n")
    (tmp_path / "page.html.j2").write_text("<p>one</p>\n")
    first = code_version(str(tmp_path))
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/page.cpython-311.pyc").write_bytes(b"compiled")
    (tmp_path / ".page.py.swp").write_bytes(b"edited")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints/page.py").write_text("x = 0\n")
    assert code_version(str(tmp_path)) == first
    (tmp_path / "page.html.j2").write_text("<p>two</p>\n")
    assert code_version(str(tmp_path)) != first


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose syntax trees are remembered, beside it."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.setattr(versions, "ROOT", folder)
    monkeypatch.setattr(versions, "MEMORY", tmp_path / "memory/trees.json")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return folder


def version_in_a_new_process() -> str:
    versions._remembered.cache_clear()
    return code_version("one.py", "two.py")


def test_what_is_remembered_changes_no_code_version(checkout: Path) -> None:
    (checkout / "one.py").write_text("x = 1\n")
    (checkout / "two.py").write_text("y = 1\n")
    first = version_in_a_new_process()
    assert set(json.loads(versions.MEMORY.read_text())) == {"one.py", "two.py"}
    assert version_in_a_new_process() == first
    (checkout / "two.py").write_text("y = 2\n")
    assert version_in_a_new_process() != first
    (checkout / "two.py").write_text("y  =  1  # as before\n")
    assert version_in_a_new_process() == first


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"one.py": 1}', '{"one.py": ["ab", "xy"]}', "\\x00"])
def test_a_broken_memory_is_no_memory(checkout: Path, content: str) -> None:
    (checkout / "one.py").write_text("x = 1\n")
    (checkout / "two.py").write_text("y = 1\n")
    first = version_in_a_new_process()
    versions.MEMORY.write_text(content)
    assert version_in_a_new_process() == first


def test_a_memory_that_cannot_be_written_is_no_error(checkout: Path) -> None:
    (checkout / "one.py").write_text("x = 1\n")
    (checkout / "two.py").write_text("y = 1\n")
    versions.MEMORY.parent.write_text("a file where the folder should be")
    assert version_in_a_new_process() == version_in_a_new_process()


# What may stay out of a code version: the shapes of records and lines, whose values are in the key of a computation
# themselves, how a child talks to its parent, and how an asset is run.
SHAPES = {"spec", *(f"records/{path.stem}" for path in (ROOT / "llm_assets/records").glob("*.py"))}
GLUE = {"automation", "checks", "child", "code_version", "materialize", "release_log"}
# What these make is in the keys of scores.
READ_BY_SCORES = {
    "evaluation_spec",
    "gate_spec",
    "line",
    *(f"evaluation/{name}" for name in ("judge_digest", "judge_status", "outputs", "request", "samples")),
}


def imported(modules: list[str], beside: set[str]) -> set[str]:
    """The modules of `llm_assets` that these import, themselves included, and not through what stands `beside`."""
    found, pending = set[str](), list(modules)
    while pending:
        module = pending.pop()
        path = ROOT / "llm_assets" / f"{module}.py"
        if module in found | beside or not path.exists():
            continue
        found.add(module)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("llm_assets"):
                below = str(node.module).split(".")[1:]
                pending += ["/".join(below), *("/".join([*below, alias.name]) for alias in node.names)]
    return found


@pytest.mark.parametrize(
    ("sources", "modules", "beside"),
    [
        (RELEASE_SOURCES, ["release/assets"], set[str]()),
        (REPORT_SOURCES, ["evaluation/evaluate", "evaluation/calibrate"], set[str]()),
        (SCORES_SOURCES, ["evaluation/judging", "evaluation/toxicity"], READ_BY_SCORES),
    ],
    ids=["verdict", "report", "scores"],
)
def test_all_code_that_decides_a_result_is_in_its_version(
    sources: tuple[str, ...], modules: list[str], beside: set[str]
) -> None:
    files = {str(file.relative_to(ROOT).with_suffix("")) for file in source_files(*sources)}
    needed = {f"llm_assets/{module}" for module in imported(modules, SHAPES | GLUE | beside)}
    assert needed - files == set()
