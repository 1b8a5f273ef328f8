"""The report's own plot. Only the evaluation's child process imports this module (matplotlib)."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt

from llm_assets.line import GateSpec
from llm_assets.plots import plain
from llm_assets.records import GateResult

COLOURS = {"PASS": "#2e7d32", "FAIL": "#c62828", "INCONCLUSIVE": "#ef6c00", "ERROR": "#6a1b9a"}


def gate_plot(gates: Sequence[GateResult], specs: dict[str, GateSpec]) -> Any:
    """A row per gate on a scale of its own: the interval, and what is allowed shaded up to the threshold."""
    shown = [gate for gate in gates if gate.value is not None]
    figure, axes = plt.subplots(
        max(len(shown), 1), 1, figsize=(9, 0.8 * max(len(shown), 1) + 0.3), layout="constrained", squeeze=False
    )
    for axis, gate in zip(axes[:, 0], shown, strict=False):
        _draw_gate(axis, gate, specs[gate.gate])
    if not shown:
        axes[0, 0].set_axis_off()
        axes[0, 0].text(0.5, 0.5, "No gate has a value to draw.", ha="center")
    return figure


def _draw_gate(axis: Any, gate: GateResult, spec: GateSpec) -> None:
    low, high, value = gate.low, gate.high, gate.value
    assert low is not None
    assert high is not None
    assert value is not None
    thresholds = [bound for bound in (spec.minimum, spec.maximum) if bound is not None]
    left, right = min([low, *thresholds]), max([high, *thresholds])
    margin = 0.15 * ((right - left) or abs(right) or 1)
    axis.set_xlim(left - margin, right + margin)
    axis.axvspan(
        spec.minimum if spec.minimum is not None else left - margin,
        spec.maximum if spec.maximum is not None else right + margin,
        color="#2e7d32",
        alpha=0.12,
        lw=0,
    )
    for threshold in thresholds:
        axis.axvline(threshold, color="#333333", ls="--", lw=1.2)
    colour = COLOURS[gate.outcome]
    axis.plot([low, high], [0, 0], color=colour, lw=5, solid_capstyle="butt", alpha=0.6)
    axis.plot([value], [0], "o", color=colour, ms=7)
    axis.set_ylim(-1, 1)
    axis.set_yticks([0], [f"{gate.gate.replace('_', ' ')}\n{gate.bound}"], fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_title(
        f"{gate.outcome}   {value:.3g} [{low:.3g}, {high:.3g}]", fontsize=8, loc="right", pad=2, color=colour
    )
    plain(axis, ("top", "right", "left"))
