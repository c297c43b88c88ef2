"""Paintings as HTML: the one that grows, the table of all runs, one run in full, and the pictures that are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from PIL import Image

from netlens.options import spelled
from netlens.playground import _html as html
from netlens.playground._brush import COLORS
from netlens.playground._painting import Painting, Run
from netlens.playground._studio import Studio
from netlens.visualization.style import SETTINGS, StyleTransfer

_LARGE = 512  # pixels
_NAMES = {"content": "content", "style": "style", "total_variation": "variation"}


def growing(run: Run, of: tuple[int, int] = (0, 1)) -> str:
    """The painting that grows: its picture, its step and its losses.

    Args:
        run: The run so far.
        of: Its index in its batch, and how many pictures the batch has.
    """
    facts = [f"step {run.step} of {run.steps}", f"{run.seconds:.1f} s"]
    facts[1:1] = [f"scale {run.scale}"] if run.scale else []
    title = "Painting" if of[1] == 1 else f"Picture {of[0] + 1} of {of[1]}: {run.painting.label}"
    parts = [html.progress(run.step, run.steps), _losses(run), _curve(run)]
    return html.easel(_small(run, _LARGE), "the picture so far", title, facts, parts)


def beginning(painting: Painting, of: tuple[int, int]) -> str:
    """What stands there before the first step."""
    return html.hint("The network looks at the pictures …" if of[1] == 1 else f"Picture {of[0] + 1} of {of[1]} …")


def table(runs: Sequence[Run], chosen: str, paints: str = "") -> str:
    """All runs, the newest first, to compare and to choose from.

    Args:
        runs: The runs.
        chosen: The key of the run that is shown in full.
        paints: The key of the run that is being painted; empty if none is.
    """
    if not runs:
        return ""
    head = "".join(f"<th scope=col>{name}</th>" for name in ("Run", "Pictures", "Settings", *_NAMES.values(), "Size"))
    rows = "".join(_row(run, run.key == chosen, run.key == paints) for run in reversed(runs))
    caption = "Runs, with the losses of their pictures. Click on one to see it."
    return (
        f'<div class="nl-runs"><p class="nl-hint">{caption}</p><table><thead><tr>{head}<th scope=col>Time</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )


def _row(run: Run, chosen: bool, paints: bool) -> str:
    one = run.painting
    name = f"run {run.number}: {one.content} in {', '.join(one.styles)}, {one.label}"
    height, width = run.render.images.shape[-2:]
    until = _until(run, paints)
    # what has no end yet has no result; the picture that grows shows how far it is
    losses = {} if paints else run.losses
    cells = {
        "Pictures": f"{one.content} in {' and '.join(one.styles)}{' with masks' if one.masked else ''}",
        "Settings": f"{one.label} · {until}" if until else one.label,
        **{title: f"{losses[loss]:.3f}" if loss in losses else "–" for loss, title in _NAMES.items()},
        "Size": "–" if paints else f"{width} × {height}",
        "Time": "–" if paints else f"{run.seconds:.1f} s",
    }
    data = "".join(f'<td data-name="{title}">{escape(text)}</td>' for title, text in cells.items())
    mark = ' aria-current="true"' if chosen else ""
    return (
        f'<tr data-say="{run.key}"{mark}><td><a href="#" data-say="{run.key}" aria-label="{escape(name)}">'
        f'<span>{run.number}</span><img src="{html.source(run.thumbnail)}" alt=""></a></td>{data}</tr>'
    )


def detail(run: Run, links: Sequence[tuple[str, str]], paints: str = "") -> str:
    """One run in full: its picture, its losses, all its settings, and its files.

    Args:
        run: The run.
        links: Its files, as words and addresses.
        paints: As for `table`.
    """
    one, changed = run.painting, run.painting.settings
    standard = StyleTransfer()
    rows = []
    for name in SETTINGS:
        value = escape(spelled(changed.get(name, getattr(standard, name))))
        shown = f"<b>{value}</b>" if name in changed else value
        rows.append(f"<tr><th scope=row>{escape(name.replace('_', ' '))}</th><td>{shown}</td></tr>")
    height, width = run.render.images.shape[-2:]
    facts = [f"{width} × {height}", f"{run.seconds:.1f} s", _until(run, run.key == paints) or "done"]
    doubts = "".join(f'<p class="nl-note">{escape(text[0].upper() + text[1:])}</p>' for text in run.doubts)
    pictures = f"{one.content} in the style of {' and '.join(one.styles)}"
    settings = f"<details><summary>All settings</summary><table>{''.join(rows)}</table></details>"
    title = f"Run {run.number}: {pictures}"
    parts = [doubts, _losses(run), _curve(run), settings]
    return html.easel(_small(run, 2 * _LARGE), pictures, title, facts, parts, links)


def chosen_pictures(studio: Studio, content: str, styles: Sequence[str]) -> str:
    """The content and the styles, small; each style with the color of its brush."""
    shown = [(content, "content", "")] if content else []
    shown += [(name, f"style {i + 1}", COLORS[i % len(COLORS)]) for i, name in enumerate(styles)]
    figures = []
    for name, role, color in shown:
        dot = f'<i class="nl-dot" style="background:{color}"></i>' if color else ""
        figures.append(
            f'<figure><img src="{html.source(studio.thumbnail(name, 160))}" alt="{escape(name)}">'
            f"<figcaption>{dot}<b>{escape(role)}</b> {escape(name)}</figcaption></figure>"
        )
    return f'<div class="nl-chosen">{"".join(figures)}</div>'


def _until(run: Run, paints: bool) -> str:
    """Why a run has fewer steps than planned: it is being painted, was stopped, or reached its target; else ""."""
    if not run.short:
        return ""
    if paints:
        return "being painted"
    return f"{'reached its target' if run.done else 'stopped'} after {run.short}"


def _small(run: Run, side: int) -> Image.Image:
    picture = run.picture
    picture.thumbnail((side, side))
    return picture


def _losses(run: Run) -> str:
    rows = [(_NAMES.get(name, name), value, f"{value:.3f}") for name, value in run.losses.items()]
    return html.bars(rows)


def _curve(run: Run) -> str:
    """The weighted sum of the losses over the steps, as a line."""
    first, last = run.curve[0], run.curve[-1]
    words = f"the sum of the weighted losses, from {first:.3f} to {last:.3f}"
    return html.curve(run.curve, words, min(1.0, run.step / run.steps))
