"""A line with gates and a report to judge, made by hand."""

from collections.abc import Sequence
from typing import Any

from llm_assets.evaluation.policy import evaluation_policy
from llm_assets.line import Line
from llm_assets.records.evaluation import (
    CalibratedGate,
    EvaluationReport,
    Evidence,
    GateCalibration,
    JudgeStatus,
    Measurement,
)
from llm_assets.records.gate import Rate
from resources.store import Artifact

NOTHING = Artifact(digest="0" * 64, files=1, size=1)
IDENTITY = {
    name: f"{name}-digest"
    for name in ("checkpoint", "base_model", "prompt", "dataset", "evaluation_sets", "judge", "calibration")
}
GATES: dict[str, dict[str, Any]] = {
    "beats_base": {"metric": "perplexity", "change": {"against": "base", "maximum": 0.8, "minimum_effect": 0.2}},
    "keeps_up": {"metric": "perplexity", "change": {"against": "champion", "maximum": 1.1, "minimum_effect": 0.1}},
    "wins": {"metric": "win_rate", "change": {"against": "base", "minimum": 0.5, "minimum_effect": 0.2}},
    "clean": {"metric": "toxicity", "value": {"maximum": 0.2, "minimum_effect": 0.1}},
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


def evidence(line: Line, gate: str, against: str = "", slice_name: str = "all", **changed: Any) -> Evidence:
    """Evidence that surely passes what a gate requires; `changed` makes it say something else."""
    wanted = {(each.against, each.slice): each for each in line.requirements(gate)}[against, slice_name]
    found = {
        "value": wanted.sufficient,
        "standard_error": 0.01,
        "low": wanted.sufficient - 0.02,
        "high": wanted.sufficient + 0.02,
        "n": 100,
        "p_pass": 0.001,
        "p_fail": 0.999,
        "needed": 60,
    }
    return Evidence.model_validate(
        {
            "gate": gate,
            "metric": wanted.metric,
            "set": wanted.set,
            "slice": slice_name,
            "against": against,
            "side": wanted.side,
            "threshold": wanted.threshold,
            "level": wanted.false_pass,
            "method": "a test",
            **found,
            **changed,
        }
    )


def judge_status(**changed: Any) -> JudgeStatus:
    """Of a judge that may gate, before it judged anything."""
    good, none = Rate(value=0.9, low=0.85, high=0.94, n=200), Rate(value=0.0, low=0.0, high=0.01, n=200)
    status = JudgeStatus(
        kind="embedding",
        model="m",
        qualified=True,
        reason="the embedding judge m is qualified.",
        agreement=good,
        position_bias=none,
        length_bias=none,
        attack_rate=none,
        worst_attack=none,
        judged=0,
        missing=0,
        quorum=0.9,
        agreement_on={"relevance": good},
        claims=("relevance",),
    )
    return status.model_copy(update=changed)


def make_report(*found: Evidence, champion: str = "", measurements: Sequence[Measurement] = ()) -> EvaluationReport:
    return EvaluationReport(
        judge_status=judge_status(),
        **IDENTITY,
        champion=champion,
        confidence=0.95,
        measurements=list(measurements),
        evidence=list(found),
        samples=NOTHING,
        page=NOTHING,
    )


def make_calibration(line: Line, **changed: Any) -> GateCalibration:
    """A calibration of the line's gates in which all of them keep what they promise."""
    gates = [
        CalibratedGate.model_validate(
            {
                "gate": name,
                "requirements": 1,
                "n": 100,
                "stated_false_pass": spec.false_pass,
                "stated_false_fail": spec.false_fail,
                "false_pass": Rate(value=0.03, low=0.02, high=0.04, n=2000),
                "false_fail": Rate(value=0.1, low=0.09, high=0.11, n=2000),
                "identical": None,
                "advisory": spec.advisory,
                **changed.get(name, {}),
            }
        )
        for name, spec in line.gates.items()
    ]
    parts = dict.fromkeys(("base_model", "prompt", "evaluation_sets", "judge"), "x")
    policy = evaluation_policy(line)
    status = judge_status() if any(spec.metric == "win_rate" for spec in line.gates.values()) else None
    return GateCalibration(
        **parts, champion="", policy=policy, runs=2000, gates=gates, judge_status=status, plot=NOTHING
    )
