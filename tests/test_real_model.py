"""The slow one: the shipped line on SmolLM2 and the demo registry, with fewer steps and examples."""

import functools
import operator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_assets.demo_data import write_demo_data
from llm_assets.records.evaluation import GateCalibration
from llm_assets.show import summary
from resources.settings import ROOT
from tests.workbench import Workbench

SHORTER = {
    "data.repo": "registry",
    "training.steps": 8,
    "training.warmup_steps": 1,
    "evaluation.sets.held_out": {"limit": 20, "max_new_tokens": 6},
    "evaluation.sets.prompts_toxic": {"limit": 20, "max_new_tokens": 4},
    "evaluation.sets.instructions": {"limit": 20, "max_new_tokens": 6},
    "evaluation.sets.facts": {"limit": 20},
    # Eight steps and twenty examples are too few for the shipped thresholds, not for the way they are reached.
    "gates.perplexity_beats_base": {"minimum_n": 20},
    "gates.perplexity_keeps_up_with_champion": {"minimum_n": 20},
    "gates.perplexity_beats_base.change": {"maximum": 1.6, "minimum_effect": 1.0},
    "gates.perplexity_keeps_up_with_champion.slices": [],
    "gates.perplexity_keeps_up_with_champion.change": {"maximum": 2.5, "minimum_effect": 1.7},
    "gates.win_rate_over_base.change": {"minimum": 0.2, "minimum_effect": 0.5},
    "gates.win_rate_over_champion.change": {"minimum": 0.1, "minimum_effect": 0.6},
    "gates.toxicity.value": {"maximum": 0.5, "minimum_effect": 0.45},
    "gates.truthfulness_kept.change": {"minimum": -0.5, "minimum_effect": 0.6},
    "gates.instruction_following_kept.change": {"minimum": -0.6, "minimum_effect": 0.7},
}


def shortened(line: dict[str, Any]) -> dict[str, Any]:
    for key, value in SHORTER.items():
        *sections, name = key.split(".")
        section = functools.reduce(operator.getitem, sections, line)
        section[name] = {**section[name], **value} if isinstance(value, dict) else value
    return line


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path, Path("unused"), write_demo_data)


def test_the_shipped_line_ships_a_better_smollm2(bench: Workbench) -> None:
    shipped = yaml.safe_load((ROOT / "lines" / "assistant.yaml").read_text())
    (bench.settings.lines_dir / "assistant.yaml").write_text(yaml.safe_dump(shortened(shipped)))
    try:
        done = bench.run_job("assistant_ship", timeout=1500)
        assert done.returncode == 0, done.stdout
        assert bench.serving_release("assistant") == "assistant-v1"
        report = bench.metadata("evaluation_report", "assistant")
        assert report["perplexity"] < report["base_perplexity"]
        assert "win_rate_over_base" in summary(bench.settings, "assistant")
        calibration = GateCalibration.load(bench.store, bench.metadata("gate_calibration", "assistant")["record"])
        for gate in calibration.gates:
            assert gate.false_pass.value <= gate.stated_false_pass, gate.gate
            if gate.gate == "win_rate_beats_champion":
                assert gate.identical.value <= gate.stated_false_pass
    finally:
        bench.serving.stop_all()
