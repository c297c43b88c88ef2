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
from netlens.playground._studio import SUFFIXES, Studio


def style_picker(studio: Studio, tab: str) -> gr.Dropdown:
    """Put a picker of styles on the page: a list of pictures, and a place to drop some."""
    names = [*PATTERNS, *studio.pictures]
    styles = gr.Dropdown(
        names,
        value=[next(iter(PATTERNS))],
        multiselect=True,
        label="Styles",
        info=f"Up to {MOST_STYLES}. Type to search, or drop pictures of yours below.",
        allow_custom_value=True,
        elem_id=f"{tab}-styles",
    )
    file = gr.File(
        label="Styles of yours",
        file_types=[*SUFFIXES],
        file_count="multiple",
        type="filepath",
        height=120,
        elem_id=f"{tab}-style-file",
        elem_classes="nl-drop",
    )

    def taken(paths: list[str] | None, chosen: list[str] | None) -> Any:
        mine: list[str] = []
        for path in map(Path, paths or ()):
            try:
                mine.append(studio.keep(path))
            except ImageError as error:  # a warning, not an error, so that the other files are taken
                gr.Warning(escape(str(error)), title="This file does not work")
            finally:
                path.unlink(missing_ok=True)  # Gradio's copy, which nobody reads again
        # patterns that nobody chose make way for pictures that somebody brought
        kept = [name for name in chosen or () if name not in PATTERNS] if mine else chosen or []
        value = [*dict.fromkeys([*kept, *mine])][-MOST_STYLES:]
        return (gr.Dropdown([*names, *mine], value=value) if mine else gr.skip()), None

    light(file.upload, taken, [file, styles], [styles, file])
    return styles
