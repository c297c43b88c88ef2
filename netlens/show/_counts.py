"""Counts as charts: which classes are taken for which, how often a confidence is right, how values are spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from netlens.show._tiles import INK, PALE_INK

CHART = 640  # the side of a chart, in pixels
_DPI = 200
_LETTER = 5.5  # points
_BLUE, _HALF, _PALE = "#2b5fb8", "#9db7e0", "#d3d7de"
_NAMED = 24  # so many classes have room for their names
_COUNTED = 16  # and so many for the numbers in their cells


def confusion_chart(counts: Tensor, names: Sequence[str]) -> NDArray[np.uint8]:
    """(CHART, CHART, 4): a matrix of the labels (rows) and the predicted classes (columns), by share of the label.

    Args:
        counts: (classes, classes): the number of samples.
        names: The names of the classes.
    """
    figure, axes = _blank((0.27, 0.03, 0.7, 0.7))
    numbers = counts.double().numpy()
    shares = numbers / np.maximum(numbers.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    if len(names) <= _NAMED:
        every = np.arange(len(names))
        short = [_short(name) for name in names]
        size = min(_LETTER, 110 / max(len(names), 1))
        axes.set_xticks(every, short, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(every, short, fontsize=size, parse_math=False)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, colors=INK)
    if len(names) <= _COUNTED:
        for row, column in zip(*numbers.nonzero(), strict=True):
            color = "white" if shares[row, column] > 0.5 else INK
            text = f"{int(numbers[row, column])}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=min(4.5, 70 / len(names)))
    return _pixels(figure)


def reliability_chart(edges: Tensor, count: Tensor, confidence: Tensor, accuracy: Tensor) -> NDArray[np.uint8]:
    """(CHART, CHART, 4): how often predictions of a confidence are right; on the diagonal, they are as often right.

    Args:
        edges: (bins + 1,): the edges of the bins, from 0 to 1.
        count: (bins,): the number of samples.
        confidence: (bins,): their mean confidence; NaN in an empty bin.
        accuracy: (bins,): the share of them that is right; NaN in an empty bin.
    """
    figure, axes = _blank((0.13, 0.12, 0.82, 0.82))
    left, full = edges[:-1].numpy(), (count > 0).numpy()
    width = float(edges[1] - edges[0])
    axes.bar(left, count.numpy() / max(1, int(count.max())), width, align="edge", color=_PALE, linewidth=0)
    axes.plot([0, 1], [0, 1], color=PALE_INK, linewidth=0.6, linestyle=(0, (4, 3)))
    points = confidence.numpy()[full], accuracy.numpy()[full]
    axes.plot(*points, color=_BLUE, linewidth=1, marker="o", markersize=2.5)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_xlabel("confidence", fontsize=_LETTER, color=PALE_INK, labelpad=1)
    axes.set_ylabel("share that is right", fontsize=_LETTER, color=PALE_INK, labelpad=1)
    return _pixels(figure)


def histogram_chart(
    edges: Tensor, counts: Tensor, below: bool = False, above: bool = False, size: tuple[int, int] = (CHART, CHART)
) -> NDArray[np.uint8]:
    """(height, width, 4): a histogram, on a scale of counts that shows rare values, too.

    Args:
        edges: (bins + 1,): the edges of the bins.
        counts: (bins,): the numbers.
        below: Whether the first bin holds everything below it, too. It is pale then.
        above: Whether the last bin holds everything above it, too.
        size: The height and width, in pixels.
    """
    figure, axes = _blank((0.16, 0.14, 0.8, 0.8), size)
    colors = [_BLUE] * len(counts)
    for end, is_open in ((0, below), (-1, above)):
        if is_open and colors:
            colors[end] = _HALF
    heights = np.log10(1 + counts.numpy())
    axes.bar(edges[:-1].numpy(), heights, np.diff(edges.numpy()), align="edge", color=colors, linewidth=0)
    powers = range(0, int(heights.max(initial=1)) + 1, 1 if heights.max(initial=1) < 5 else 2)
    axes.set_yticks([np.log10(1 + 10.0**power) for power in powers], [f"{10**power:,}" for power in powers])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(float(edges[0]), float(edges[-1]))
    axes.set_ylim(0, max(1.0, 1.05 * heights.max(initial=1)))
    return _pixels(figure)


def _blank(box: tuple[float, float, float, float], size: tuple[int, int] = (CHART, CHART)) -> tuple[Figure, Any]:
    figure = Figure(figsize=(size[1] / _DPI, size[0] / _DPI), dpi=_DPI, facecolor="white")
    axes = figure.add_axes(box)
    axes.tick_params(labelsize=_LETTER - 0.5, colors=PALE_INK, width=0.4, length=1.5, pad=1.5)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set(color=PALE_INK, linewidth=0.4)
    return figure, axes


def _pixels(figure: Figure) -> NDArray[np.uint8]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def _short(name: str) -> str:
    name = name.split(",")[0]
    return name if len(name) <= 18 else f"{name[:17]}…"
