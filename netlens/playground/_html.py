"""HTML: pictures with captions, bars and clicks, as the page shows them. All texts are escaped here."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import urlencode

import numpy as np
from PIL import Image


def source(picture: Image.Image | np.ndarray) -> str:
    """A picture as the address of an image, which holds its pixels; so no file is written and none is served."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    small = image.width * image.height <= 64 * 64
    rgb = image.convert("RGB")
    rgb.save(buffer, "PNG") if small else rgb.save(buffer, "JPEG", quality=90)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def link(**parameters: str | int | None) -> str:
    """The address of a state of the page.

    >>> link(tab="look", layer="stem", channel=3, at=None)
    '?tab=look&layer=stem&channel=3'
    """
    return "?" + urlencode({name: value for name, value in parameters.items() if value not in (None, "")})


def figure(
    picture: Image.Image | np.ndarray,
    title: str,
    note: str = "",
    alt: str = "",
    links: Iterable[tuple[str, str]] = (),
    say: str = "",
    href: str = "",
) -> str:
    """A picture with its caption.

    Args:
        picture: The picture.
        title: Its name.
        note: What else is said of it, in a smaller line.
        alt: What it shows, for those who cannot see it; by default its title.
        links: Files to save, as words and addresses.
        say: What a click on it says; see `netlens.playground._clicks`.
        href: The address of what a click on it opens.
    """
    image = f'<img src="{source(picture)}" alt="{escape(alt or title)}">'
    name = f"<b>{escape(title)}</b>"
    if say:
        link = f'<a href="{escape(href or "#")}" data-say="{escape(say)}"'
        # the picture and its name look like one button; the keyboard stops there once
        image, name = f"{link}>{image}</a>", f'{link} tabindex="-1">{name}</a>'
    saves = "".join(f' <a href="{escape(to)}" download>{escape(word)}</a>' for word, to in links)
    note_html = f'<span class="nl-note">{escape(note)}</span>' if note else ""
    return (
        f'<figure class="nl-figure">{image}<figcaption>{name}{note_html}'
        f"{f'<span class=nl-saves>{saves}</span>' if saves else ''}</figcaption></figure>"
    )


def waiting(title: str, note: str = "waiting") -> str:
    """The place of a picture that is being made."""
    return (
        f'<figure class="nl-figure nl-waiting"><div class="nl-blank"></div><figcaption><b>{escape(title)}</b>'
        f'<span class="nl-note">{escape(note)}</span></figcaption></figure>'
    )


def refused(title: str, why: str) -> str:
    """The place of a picture that cannot be made, with the reason."""
    return (
        f'<figure class="nl-figure nl-refused"><div class="nl-blank"><p>{escape(why)}</p></div>'
        f"<figcaption><b>{escape(title)}</b></figcaption></figure>"
    )


def grid(figures: Sequence[str], small: bool = False) -> str:
    """Pictures side by side, as many as there is room for."""
    return f'<div class="nl-grid{" nl-small" if small else ""}">{"".join(figures)}</div>'


def hint(text: str) -> str:
    """A sentence in a quiet color."""
    return f'<p class="nl-hint">{escape(text)}</p>'


def bars(
    rows: Sequence[tuple[str, float, str]],
    says: Sequence[str] = (),
    hrefs: Sequence[str] = (),
    full: float | None = None,
) -> str:
    """Numbers as bars from a middle line, or from the left if none is below 0.

    Args:
        rows: For each bar its name, its number and the number as a text.
        says: What a click on each name says; see `netlens.playground._clicks`.
        hrefs: The address of what a click on each name opens.
        full: The number of a full bar; None for the largest of these numbers.
    """
    if not rows:
        return ""
    most = full or max(abs(value) for _, value, _ in rows) or 1.0
    signed = any(value < 0 for _, value, _ in rows)
    lines = []
    for i, (name, value, text) in enumerate(rows):
        share = abs(value) / most * (50 if signed else 100)
        left = (50 if value >= 0 else 50 - share) if signed else 0
        kind = "nl-low" if value < 0 else "nl-high"
        bar = f'<span class="nl-bar"><i class="{kind}" style="left:{left:.1f}%;width:{share:.1f}%"></i></span>'
        # a long name goes on in the next line, after a point if it has one
        words = escape(name).replace(".", ".<wbr>")
        inner = f'<span class="nl-name">{words}</span>{bar}<span class="nl-number">{escape(text)}</span>'
        if i < len(says) and says[i]:
            href = hrefs[i] if i < len(hrefs) else "#"
            lines.append(f'<li><a href="{escape(href)}" data-say="{escape(says[i])}">{inner}</a></li>')
        else:
            lines.append(f"<li><span>{inner}</span></li>")
    return f'<ul class="nl-bars">{"".join(lines)}</ul>'


def easel(
    picture: Image.Image | np.ndarray,
    alt: str,
    title: str,
    facts: Iterable[str],
    parts: Iterable[str],
    links: Iterable[tuple[str, str]] = (),
) -> str:
    """A large picture that grows or has grown, and beside it what is said of it.

    Args:
        picture: The picture.
        alt: What it shows, for those who cannot see it.
        title: Its name.
        facts: What is said of it in a line.
        parts: HTML below that line, such as `progress` and `curve`.
        links: Files to save, as words and addresses.
    """
    saves = " ".join(f'<a href="{escape(to)}" download>{escape(word)}</a>' for word, to in links)
    saved = f'<p class="nl-plain">Save: {saves}</p>' if saves else ""
    # the box has the proportions of the picture, so that the rounded corners are those of the picture
    height, width = picture.shape[:2] if isinstance(picture, np.ndarray) else (picture.height, picture.width)
    size = f"width:min(100%,{70 * width / height:.1f}vh)"
    image = f'<img src="{source(picture)}" alt="{escape(alt)}" style="{size}">'
    return (
        f'<div class="nl-easel">{image}<div><h3>{escape(title)}</h3>'
        f"<p>{escape(' · '.join(facts))}</p>{saved}{''.join(parts)}</div></div>"
    )


def progress(step: int, steps: int) -> str:
    """A bar of the steps that are done."""
    return (
        f'<div class="nl-progress" role="progressbar" aria-label="steps" aria-valuemin="0" aria-valuemax="{steps}" '
        f'aria-valuenow="{step}"><i style="width:{step / steps:.1%}"></i></div>'
    )


def curve(values: Sequence[float], words: str, share: float = 1.0) -> str:
    """Numbers as a line from left to right, with words below; the highest touches the top, the lowest the bottom.

    Args:
        values: The numbers. Of many, a few hundred are drawn; of less than two, none.
        words: What they are.
        share: The part of the width that the line takes, because the rest is still to come.
    """
    if len(values) < 2:
        return ""
    every = max(1, len(values) // 200)
    points = [*values[: len(values) - 1 : every], values[-1]]
    low, high = min(points), max(points)
    scale = 38 / (high - low) if high > low else 0.0
    step = 200 * share / (len(points) - 1)
    line = " ".join(f"{i * step:.1f},{39 - (y - low) * scale:.1f}" for i, y in enumerate(points))
    return (
        f'<svg class="nl-curve" viewBox="0 0 200 40" preserveAspectRatio="none" aria-hidden="true">'
        f'<polyline points="{line}"/></svg><p class="nl-note">{escape(words)}</p>'
    )
