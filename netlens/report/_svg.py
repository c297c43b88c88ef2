"""SVG: charts within a page, in its colors. Numbers only, so that nothing needs to be escaped."""

from __future__ import annotations

import math

from markupsafe import Markup

from netlens.survey import Calibration, Histogram

_WIDTH, _HEIGHT = 240, 72
_SIDE, _LEFT, _FOOT = 220, 34, 30


def histogram(bins: Histogram) -> Markup:
    """Bars with the logarithm of the counts as their height. A pale bar also holds what lies beyond it."""
    counts = bins.counts.tolist()
    most = math.log1p(max(counts, default=0)) or 1.0
    width = _WIDTH / max(len(counts), 1)
    bars = []
    for i, count in enumerate(counts):
        height = _HEIGHT * math.log1p(count) / most
        is_open = (i == 0 and bins.below) or (i == len(counts) - 1 and bins.above)
        kind = ' class="open"' if is_open else ""
        box = f'x="{i * width:.2f}" y="{_HEIGHT - height:.2f}" width="{0.92 * width:.2f}" height="{height:.2f}"'
        bars.append(f"<rect{kind} {box}/>")
    # the pale bar at an end begins at its inner edge
    low = f"< {number(float(bins.edges[1]))}" if bins.below else number(float(bins.edges[0]))
    high = f"≥ {number(float(bins.edges[-2]))}" if bins.above else number(float(bins.edges[-1]))
    ends = Markup.escape(low), Markup.escape(high)
    words = f"histogram from {ends[0]} to {ends[1]}, on a logarithmic scale"
    return Markup(
        f'<svg class="histogram" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{words}">{"".join(bars)}</svg>'
        f'<span class="ends" aria-hidden="true"><span>{ends[0]}</span><span>{ends[1]}</span></span>'
    )


def number(value: float) -> str:
    """A number for people.

    >>> number(0.0312345), number(-2.0), number(12345.6)
    ('0.0312', '−2', '1.23e+04')
    """
    return f"{value:.3g}".replace("-", "−")


def reliability(calibration: Calibration) -> Markup:
    """The share of right predictions at each confidence, over bars of how many have it."""
    parts = []
    most = max(1, int(calibration.count.max()))
    for i, count in enumerate(calibration.count.tolist()):
        left, right = float(calibration.edges[i]), float(calibration.edges[i + 1])
        height = _SIDE * count / most
        box = f'x="{_x(left):.1f}" y="{_SIDE - height:.1f}" width="{_x(right) - _x(left):.1f}" height="{height:.1f}"'
        parts.append(f'<rect class="count" {box}/>')
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_x(1)}" y1="{_y(tick)}" y2="{_y(tick)}"/>')
        parts.append(f'<text x="{_LEFT - 4}" y="{_y(tick) + 4}" text-anchor="end">{tick:.0%}</text>')
        parts.append(f'<text x="{_x(tick)}" y="{_SIDE + 15}" text-anchor="middle">{tick:.0%}</text>')
    parts.append(f'<line class="even" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>')
    rows = zip(calibration.count.tolist(), calibration.confidence.tolist(), calibration.accuracy.tolist(), strict=True)
    points = [(_x(confidence), _y(accuracy)) for count, confidence, accuracy in rows if count]
    parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
    width, height = _LEFT + _SIDE + 22, _SIDE + _FOOT
    words = f"share of right predictions by confidence; expected calibration error {calibration.error:.3f}"
    return Markup(
        f'<svg class="reliability" viewBox="0 -8 {width} {height}" role="img" aria-label="{words}">'
        f"{''.join(parts)}</svg>"
    )


def _x(share: float) -> float:
    return _LEFT + _SIDE * share


def _y(share: float) -> float:
    return _SIDE * (1 - share)
