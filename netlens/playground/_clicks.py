"""Clicks: what a person clicks on says a text, which an event of the page gets."""

from __future__ import annotations

import gradio as gr

CLICKS = """
element.addEventListener('click', (event) => {
    const one = event.target.closest('[data-say]');
    if (!one || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    trigger('click', {say: one.dataset.say});
});
"""
"""JavaScript of a `gr.HTML`: a click on what has `data-say` is an event with this text; see `text_of_click`."""


def text_of_click(event: gr.EventData) -> str:
    """What the element on which a person clicked says."""
    return str(event.say)
