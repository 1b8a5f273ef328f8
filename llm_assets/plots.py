"""What all plots share: how a figure becomes an inline SVG or a small PNG, and the loss curve.

Only child processes import this module (matplotlib).
"""

import io
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

BLUE, ORANGE = "#1565c0", "#ef6c00"


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
    plain(axis)
    return figure


def plain(axis: Any, sides: tuple[str, ...] = ("top", "right")) -> None:
    """Take away the frame lines that say nothing."""
    for side in sides:
        axis.spines[side].set_visible(False)


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
