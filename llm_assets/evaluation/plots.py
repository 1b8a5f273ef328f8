"""The plots of gates: what they measured, and how often they err. Only child processes import this (matplotlib)."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

from llm_assets.evaluation.assessment import Assessment
from llm_assets.gate_spec import ALL
from llm_assets.plots import plain
from llm_assets.records.evaluation import CalibratedGate, Evidence

COLOURS = {"PASS": "#2e7d32", "FAIL": "#c62828", "INCONCLUSIVE": "#ef6c00", "ERROR": "#6a1b9a"}


def requirement_plot(assessments: Sequence[Assessment]) -> Any:
    """A row per requirement on a scale of its own: the interval, and what is allowed shaded up to the threshold."""
    shown = [(one, one.evidence) for one in assessments if one.evidence is not None]
    rows = max(len(shown), 1)
    figure, axes = plt.subplots(rows, 1, figsize=(9, 0.8 * rows + 0.3), layout="constrained", squeeze=False)
    for axis, (one, evidence) in zip(axes[:, 0], shown, strict=False):
        _draw(axis, one, evidence)
    if not shown:
        axes[0, 0].set_axis_off()
        axes[0, 0].text(0.5, 0.5, "No gate has a value to draw.", ha="center")
    return figure


def _draw(axis: Any, one: Assessment, evidence: Evidence) -> None:
    low, high, value, threshold = evidence.low, evidence.high, evidence.value, evidence.threshold
    left, right = min(low, threshold), max(high, threshold)
    margin = 0.15 * ((right - left) or abs(right) or 1)
    axis.set_xlim(left - margin, right + margin)
    allowed = (threshold, right + margin) if evidence.side == "minimum" else (left - margin, threshold)
    axis.axvspan(*allowed, color="#2e7d32", alpha=0.12, lw=0)
    axis.axvline(threshold, color="#333333", ls="--", lw=1.2)
    colour = COLOURS[one.outcome]
    axis.plot([low, high], [0, 0], color=colour, lw=5, solid_capstyle="butt", alpha=0.6)
    axis.plot([value], [0], "o", color=colour, ms=7)
    axis.set_ylim(-1, 1)
    where = "" if one.requirement.slice == ALL else f"\n{one.requirement.slice}"
    against = f" against {evidence.against}" if evidence.against else ""
    label = f"{evidence.gate.replace('_', ' ')}{where}\n{one.requirement.bound}{against}"
    axis.set_yticks([0], [label], fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    title = f"{one.outcome}   {value:.3g} [{low:.3g}, {high:.3g}]"
    axis.set_title(title, fontsize=8, loc="right", pad=2, color=colour)
    plain(axis, ("top", "right", "left"))


def calibration_plot(gates: Sequence[CalibratedGate]) -> Any:
    """Two panels with a row per gate: how often it errs either way, with bounds, and what it states (dashed)."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 0.45 * len(gates) + 1.1), layout="constrained", sharey=True)
    kinds = (("false pass", "false_pass"), ("false fail", "false_fail"))
    for axis, (title, name) in zip(axes, kinds, strict=True):
        rates = [getattr(gate, name) for gate in gates]
        stated = [getattr(gate, f"stated_{name}") for gate in gates]
        for row, (rate, promise) in enumerate(zip(rates, stated, strict=True)):
            colour = COLOURS["FAIL" if rate.low > promise else "PASS" if rate.value <= promise else "INCONCLUSIVE"]
            axis.plot([rate.low, rate.high], [row, row], color=colour, lw=5, solid_capstyle="butt", alpha=0.6)
            axis.plot([rate.value], [row], "o", color=colour, ms=6)
            axis.plot([promise, promise], [row - 0.4, row + 0.4], color="#333333", ls="--", lw=1.2)
        axis.set_title(title, fontsize=9)
        axis.set_xlim(0, min(1.02, 1.25 * max([*stated, *(rate.high for rate in rates)], default=1)))
        axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axis.set_yticks(range(len(gates)), [gate.gate.replace("_", " ") for gate in gates], fontsize=8)
        axis.tick_params(axis="x", labelsize=7)
        plain(axis)
    axes[0].invert_yaxis()
    return figure
