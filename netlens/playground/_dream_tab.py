"""The tab Dream and draw: channels, classes, dreams and inversions, with the picture growing as one watches."""

from __future__ import annotations

from typing import Any

import gradio as gr

from netlens.errors import NetLensError
from netlens.playground import _html as html
from netlens.playground import _notebook as notebook
from netlens.playground._drawing import Drawing
from netlens.playground._dream import (
    channels_of,
    code,
    drawing_for,
    drawing_on_sheet,
    drawing_to_continue,
    first_layer,
    forms_of,
    found_nothing,
    grow,
)
from netlens.playground._explain import in_a_line
from netlens.playground._forms import form
from netlens.playground._jobs import EACH, Work, heavy, light, stop_button
from netlens.playground._links import Linked
from netlens.playground._picker import picker
from netlens.playground._studio import Studio
from netlens.playground._texts import read
from netlens.playground._uploads import Uploads
from netlens.playground._wish import CHANNEL, CLASS, DREAM, INVERSION, SIGNS, WHATS, Wish
from netlens.playground._work import Show, or_hint, shown_after_error

NAME, TITLE = "dream", "Dream and draw"
_ON_SHEET = "This picture, in a notebook"
_FIRST = "Choose what to draw and press Draw. The picture grows as you watch."
_ABOUT = {
    CHANNEL: "A picture from noise that excites a channel of a layer, or inhibits it.",
    CLASS: "A picture from noise that the network sees as a class.",
    DREAM: "Your picture, with more of the patterns that a layer sees in it.",
    INVERSION: "A picture from noise that a layer sees as it sees yours: what the layer knows of it.",
}
_Shown = tuple[Any, Any, Any, Any]  # the sheet, the lines of code, the key of the drawing on the sheet, and Continue


def build(studio: Studio, opened: gr.Textbox, uploads: Uploads) -> Linked:
    """Build the tab; see `netlens.playground._page.Tab`."""
    layer_first = first_layer(studio)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            what = gr.Radio(list(WHATS), value=CHANNEL, label="Draw", info=_ABOUT[CHANNEL], elem_id="dream-what")
            layer = gr.Dropdown(
                list(studio.flat.layers),
                value=layer_first,
                label="Layer",
                info="Type to search.",
                allow_custom_value=True,
                elem_id="dream-layer",
            )
            channel = gr.Number(
                0, label="Channel", info=_counted(studio, layer_first), precision=0, minimum=0, elem_id="dream-channel"
            )
            sign = gr.Radio(list(SIGNS), value=SIGNS[0], label="The picture", elem_id="dream-sign")
            target = gr.Dropdown(
                studio.class_choices,
                value=next(iter(studio.class_choices), "0"),
                label="Class",
                info="Type to search." if studio.class_choices else "The number of a class.",
                allow_custom_value=True,
                visible="hidden",
                elem_id="dream-class",
            )
            with gr.Column(visible=False, elem_id="dream-source") as source:
                picture = picker(studio, uploads, NAME)
                photo = gr.HTML(elem_id="dream-photo", min_height=60)
            options = gr.Textbox(visible="hidden", elem_id="dream-options")
            with gr.Accordion("Options", open=False, elem_id="dream-form"):
                _form(studio, what, options, opened)
        with gr.Column(scale=8, min_width=300):
            with gr.Row(elem_classes="nl-actions"):
                run = gr.Button("Draw", variant="primary", elem_id="dream-run", size="md")
                more = gr.Button("Continue", elem_id="dream-more", size="md", interactive=False)
                stop = stop_button(NAME)
            sheet = gr.HTML(html.hint(_FIRST), elem_id="dream-sheet", min_height=200)
            with gr.Accordion("Show the code", open=False, elem_id="dream-code-of-sheet"):
                lines = gr.Code(language="python", label=notebook.FIELDS, elem_id="dream-code")
    running = gr.Textbox(visible="hidden", elem_id="dream-key")  # the key of the drawing on the sheet

    wished = [what, layer, channel, sign, target, picture, options]

    def wish_of(*values: Any) -> Wish:
        what, layer, channel, sign, target, picture, options = values
        # a field that was emptied has no number; the first channel takes its place
        return Wish(what, layer or "", int(channel or 0), sign, target or "", picture or "", options or "")

    def code_field(wish: Wish, drawing: Drawing | None) -> Any:
        """The field with the code: of the drawing on the sheet, or of what the fields describe if there is none."""
        label = notebook.FIELDS if drawing is None else _ON_SHEET
        try:
            text = code(studio, wish, drawing)
        except NetLensError as error:  # the button Draw shows the error
            text = f"# {in_a_line(error)}"
        return gr.Code(text, label=label)

    def ended(key: str) -> _Shown:
        """A drawing whose run has ended, whatever the fields say now."""
        drawing = studio.drawings.get(key) if key else None
        if drawing is None:
            return html.hint("stopped before the first step"), gr.skip(), gr.skip(), gr.skip()
        return _sheet(drawing, ended=True), code_field(drawing.wish, drawing), key, gr.Button(interactive=True)

    def work_of(wish: Wish, after: Drawing | None = None) -> Work:
        key = ""

        def work(show: Show[_Shown]) -> None:
            def look(drawing: Drawing) -> None:
                nonlocal key
                previous, key = key, drawing.key
                unchanged = gr.skip(), gr.skip()
                show((_sheet(drawing), gr.skip(), *(unchanged if previous else (key, gr.Button(interactive=False)))))

            grow(studio, wish, look, after)
            show(ended(key))

        return shown_after_error(work, lambda: ended(key) if key else (gr.skip(),) * 4)

    def draw(*values: Any) -> Work:
        return work_of(wish_of(*values))

    def go_on(key: str, *values: Any) -> Work:
        wish = wish_of(*values)
        return work_of(wish, drawing_to_continue(studio, wish, key))

    def follow(where: str, *values: Any) -> Work | None:
        if where != NAME:
            return None
        wish = wish_of(*values)
        if wish.what in (DREAM, INVERSION) and not studio.has(wish.picture):
            return None  # the place of the picture says so
        drawing = drawing_for(studio, wish)
        return work_of(wish) if drawing is None else lambda show: show(ended(drawing.key))

    def fields(what: str) -> list[Any]:
        def visibility(*whats: str) -> bool | str:
            return True if what in whats else "hidden"

        return [
            gr.update(info=_ABOUT.get(what, "")),
            gr.update(visible=visibility(CHANNEL, DREAM, INVERSION)),
            gr.update(visible=visibility(CHANNEL)),
            gr.update(visible=visibility(CHANNEL)),
            gr.update(visible=visibility(CLASS)),
            gr.update(visible=what in (DREAM, INVERSION)),
        ]

    def look_at(name: str) -> str:
        def photo_html() -> str:
            return f'<div class="nl-source"><img src="{html.source(studio.thumbnail(name))}" alt="the picture"></div>'

        return or_hint(photo_html)

    def count(layer: str) -> Any:
        return gr.update(info=_counted(studio, layer))

    def follow_fields(where: str, key: str, *values: Any) -> Any:
        if values[0] not in WHATS:  # a link may say anything; its drawing is refused
            return gr.skip(), gr.skip()
        wish = wish_of(*values)
        if not key:  # nothing is on the sheet; a link is about to put a drawing there, if there is one
            return code_field(wish, drawing_for(studio, wish) if where == NAME else None), gr.skip()
        drawing = drawing_on_sheet(studio, wish, key)
        return code_field(wish, drawing), gr.Button(interactive=drawing is not None and drawing.state is not None)

    light([what.change, opened.change], fields, what, [what, layer, channel, sign, target, source])
    light([picture.change, opened.change], look_at, picture, photo)
    light(layer.change, count, layer, channel)
    light([*(one.change for one in wished), opened.change], follow_fields, [opened, running, *wished], [lines, more])
    outputs = [sheet, lines, running, more]
    heavy(run.click, draw, wished, outputs, stop)
    heavy(more.click, go_on, [running, *wished], outputs, stop)
    heavy(opened.change, follow, [opened, *wished], outputs, stop)
    light(stop.button.click, ended, running, outputs)
    parts = {"what": what, "layer": layer, "channel": channel, "sign": sign, "class": target}
    return Linked(NAME, parts | {"picture": picture, "options": options}, (run.click,), ["what"])


