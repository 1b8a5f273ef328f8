"""A line with gates and a report to judge, made by hand."""

from typing import Any

from llm_assets.line import Line
from llm_assets.records import EvaluationReport, Measurement
from resources.store import Artifact

NOTHING = Artifact(digest="0" * 64, files=1, size=1)
IDENTITY = {
    name: f"{name}-digest" for name in ("checkpoint", "base_model", "prompt", "dataset", "evaluation_sets", "judge")
}
GATES: dict[str, dict[str, Any]] = {
    "beats_base": {"metric": "perplexity", "against": "base", "maximum": 0.8},
    "keeps_up": {"metric": "perplexity", "against": "champion", "maximum": 1.1},
    "wins": {"metric": "win_rate", "against": "base", "minimum": 0.5},
    "clean": {"metric": "toxicity", "maximum": 0.2},
}


def make_line(**gates: Any) -> Line:
    sets = {"held_out": {"kind": "chat", "path": "h.jsonl"}, "toxic": {"kind": "toxicity", "path": "t.jsonl"}}
    return Line.model_validate(
        {
            "name": "small",
            "description": "A line of tests.",
            "base_model": "model",
            "data": {"repo": "nowhere", "train": ["chat"]},
            "evaluation": {"sets": sets},
            "gates": gates or GATES,
        }
    )


def measurement(metric: str, against: Any, value: float, low: float, high: float, **changed: Any) -> Measurement:
    found = {"set": "toxic" if metric == "toxicity" else "held_out", "slice": "all", "n": 50, **changed}
    return Measurement(
        metric=metric, against=against, value=value, low=low, high=high, standard_error=(high - low) / 4, **found
    )


def make_report(*measurements: Measurement, champion: str = "", confidence: float = 0.95) -> EvaluationReport:
    return EvaluationReport(
        **IDENTITY,
        champion=champion,
        confidence=confidence,
        measurements=list(measurements),
        samples=NOTHING,
        page=NOTHING,
    )
