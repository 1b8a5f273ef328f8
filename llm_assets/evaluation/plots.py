"""The report's plots. Only the evaluation's child process imports this module (matplotlib)."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from llm_assets.line import GateSpec
from llm_assets.records import GateResult

COLOURS = {"PASS": "#2e7d32", "FAIL": "#c62828", "INCONCLUSIVE": "#ef6c00", "ERROR": "#6a1b9a"}
BLUE, ORANGE = "#1565c0", "#ef6c00"


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
    assert low is not None and high is not None and value is not None
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
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def curve_plot(curve: dict[str, list[list[float]]]) -> Any:
    """Training and validation loss, in nats per answer token, over optimiser steps."""
    figure, axis = plt.subplots(figsize=(9, 3), layout="constrained")
    for name, colour, marker in (("train", BLUE, ""), ("validation", ORANGE, "o")):
        points = curve.get(name) or []
        axis.plot([p[0] for p in points], [p[1] for p in points], color=colour, marker=marker, ms=5, label=name)
    axis.set_xlabel("optimiser step")
    axis.set_ylabel("loss (nats per answer token)")
    axis.grid(alpha=0.25)
    axis.legend(frameon=False)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    return figure


def svg(figure: Any) -> str:
    """The figure as an inline SVG element; equal figures give equal text."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "llm-assets"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def png(figure: Any) -> bytes:
    """The figure as a small PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
