"""Layers: the layers of the network as a list by block, to be searched, and the shapes of their activations."""

from __future__ import annotations

from html import escape
from itertools import groupby

from netlens.errors import NetLensError
from netlens.flat.keys import block_of
from netlens.memo import Memo
from netlens.playground import _html as html
from netlens.playground._see import See
from netlens.playground._studio import Studio

Row = tuple[str, str, str, str]
_ROWS: Memo[Studio, list[Row]] = Memo(most=1)
_SHAPES: Memo[Studio, dict[str, tuple[int, ...]]] = Memo(most=1)

SEARCH = """
element.addEventListener('input', (event) => {
    const words = event.target.value.toLowerCase().split(/\\s+/).filter(Boolean);
    element.querySelectorAll('details').forEach((block) => {
        let any = false;
        block.querySelectorAll('a').forEach((row) => {
            const hit = words.every((word) => row.textContent.toLowerCase().includes(word));
            row.hidden = !hit;
            any = any || hit;
        });
        block.hidden = !any;
        if (words.length) block.open = any;
    });
});
"""
"""JavaScript of the list: what is typed hides the layers that do not have all of its words."""

MARK = """(see) => {
    const key = (see || '').split(/[:@]/)[0];
    document.querySelectorAll('#look-layers a').forEach((row) => {
        const mine = row.dataset.say === key;
        if (mine) {
            row.setAttribute('aria-current', 'true');
            row.closest('details').open = true;
            row.closest('.nl-layers').scrollTop = row.offsetTop - 80;
        } else row.removeAttribute('aria-current');
    });
    // on a narrow screen the page lies below the list
    if (key && window.innerWidth < 700) document.querySelector('#look-page').scrollIntoView({behavior: 'smooth'});
}"""
"""JavaScript that marks the layer that the page is about, and shows the page."""


def layer_list(studio: Studio) -> str:
    """The layers by block, each with its type, the shape of its activation and its receptive field."""
    rows = rows_of(studio)
    blocks = []
    for i, (block, group) in enumerate(groupby(rows, key=lambda row: block_of(row[0]))):
        lines = "".join(
            f'<a href="{escape(html.link(tab="look", see=str(See(key))))}" data-say="{escape(key)}">'
            f"<b>{escape(key.removeprefix(block).lstrip('.') or key)}</b>"
            f"<span>{escape(shape)}</span><span>{escape(kind)}</span><span>{escape(reach(sees))}</span></a>"
            for key, kind, shape, sees in group
        )
        blocks.append(f"<details{' open' if i == 0 else ''}><summary>{escape(block)}</summary>{lines}</details>")
    return (
        '<label class="nl-search"><span>Search the layers</span><input type="search" '
        'placeholder="name, type or shape"></label>'
        f'<div class="nl-layers">{"".join(blocks)}</div>'
    )


def reach(sees: str) -> str:
    """A receptive field in words.

    >>> reach("31 /8"), reach("all"), reach("?")
    ('sees 31 px, every 8', 'sees all', '')
    """
    if "/" not in sees:
        return f"sees {sees}" if sees not in ("?", "") else ""
    size, stride = (part.strip() for part in sees.split("/"))
    return f"sees {size} px, every {stride}"


def rows_of(studio: Studio) -> list[Row]:
    """Key, type, shape and receptive field of each layer; the shape is empty where it is unknown."""
    return _ROWS.of(studio, None, lambda: _rows(studio))


def shapes_of(studio: Studio) -> dict[str, tuple[int, ...]]:
    """The shape of each activation with its batch, where it is known."""
    return _SHAPES.of(studio, None, lambda: _shapes(studio))


def _rows(studio: Studio) -> list[Row]:
    try:
        rows = studio.flat.summary().rows
    except NetLensError:  # the network takes pictures of any size, or its shapes depend on values
        return [(key, type(layer).__name__, "", "") for key, layer in studio.flat.layers.items()]
    return [(row.key, row.kind, row.shape.partition("x")[2].replace("x", " × "), row.sees) for row in rows]


def _shapes(studio: Studio) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for key, _, shape, _ in rows_of(studio):
        sides = shape.split(" × ")
        if all(side.isdecimal() for side in sides):
            shapes[key] = (1, *map(int, sides))
    for name in studio.flat.inputs:
        size = studio.flat.adapter.preprocessing.size
        if size is not None:
            shapes[name] = (1, len(studio.flat.adapter.preprocessing.mean), *size)
    return shapes
