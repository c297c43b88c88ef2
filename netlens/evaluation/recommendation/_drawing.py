"""The picture of a recommendation: who raced, the best few by all metrics, and their maps."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from netlens.evaluation._table import Evaluation
from netlens.evaluation.metrics import METRICS
from netlens.results import Attribution
from netlens.show import COLORS, Picture, chart, panel

_LINE, _LETTER, _MARGIN = 40, 25, 32
_NAMES, _WIDTH, _MOST = 600, 1440, 16
_BEST, _TIED, _OTHER, _CONTROL = COLORS[2], COLORS[0], "#8c8c8c", COLORS[1]


def drawn(
    lines: Sequence[str],
    everyone: Evaluation,
    best: str,
    ties: Collection[str],
    few: Evaluation,
    attributions: Sequence[Attribution],
) -> Picture:
    """Draw a recommendation.

    Args:
        lines: The answer in words.
        everyone: All contestants by the metric that decided.
        best: The name of the best one.
        ties: The names of those that cannot be told apart from it.
        few: The best few and the controls by all metrics.
        attributions: The maps of the best few and of a control; none to leave them out.
    """
    metric = everyone.metrics[0]
    race, table = _intervals(everyone, best, ties), few.show().rgba()
    maps = None
    if attributions:
        titles = [*few.methods[: len(attributions) - 1], f"control: {attributions[-1].title}"]
        maps = panel(attributions, titles=titles, columns=len(attributions) + 1).rgba()
    width = 3 * _MARGIN + race.shape[1] + max(table.shape[1], 0 if maps is None else maps.shape[1] - race.shape[1])
    heads = _MARGIN + len(lines) * _LINE
    middle = heads + 2 * _LINE + max(race.shape[0], table.shape[0])
    picture = Picture(width, middle + (0 if maps is None else 2 * _LINE + maps.shape[0]) + _MARGIN)
    for number, line in enumerate(lines):
        color = _CONTROL if line.startswith("WARNING") else "#1a1a1a"
        weight = "bold" if number == 0 else "normal"
        y = _MARGIN + number * _LINE
        picture.write(line, _MARGIN, y, _LETTER, width - 2 * _MARGIN, color=color, weight=weight)
    right = 2 * _MARGIN + race.shape[1]
    _placed(picture, race, f"everyone by {metric}: mean and 95 % interval, best first", _MARGIN, heads)
    _placed(picture, table, "side by side by each metric; nothing is averaged over metrics", right, heads)
    if maps is not None:
        _placed(picture, maps, "maps of the best of the best methods, and of the best control", _MARGIN, middle)
    return picture


def _placed(picture: Picture, pixels: NDArray[np.uint8], caption: str, x: int, y: int) -> None:
    """Put pixels into the picture, with a caption above them."""
    picture.write(caption, x, y + _LINE // 2, _LETTER, pixels.shape[1], color="#6b6b6b")
    picture.place(pixels, x, y + 2 * _LINE)


def _intervals(race: Evaluation, best: str, ties: Collection[str]) -> NDArray[np.uint8]:
    """The pixels of a chart: a row for each contestant, with its mean and interval."""
    metric = race.metrics[0]
    ranking = list(race.ranking(metric))
    every = [name for name in ranking if name in race.controls]
    names = [name for name in ranking if name not in race.controls][: _MOST - len(every)]
    names = sorted([*names, *every], key=ranking.index)
    picture = Picture(_WIDTH, len(names) * _LINE + 70)
    axes = chart(picture, (_NAMES, 6, _WIDTH - _NAMES - 240, len(names) * _LINE))
    for row, name in enumerate(names):
        one = race.of(name, metric)
        color = _OTHER
        if name in race.controls:
            color = _CONTROL
        elif name == best:
            color = _BEST
        elif name in ties:
            color = _TIED
        axes.plot([one.low, one.high], [row, row], color=color, linewidth=2.2, solid_capstyle="butt")
        axes.plot([one.mean], [row], "o", color=color, markersize=4.5)
        style = {"style": "italic"} if name in race.controls else {}
        y = 6 + row * _LINE + (_LINE - _LETTER) / 2 - 2
        picture.write(name, 0, y, _LETTER, _NAMES - 20, color=color, **style)
        note = f"{one.n} images" + (", best" if name == best else ", tied" if name in ties else "")
        picture.write(note, _WIDTH - 220, y, 0.85 * _LETTER, 220, color="#6b6b6b")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks([])
    direction = "more is better" if METRICS[metric].more_is_better else "less is better"
    axes.set_xlabel(f"{metric} ({direction})", fontsize=7)
    axes.grid(axis="x", linewidth=0.3)
    return picture.rgba()
