"""Brush: the part of the content that each style gets, painted over the content with a color for each style."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from html import escape
from secrets import token_hex

import numpy as np
from PIL import Image

from netlens.errors import ImageError
from netlens.playground import _html as html

COLORS = ("#e11d48", "#2563eb", "#16a34a", "#f59e0b", "#9333ea", "#0891b2")
"""The color of the brush of each style."""
ERASER = "eraser"
SIDE = 320  # pixels of the longer side of what is painted
_LONGEST = 2_000_000  # letters of the text of what is painted
_BEGIN = "data:image/png;base64,"
_KEYS = "Content: move the brush with the arrow keys, and paint with the space key or by dragging"

PAINT = (
    """
const colors = """
    + repr(list(COLORS))
    + """;
const canvas = () => element.querySelector('canvas');
const size = () => parseFloat(element.querySelector('input[type=range]').value) / 100 * canvas().width;
let last = null, dirty = false;
const tell = (text) => {  // into a hidden text of the page
    const field = document.querySelector('#style-masks textarea, #style-masks input');
    field.value = text;
    field.dispatchEvent(new Event('input', {bubbles: true}));
};
const place = (event) => {
    const box = canvas().getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * canvas().width,
            (event.clientY - box.top) / box.height * canvas().height];
};
const stroke = (from, to) => {
    const pen = canvas().getContext('2d');
    const brush = document.querySelector('#style-brush input:checked')?.value ?? '1';
    pen.globalCompositeOperation = brush === 'eraser' ? 'destination-out' : 'source-over';
    pen.strokeStyle = colors[(parseInt(brush) || 1) - 1];
    pen.lineWidth = size(); pen.lineCap = 'round';
    pen.beginPath(); pen.moveTo(...from); pen.lineTo(to[0] + 0.01, to[1]); pen.stroke();
    dirty = true;
};
const done = () => {
    if (dirty) tell(canvas().toDataURL('image/png'));
    last = null; dirty = false;
};
element.addEventListener('pointerdown', (event) => {
    if (event.target !== canvas()) return;
    event.preventDefault();
    canvas().setPointerCapture(event.pointerId);
    canvas().parentElement.focus({preventScroll: true});
    last = place(event); stroke(last, last);
});
element.addEventListener('pointermove', (event) => {
    if (last === null) return;
    const now = place(event); stroke(last, now); last = now;
});
element.addEventListener('pointerup', done);
element.addEventListener('pointercancel', done);
element.addEventListener('keydown', (event) => {
    const board = event.target.closest('.nl-brush');
    const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
    if (!board || !(event.key in moves || event.key === ' ')) return;
    event.preventDefault();
    const spot = board.querySelector('i');
    let x = parseFloat(spot.style.left || '50'), y = parseFloat(spot.style.top || '50');
    if (event.key in moves) {
        x = Math.min(Math.max(x + 4 * moves[event.key][0], 0), 100);
        y = Math.min(Math.max(y + 4 * moves[event.key][1], 0), 100);
        spot.style.left = x + '%'; spot.style.top = y + '%'; spot.hidden = false;
    } else {
        const at = [x / 100 * canvas().width, y / 100 * canvas().height];
        stroke(at, at); done();
    }
});
element.addEventListener('click', (event) => {
    if (!event.target.closest('button')) return;
    canvas().getContext('2d').clearRect(0, 0, canvas().width, canvas().height);
    tell('');
});
"""
)
"""JavaScript of the board: it paints, and writes what is painted into the hidden text `style-masks`."""


def board(picture: Image.Image, note: str = "") -> str:
    """The content, to be painted over; nothing is painted yet.

    Args:
        picture: The content.
        note: Why nothing is painted, if something was.
    """
    factor = SIDE / max(picture.size)  # small pictures are enlarged, so that a stroke has a smooth edge
    small = picture.resize((max(1, round(picture.width * factor)), max(1, round(picture.height * factor))))
    return (
        f'<div class="nl-brush" data-turn="{token_hex(4)}" '  # another text each time, so that the page shows it anew
        f'tabindex="0" role="application" aria-label="{escape(_KEYS)}">'
        f'<img src="{html.source(small)}" alt=""><canvas width="{small.width}" height="{small.height}"></canvas>'
        '<i hidden></i></div><div class="nl-tools"><label>Size of the brush '
        '<input type="range" min="3" max="40" value="14"></label><button type="button">Clear</button></div>'
        f"{html.hint(note) if note else ''}"
    )


def masks_of(text: str | None, n: int) -> tuple[tuple[Image.Image | None, None], ...]:
    """The masks of n styles, from what was painted: white where the color of the style is.

    A style whose color is nowhere has no mask. Without any color, there are no masks.

    Raises:
        ImageError: The text is not what the page writes.
    """
    if not text:
        return ()
    pixels = np.asarray(_painted(text), dtype=int)
    colors = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in COLORS])
    nearest = np.square(pixels[..., None, :3] - colors).sum(-1).argmin(-1)
    masks = [(pixels[..., 3] >= 128) & (nearest == k) for k in range(n)]
    if not any(mask.any() for mask in masks):
        return ()
    return tuple((Image.fromarray(mask.astype(np.uint8) * 255) if mask.any() else None, None) for mask in masks)


def outdated(text: str | None, before: Sequence[str], now: Sequence[str]) -> bool:
    """Whether something was painted for a style that has another color now, or is gone.

    Args:
        text: What was painted.
        before: The styles for which it was painted.
        now: The styles now.
    """
    try:
        masks = masks_of(text, len(before))
    except ImageError:  # nobody can tell for which styles it is
        return True
    return any(pair != (None, None) and list(before[k : k + 1]) != list(now[k : k + 1]) for k, pair in enumerate(masks))


def _painted(text: str) -> Image.Image:
    wrong = "what was painted over the content cannot be read; clear it, and paint again."
    if len(text) > _LONGEST or not text.startswith(_BEGIN):
        raise ImageError(wrong)
    try:
        with Image.open(io.BytesIO(base64.b64decode(text[len(_BEGIN) :], validate=True)), formats=["PNG"]) as picture:
            if max(picture.size) > 2 * SIDE:
                raise ImageError(wrong)
            return picture.convert("RGBA")
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(wrong) from error