def _sheet(drawing: Drawing, ended: bool = False) -> str:
    """The picture as far as it has grown, and the curve of its objective."""
    steps = f"step {drawing.step} of {drawing.steps}" if not drawing.finished else f"{drawing.step} steps"
    if ended and not drawing.finished:
        steps = f"stopped at {steps}"
    values = drawing.values.tolist()
    facts = [steps, f"objective {_number(values[-1])}"] if values else [steps]
    links = [(kind.upper(), f"drawing/{drawing.key}.{kind}") for kind in ("png", "gif", "mp4")]
    title = drawing.wish.title
    parts = [] if ended else [html.progress(drawing.step, drawing.steps)]
    if values:
        words = f"the objective, from {_number(values[0])} to {_number(values[-1])}"
        parts.append(html.curve(values, words, drawing.step / drawing.steps))
    if ended and found_nothing(drawing):
        parts.append(html.hint("The objective stayed 0, so nothing could be drawn: choose another layer or channel."))
    saved = links if ended and drawing.step else []
    return html.easel(drawing.pixels, f"drawing: {title}", title, facts, parts, saved)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _counted(studio: Studio, layer: str) -> str:
    try:
        count = channels_of(studio, layer)
    except NetLensError:  # there is no such layer; Draw says so
        count = None
    return "The number of a channel, from 0." if count is None else f"The number of a channel, 0 to {count - 1}."


def _form(studio: Studio, what: gr.Radio, options: gr.Textbox, opened: gr.Textbox) -> None:
    """The options of what is drawn, which follow the choice."""

    def fields(what: str, text: str) -> None:
        if what in WHATS:  # a link may say anything
            name = Wish(what).form
            form(forms_of(studio)[name], name, read(text), options)

    gr.render(inputs=[what, options], triggers=[what.change, opened.change], trigger_mode=EACH)(fields)
