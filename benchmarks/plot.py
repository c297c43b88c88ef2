"""The plot of `make benchmark`: the time of others, divided by the time of netlens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Bar = tuple[str, float | None, float | None, bool]
"""The name of the case, the ratio of the peer, the ratio of the least work, and whether the goals are reached."""


def bars(rows: Sequence[Bar], path: Path) -> None:
    """Draw a bar for each case, on a logarithmic scale. A bar to the right of 1 is slower than netlens.

    A bar is red if a goal is missed.
    """
    figure = Figure(figsize=(9, 0.24 * len(rows) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for y, (_, peer, least, reached) in enumerate(rows):
        if peer is not None:
            axes.barh(y, peer - 1, left=1, height=0.6, color="#3b6ea5" if reached else "#c8553d")
            axes.annotate(f"{peer:.1f}", (max(peer, 1), y), xytext=(4, 0), textcoords="offset points", va="center")
        if least is not None:
            axes.plot([least], [y], "k|", markersize=9, markeredgewidth=2)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("times netlens: the peer (bar, red where a goal is missed), the least work (stroke)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
