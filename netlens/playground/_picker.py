"""Picker: how a tab gets its picture, from the pictures of the playground or from the user."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from netlens.errors import ImageError
from netlens.images import SUFFIXES
from netlens.playground import _html as html
from netlens.playground._jobs import light
from netlens.playground._studio import Studio
from netlens.playground._uploads import Uploads

_LINK = "A picture of yours stays in the memory of this playground, and a link to it works only while it is there."


def place_to_drop(label: str, name: str, **options: Any) -> gr.File:
    """Put a place on the page where pictures of the user can be dropped.

    Args:
        label: What it says.
        name: The name of the component.
        options: Those of `gr.File`.
    """
    return gr.File(
        label=label,
        file_types=[*SUFFIXES],
        type="filepath",
        height=76,
        elem_id=name,
        elem_classes="nl-drop",
        **options,
    )


def picker(studio: Studio, uploads: Uploads, tab: str, label: str = "Picture") -> gr.Dropdown:
    """Put a picker on the page: a list of pictures, and a place to drop one.

    Returns:
        The list. Its value is what `Studio.picture` reads.
    """
    choices = [(name, name) for name in studio.pictures]
    name = gr.Dropdown(
        choices,
        value=choices[0][1],
        label=label,
        info="Type to search, or drop a picture of yours below.",
        allow_custom_value=True,
        elem_id=f"{tab}-picture",
    )
    file = place_to_drop("A picture of yours", f"{tab}-file")
    note = gr.HTML(html.hint(_LINK), visible=False)

    def add_picture(path: str | None, names: str) -> Any:
        if path is None:
            return gr.skip(), gr.skip(), gr.skip()
        try:
            mine = studio.keep(path)
        except ImageError as error:  # a warning, not an error, so that the place for the next file is free again
            gr.Warning(escape(str(error)), title="This file does not work")
            return gr.skip(), None, gr.skip()
        finally:
            Path(path).unlink(missing_ok=True)  # Gradio's copy, which nobody reads again
        names = uploads.added(names, [mine])
        return gr.Dropdown(uploads.choices(names, choices), value=mine), None, names

    def noted(name: str) -> Any:
        return gr.HTML(visible=studio.uploads.get(name) is not None)

    light(file.upload, add_picture, [file, uploads.names], [name, file, uploads.names])
    light(name.change, noted, name, note)
    uploads.offer_in(name, choices, tab=tab)
    return name
