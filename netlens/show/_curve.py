"""Curves: a signal over colors that show its attribution, and the attribution as an area below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

WIDTH, HEIGHT = 1200, 420  # of a drawing, in pixels
LETTER = 26  # height of the letters of a panel of curves or strips, in pixels
_DPI = 200
_SMALL = 15  # height of the numbers at the axes, in pixels
_INK, _PALE_INK, _AREA = "#1a1a1a", "#6b6b6b", "#b4431f"
_BELOW = "#2b5fb8"


def curve(
    signal: Tensor, heat: Tensor, unit: Tensor, cmap: str, diverging: bool, alpha: float = 1.0
) -> NDArray[np.uint8]:
    """(HEIGHT, WIDTH, 4): the drawing of one signal.

    Args:
        signal: The signal (C, T). Several channels lie above each other, each on its own scale.
        heat: The raw attribution (T,).
        unit: The attribution (T,) in [0, 1], or in [-1, 1] if it is diverging, for the colors.
        cmap: The name of the color map.
        diverging: Whether the attribution has a sign.
        alpha: The strength of the colors.
    """
    figure = Figure(figsize=(WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    left, width = 0.085, 0.905
    above = figure.add_axes((left, 0.45, width, 0.53))
    below = figure.add_axes((left, 0.09, width, 0.32))
    times = np.arange(signal.shape[-1])
    ends = (-0.5, len(times) - 0.5)
    colors = mpl.colormaps[cmap](unit.numpy() / 2 + 0.5 if diverging else unit.numpy())
    colors[:, 3] = 0.6 * alpha
    across = above.get_xaxis_transform()  # along x the times, along y the share of the axes
    above.imshow(colors[None], extent=(*ends, 0, 1), aspect="auto", interpolation="nearest", transform=across)
    _draw_signal(above, times, signal.float().numpy())
    area = heat.numpy()
    below.fill_between(times, area, where=area >= 0, step="mid", color=_AREA, linewidth=0)
    below.fill_between(times, area, where=area < 0, step="mid", color=_BELOW, linewidth=0)
    below.axhline(0, color=_PALE_INK, linewidth=0.5)
    low, high = min(float(area.min()), 0.0), max(float(area.max()), 0.0)
    span = high - low if high > low else 1.0
    below.set_ylim(low - 0.05 * span, high + 0.05 * span)
    below.set_yticks(sorted({low, high}), _numbers(sorted({low, high})))
    for axes in (above, below):
        axes.set_xlim(*ends)
        axes.tick_params(labelsize=_SMALL * 72 / _DPI, colors=_PALE_INK, width=0.5, length=2, pad=1.5)
        for name, spine in axes.spines.items():
            spine.set_visible(name in ("left", "bottom"))
            spine.set(color=_PALE_INK, linewidth=0.5)
    above.tick_params(labelbottom=False)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def _draw_signal(axes: Any, times: NDArray[np.int64], channels: NDArray[np.float32]) -> None:
    """The channels as lines, above each other if there are several."""
    lows, highs = channels.min(1), channels.max(1)
    if len(channels) == 1:
        low, high = float(lows[0]), float(highs[0])
        margin = 0.06 * (high - low if high > low else 1.0)
        axes.plot(times, channels[0], color=_INK, linewidth=0.8)
        axes.set_ylim(low - margin, high + margin)
        axes.set_yticks(sorted({low, high}), _numbers(sorted({low, high})))
        return
    for index, (row, low, high) in enumerate(zip(channels, lows, highs, strict=True)):
        span = high - low if high > low else 1.0
        axes.plot(times, -index + 0.9 * (row - low) / span - 0.45, color=_INK, linewidth=0.6)
    axes.set_ylim(-len(channels) + 0.5, 0.5)
    step = -(-len(channels) // 6)  # more numbers would overlap
    axes.set_yticks(
        [-index for index in range(0, len(channels), step)], [str(i) for i in range(0, len(channels), step)]
    )


def _numbers(values: Sequence[float]) -> list[str]:
    return [_number(value) for value in values]


def _number(value: float) -> str:
    return f"{value:.2g}".replace("-", "−")
