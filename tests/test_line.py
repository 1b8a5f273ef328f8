"""Line files: what a user edits is checked, and a mistake is named with file, key, found and allowed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm_assets.line import load_line, load_lines
from resources.errors import LineError
from resources.settings import ROOT

GOOD = """
description: A line of tests.
base_model: models/base
data:
  repo: registry
  train: [chat/train]
training:
  steps: 60
  learning_rate: 0.001
  seed: 0
evaluation:
  sets:
    held_out: {kind: chat, path: evaluation/held_out.jsonl}
    prompts_toxic: {kind: toxicity, path: evaluation/toxicity.jsonl}
gates:
  perplexity_beats_base: {metric: perplexity, change: {against: base, maximum: 0.8, minimum_effect: 0.2}}
  toxicity: {metric: toxicity, value: {maximum: 0.2, minimum_effect: 0.1}}
"""


def edited(tmp_path: Path, old: str, new: str) -> Path:
    assert old in GOOD
    path = tmp_path / "assistant.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("  steps: 60", "  stepps: 60", ["training.stepps", "unknown key", "steps"]),
        ("  steps: 60", "  steps: many", ["training.steps", "'many'", "integer"]),
        ("  steps: 60", "  steps: 0", ["training.steps", "found 0", "greater than or equal to 1"]),
        ("seed: 0", "seed: true", ["training.seed", "True (bool)", "integer"]),
        ("learning_rate: 0.001", "learning_rate: .nan", ["training.learning_rate", "nan", "finite"]),
        ("metric: toxicity", "metric: toxicty", ["gates.toxicity.metric", "'toxicty'", "'toxicity'"]),
        ("kind: toxicity", "kind: chat", ["perplexity_beats_base", "exactly one", "prompts_toxic"]),
        (", maximum: 0.8", "", ["gates.perplexity_beats_base", "`minimum` or `maximum`"]),
        ("kind: toxicity, path: evaluation/toxicity.jsonl", "kind: toxicity", ["prompts_toxic", "needs `path`"]),
        ("kind: toxicity, ", "kind: lm_eval, ", ["prompts_toxic", "`task` names what a set of kind lm_eval runs"]),
        ("kind: toxicity, ", "kind: toxicity, function: a.b:c, ", ["prompts_toxic", "of kind toxicity"]),
        ("kind: toxicity, ", "kind: custom, function: a.b, ", ["prompts_toxic", "`module.path:name`"]),
        (", minimum_effect: 0.2", "", ["gates.perplexity_beats_base.change.minimum_effect", "missing"]),
        ("maximum: 0.8", "minimum: 0.8", ["gates.perplexity_beats_base", "lower", "`maximum`"]),
        ("minimum_effect: 0.1}", "minimum_effect: 0.3}", ["gates.toxicity", "between 0 and 1", "minimum_effect 0.3"]),
        ("value: {max", "against: base, value: {max", ["gates.toxicity.against", "unknown key", "change"]),
        ("base_model: ", "base_modell: ", ["base_modell", "unknown key", "base_model"]),
        ("description: A", "name: other\ndescription: A", ["name", "'other'", "'assistant'"]),
        ("data:\n", "data: [\n", ["can't be read as YAML"]),
    ],
)
def test_a_mistake_names_the_file_the_key_what_was_found_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, named: list[str]
) -> None:
    path = edited(tmp_path, old, new)
    with pytest.raises(LineError) as caught:
        load_line(path)
    for part in [str(path), *named]:
        assert part in str(caught.value)


def test_every_shipped_line_is_right() -> None:
    assert [line.name for line in load_lines(ROOT / "lines")] == ["assistant", "reasoner"]


def test_numbers_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    assert load_line(edited(tmp_path, "learning_rate: 0.001", "learning_rate: 1e-3")).training.learning_rate == 1e-3


def test_a_folder_without_lines_is_an_error_not_an_empty_platform(tmp_path: Path) -> None:
    with pytest.raises(LineError, match="holds no"):
        load_lines(tmp_path)


def test_a_wrong_line_is_one_sentence_on_the_command_line(tmp_path: Path) -> None:
    path = edited(tmp_path, "base_model: ", "base_modell: ")
    environ = {**os.environ, "LLM_LINES": str(tmp_path), "LLM_HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    command = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-f", "definitions.py", "-j", "x"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    [said] = done.stderr.splitlines()
    assert said.startswith(f"Error: {path}: ")
    assert "base_modell: unknown key" in said
