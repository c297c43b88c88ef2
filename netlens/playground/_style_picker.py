"""Style picker: how the tab Style gets its styles, from patterns, pictures of the playground, or from the user."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from netlens.errors import ImageError
from netlens.playground._jobs import light
from netlens.playground._painting import MOST_STYLES
from netlens.playground._patterns import PATTERNS
from netlens.playground._picker import place_to_drop
from netlens.playground._studio import Studio
from netlens.playground._uploads import Uploads


def written(name: str) -> str:
    """The name of a picture as a text of the list of styles. It has no ~, which divides the styles in an address.

    >>> written("~draft 50%.png"), named(written("~draft 50%.png"))
    ('%7Edraft 50%25.png', '~draft 50%.png')
    """
    return name.replace("%", "%25").replace("~", "%7E")


def named(text: str) -> str:
    """The inverse of `written`. A text that nobody has written so, such as one typed by hand, is a name as it is."""
    return text.replace("%7E", "~").replace("%25", "%")


def style_picker(studio: Studio, uploads: Uploads, tab: str) -> gr.Dropdown:
    """Put a picker of styles on the page: a list of pictures, and a place to drop some."""
    names = [*PATTERNS, *studio.pictures]
    choices = [(name, written(name)) for name in names]
    styles = gr.Dropdown(
        choices,
        value=[next(iter(PATTERNS))],
        multiselect=True,
        label="Styles",
        info=f"Up to {MOST_STYLES}. Type to search, or drop pictures of yours below.",
        allow_custom_value=True,
        elem_id=f"{tab}-styles",
    )
    file = place_to_drop("Styles of yours", f"{tab}-style-file", file_count="multiple")

    def add_styles(paths: list[str] | None, chosen: list[str] | None, names: str) -> Any:
        mine: list[str] = []
        for path in map(Path, paths or ()):
            try:
                mine.append(studio.keep(path))
            except ImageError as error:  # a warning, not an error, so that the other files are read
                gr.Warning(escape(str(error)), title="This file does not work")
            finally:
                path.unlink(missing_ok=True)  # Gradio's copy, which nobody reads again
        # patterns that nobody chose make way for pictures that somebody brought
        others = [name for name in chosen or () if name not in PATTERNS] if mine else chosen or []
        value = [*dict.fromkeys([*others, *map(written, mine)])][-MOST_STYLES:]
        if not mine:
            return gr.skip(), None, gr.skip()
        names = uploads.added(names, mine)
        return gr.Dropdown(uploads.choices(names, choices, written), value=value), None, names

    light(file.upload, add_styles, [file, styles, uploads.names], [styles, file, uploads.names])
    uploads.offer_in(styles, choices, written)
    return styles
