"""Page: the tabs of the playground, and the address that leads to what they show."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any, NamedTuple

import gradio as gr

from netlens.errors import NetLensError
from netlens.playground import _dream_tab, _explain_tab, _look_tab, _style_tab
from netlens.playground._jobs import light
from netlens.playground._links import OPENED, Linked
from netlens.playground._studio import Studio
from netlens.playground._uploads import Uploads
from netlens.zoo import RANDOM


class Tab(NamedTuple):
    """A tab of the page.

    Args:
        name: Its name in the address of the page, `?tab=name`.
        title: Its title.
        build: Puts the components on the page, and says which of them are part of the address. It gets the studio, and
            a hidden text that becomes the name of the tab after a link has set its components: the tab may then
            compute what the link is about. It also gets the pictures that a person has dropped on the page.
    """

    name: str
    title: str
    build: Callable[[Studio, gr.Textbox, Uploads], Linked]


TABS = (
    Tab(_explain_tab.NAME, _explain_tab.TITLE, _explain_tab.build),
    Tab(_look_tab.NAME, _look_tab.TITLE, _look_tab.build),
    Tab(_dream_tab.NAME, _dream_tab.TITLE, _dream_tab.build),
    Tab(_style_tab.NAME, _style_tab.TITLE, _style_tab.build),
)
"""The tabs in their order. A new tab is one more file with a `build`, and one more line here."""


def page(studio: Studio) -> gr.Blocks:
    """The page with all its tabs."""
    # files that Gradio keeps go after an hour
    with gr.Blocks(title="netlens playground", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        gr.HTML(_head(studio), elem_id="head")
        opened = gr.Textbox(visible="hidden")
        uploads = Uploads(studio)
        linked = []
        with gr.Tabs(elem_id="tabs") as tabs:
            for tab in TABS:
                with gr.Tab(tab.title, id=tab.name, elem_id=f"tab-{tab.name}") as item:
                    links = tab.build(studio, opened, uploads)
                links.follow(item.select, opened)
                linked.append(links)
        uploads.follow(opened)
        components = [component for links in linked for component in links.components.values()]

        def open_link(request: gr.Request) -> list[Any]:
            parameters = {str(name): str(value) for name, value in dict(request.query_params).items()}
            wrong = ""
            try:
                values = [value for links in linked for value in links.values(parameters)]
            except NetLensError as error:  # shown as a warning, not an error, so that the page opens
                wrong, parameters, values = str(error), {}, [gr.skip() for _ in components]
            name = parameters.get("tab")
            is_tab = name in {tab.name for tab in TABS}
            return [gr.Tabs(selected=name) if is_tab else gr.skip(), *values, name if is_tab else "start", wrong]

        def tell(wrong: str) -> None:
            if wrong:
                gr.Warning(escape(wrong), title="This link does not work")

        # two steps, so that the components have their values before the tab computes with them
        place, trouble = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")
        shown = [tabs, *components, place, trouble]
        loaded = blocks.load(open_link, None, shown, queue=False, show_progress="hidden")
        light(trouble.change, tell, trouble, None)  # Gradio shows warnings of events in a queue only
        loaded.then(None, place, opened, js=OPENED, queue=False, show_progress="hidden")
    return blocks


def _head(studio: Studio) -> str:
    flat = studio.flat
    count = "" if flat.classes is None else f", {len(flat.classes)} classes"
    description = f"{flat.name}: {len(flat.layers)} layers{count}"
    if studio.weights == RANDOM:
        description += ", random weights"
    return f'<header class="nl-head"><h1>netlens <span>playground</span></h1><p>{escape(description)}</p></header>'
