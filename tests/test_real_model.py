"""The slow one: the shipped line on SmolLM2 and the demo registry, with fewer steps and examples."""

from pathlib import Path

import pytest

from llm_assets.demo_data import write_demo_data
from llm_assets.show import summary
from resources.settings import ROOT
from tests.workbench import Workbench

SHORTER = {
    ".llm/data-registry": "registry",
    "steps: 60": "steps: 8",
    "warmup_steps: 6": "warmup_steps: 1",
    "limit: 96, max_new_tokens: 24": "limit: 20, max_new_tokens: 6",
    "limit: 60, max_new_tokens: 16": "limit: 20, max_new_tokens: 4",
    "limit: 24, max_new_tokens: 64": "limit: 20, max_new_tokens: 6",
    "path: evaluation/facts.jsonl}": "path: evaluation/facts.jsonl, limit: 20}",
    # Ten steps and two dozen examples are too few for the shipped thresholds, not for the way they are reached.
    "against: base, maximum: 0.8": "against: base, maximum: 1.0",
    "against: base, minimum: 0.5": "against: base, minimum: 0.2",
    "metric: toxicity, maximum: 0.2": "metric: toxicity, maximum: 0.5",
    "against: base, minimum: -0.15": "against: base, minimum: -0.5",
    "against: base, minimum: -0.25": "against: base, minimum: -0.6",
}


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path, Path("unused"), write_demo_data)


def test_the_shipped_line_ships_a_better_smollm2(bench: Workbench) -> None:
    text = (ROOT / "lines" / "assistant.yaml").read_text()
    for shipped, shorter in SHORTER.items():
        assert shipped in text, shipped
        text = text.replace(shipped, shorter)
    (bench.settings.lines_dir / "assistant.yaml").write_text(text)
    try:
        done = bench.run_job("assistant_ship", timeout=1500)
        assert done.returncode == 0, done.stdout
        assert bench.serving_release("assistant") == "assistant-v1"
        report = bench.metadata("evaluation_report", "assistant")
        assert report["perplexity"] < report["base_perplexity"]
        assert "win_rate_over_base" in summary(bench.settings, "assistant")
    finally:
        bench.serving.stop_all()
