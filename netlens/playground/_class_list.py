"""The list of classes: which class a tab is about."""

from __future__ import annotations

from typing import Any

import gradio as gr

from netlens.playground._studio import Studio, class_of

PREDICTED = "predicted class"


def class_list(studio: Studio, name: str, label: str, info: str) -> gr.Dropdown:
    """Put the list on the page. At first, the predicted class is chosen.

    Args:
        studio: The network, which has the classes.
        name: The name of the component.
        label: What the list is called.
        info: What it is for.

    Returns:
        The list; `class_chosen` reads its value.
    """
    return gr.Dropdown(
        [PREDICTED, *studio.class_choices],
        value=PREDICTED,
        label=label,
        info=info,
        allow_custom_value=True,
        elem_id=name,
    )


def class_chosen(text: str) -> Any:
    """The class that a value of the list means; None for the predicted one."""
    return None if text == PREDICTED else class_of(text)
