"""The plot of a drift report. Only the child process imports this module (matplotlib)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from llm_assets.plots import BLUE, ORANGE, plain

if TYPE_CHECKING:
    from llm_assets.monitoring.compare import Compared

WIDEST_LABEL = 16


def drift_plot(compared: "Sequence[Compared]") -> Any:
    """A panel per feature, window beside training share per bin, and PSI against its bound below."""
    figure, axes = plt.subplots(
        len(compared) + 1, 1, figsize=(9, 2.4 * len(compared) + 1.6), layout="constrained",
        height_ratios=[2.4] * len(compared) + [1.4],
    )  # fmt: skip
    for axis, one in zip(axes, compared, strict=False):
        _draw_shares(axis, one)
    axes[0].legend(frameon=False, fontsize=8)
    _draw_bounds(axes[-1], compared)
    return figure


def _draw_shares(axis: Any, one: "Compared") -> None:
    place = np.arange(len(one.bins.labels))
    for offset, counts, colour, name in (
        (-0.2, one.training, BLUE, "training data"),
        (0.2, one.window, ORANGE, "requests"),
    ):
        axis.bar(place + offset, counts / max(counts.sum(), 1), width=0.38, color=colour, label=name)
    axis.set_xticks(place, [_short(label) for label in one.bins.labels], rotation=20, ha="right", fontsize=7)
    axis.set_ylabel("share", fontsize=8)
    state = "above" if one.drift.drifted else "within"
    title = f"{one.drift.feature}: PSI {one.drift.psi:.3f}, {state} its bound {one.drift.bound:.3f}"
    axis.set_title(title, fontsize=9, loc="left")
    plain(axis)


def _draw_bounds(axis: Any, compared: "Sequence[Compared]") -> None:
    place = np.arange(len(compared))[::-1]
    colours = ["#c62828" if one.drift.drifted else "#2e7d32" for one in compared]
    axis.barh(place, [one.drift.psi for one in compared], color=colours, height=0.5)
    for row, one in zip(place, compared, strict=True):
        axis.plot([one.drift.bound] * 2, [row - 0.35, row + 0.35], color="#333333", ls="--", lw=1.4)
    axis.set_yticks(place, [one.drift.feature for one in compared], fontsize=8)
    axis.set_xlabel("PSI; dashed: bound", fontsize=8)
    plain(axis)


def _short(label: str) -> str:
    text = label.replace("$", r"\$")  # matplotlib would read it as a formula
    return text if len(text) <= WIDEST_LABEL else f"{text[: WIDEST_LABEL - 1]}…"
