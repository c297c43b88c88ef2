"""The tab Explain: why does the network see this? Several methods side by side, each as soon as it is done."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from netlens.attribution import METHODS, method_named
from netlens.errors import NetLensError
from netlens.playground import _html as html
from netlens.playground import _notebook as notebook
from netlens.playground._class_list import class_chosen, class_list
from netlens.playground._clicks import CLICKS, text_of_click
from netlens.playground._explain import (
    VIEW_NAMES,
    VIEWS,
    Answer,
    Question,
    chosen,
    code,
    drawn,
    explain,
    legend,
    remembered,
)
from netlens.playground._forms import form
from netlens.playground._jobs import EACH, Work, heavy, light, stop_button
from netlens.playground._links import Linked
from netlens.playground._look import marked
from netlens.playground._picker import picker
from netlens.playground._studio import Studio, class_choice
from netlens.playground._texts import read
from netlens.playground._uploads import Uploads
from netlens.playground._work import Show, or_hint, shown_after_error

NAME, TITLE = "explain", "Explain"
START = ("grad_cam", "integrated_gradients", "occlusion")
AUTOMATIC = "automatic"
_FIRST = "Choose a picture and press Explain. The maps appear one by one."


def build(studio: Studio, opened: gr.Textbox, uploads: Uploads) -> Linked:
    """Build the tab; see `netlens.playground._page.Tab`."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            picture = picker(studio, uploads, NAME)
            says = gr.HTML(elem_id="predictions", js_on_load=CLICKS, min_height=132)
            target = class_list(studio, "target", "Class to explain", "Type to search, or click on a prediction.")
            methods = gr.Dropdown(
                list(METHODS),
                value=list(START),
                multiselect=True,
                label="Methods",
                info="Several methods appear side by side.",
                elem_id="methods",
            )
            layer = gr.Dropdown(
                [AUTOMATIC, *studio.flat.layers],
                value=AUTOMATIC,
                label="Layer",
                info="For class activation maps and other methods that read a layer.",
                elem_id="layer",
            )
            options = gr.Textbox(visible="hidden", elem_id="options")
            with gr.Accordion("Options of these methods", open=False, elem_id="options-of-methods"):
                _forms(methods, options, opened)
        with gr.Column(scale=8, min_width=300):
            with gr.Row(elem_classes="nl-actions"):
                run = gr.Button("Explain", variant="primary", elem_id="explain-run", size="md")
                stop = stop_button(NAME)
            with gr.Row(equal_height=True):
                ways = [(VIEW_NAMES.get(one, one), one) for one in VIEWS]
                # on a narrow screen they stand below each other
                view = gr.Radio(ways, value="overlay", label="Show", scale=2, min_width=300, elem_id="view")
                opacity = gr.Slider(
                    0, 1, 1, step=0.05, label="Opacity over the picture", min_width=220, elem_id="opacity"
                )
            maps = gr.HTML(html.hint(_FIRST), elem_id="maps", min_height=120)
            with gr.Accordion("Show the code", open=False, elem_id="code-of-maps"):
                lines = gr.Code(language="python", label=notebook.FIELDS, elem_id="code")

    inputs = [picture, target, methods, layer, options]

    def look_at(name: str) -> str:
        return or_hint(lambda: predictions(studio, name))

    def compute(*values: Any) -> Work:
        *fields, view, opacity = values
        question = _question(*fields)
        answers: dict[str, Answer] = {}

        def work(show: Show[str]) -> None:
            def add(answer: Answer) -> None:
                answers[answer.text] = answer
                show(_drawn(question, answers, view, opacity))

            show(_drawn(question, answers, view, opacity))
            explain(studio, question, add)

        return shown_after_error(work, lambda: stopped(*values))

    def follow(where: str, *values: Any) -> Work | None:
        # the place of the predictions says that a picture is gone
        return compute(*values) if where == NAME and studio.has(values[0]) else None

    def redraw(*values: Any) -> Any:
        *fields, view, opacity = values
        question = _question(*fields)
        answers = [answer for text in question.methods if (answer := remembered(studio, question, text)) is not None]
        if not answers:
            return gr.skip()
        return _drawn(
            question, {answer.text: answer for answer in answers}, view, opacity, [one.text for one in answers]
        )

    def stopped(*values: Any) -> str:
        *fields, view, opacity = values
        question = _question(*fields)
        answers = {text: remembered(studio, question, text) for text in question.methods}
        return _drawn(question, {text: a or Answer(text, why="stopped") for text, a in answers.items()}, view, opacity)

    def show_code(*values: Any) -> str:
        return code(studio, _question(*values))

    every = [*inputs, view, opacity]
    light([picture.change, opened.change], look_at, picture, says)
    light(says.click, text_of_click, None, target)
    light([view.change, opacity.release], redraw, every, maps)
    light([control.change for control in inputs], show_code, inputs, lines)
    heavy(run.click, compute, every, maps, stop)
    heavy(opened.change, follow, [opened, *every], maps, stop)
    light(stop.button.click, stopped, every, maps)
    parts = {"picture": picture, "target": target, "methods": methods, "layer": layer, "options": options}
    return Linked(NAME, parts | {"view": view, "opacity": opacity}, (run.click,))


def predictions(studio: Studio, name: str) -> str:
    """A picture, and beside it the classes that the network sees in it. A click on a class chooses it."""
    top_classes = studio.lens(name).predictions(5)[0]
    rows = [(one.name, one.probability, f"{one.probability:.1%}") for one in top_classes]
    says = [class_choice(studio.flat.classes, one.index) for one in top_classes]
    photo = html.source(studio.thumbnail(name))
    bars = html.bars(rows, says, full=1.0)
    return f'<div class="nl-photo"><img src="{photo}" alt="{escape(name)}">{bars}{_middle(studio, name)}</div>'


def _middle(studio: Studio, name: str) -> str:
    """What the network sees of a picture whose edges are cropped; "" if it sees all of it."""
    picture, preprocessing = studio.picture(name), studio.flat.adapter.preprocessing
    if preprocessing.size is None or not preprocessing.crops(picture.height, picture.width):
        return ""
    height, width = preprocessing.size
    middle = html.source(marked(studio.lens(name), None))
    note = html.hint(f"The network sees its middle alone, at {width} × {height} pixels.")
    return f'<img src="{middle}" alt="what the network sees">{note}'


def _question(picture: str, target: str, methods: Sequence[str], layer: str, options: str) -> Question:
    chosen_layer = None if layer in (AUTOMATIC, "", None) else layer
    return Question(picture, class_chosen(target), chosen(methods, read(options)), chosen_layer)


def _drawn(
    question: Question, answers: dict[str, Answer], view: str, opacity: float, methods: Sequence[str] | None = None
) -> str:
    """The maps so far, in the order of the methods: of the question, or of `methods` alone."""
    methods = question.methods if methods is None else methods
    if not methods:
        return html.hint("Choose at least one method.")
    turn = next((text for text in methods if text not in answers), None)
    figures = []
    for text in methods:
        answer = answers.get(text)
        if answer is None:
            figures.append(html.waiting(text, "computing" if text == turn else "waiting"))
        elif answer.result is None:
            figures.append(html.refused(text, answer.why))
        else:
            figures.append(_figure(question.picture, answer, view, opacity))
    meaning = legend([answer.result for answer in answers.values() if answer.result is not None], view)
    return (html.hint(meaning) if meaning else "") + html.grid(figures)


def _figure(name: str, answer: Answer, view: str, opacity: float) -> str:
    result = answer.result
    assert result is not None
    try:
        picture = drawn(result, view, opacity)
    except NetLensError as error:  # values without a place in the image
        return html.refused(answer.text, " ".join(str(error).split()))
    subject = result.subject(0)
    seconds = "" if answer.seconds is None else f" · {answer.seconds:.2f} s"
    saves = [("PNG", f"result/{answer.key}.png"), ("numbers", f"result/{answer.key}.npz")]
    return html.figure(picture, answer.text, f"{subject} in {name}{seconds}", f"{answer.text} for {subject}", saves)


def _forms(methods: gr.Dropdown, options: gr.Textbox, opened: gr.Textbox) -> None:
    """The options of the chosen methods, which follow the choice."""

    def forms(names: list[str], text: str) -> None:
        for name in names or ():
            cls = method_named(name)
            with gr.Group(elem_classes="nl-form"):
                gr.HTML(f"<h3>{name.replace('_', ' ')}</h3>")
                form(cls, name, read(text), options, leave_out=["layer"])

    gr.render(inputs=[methods, options], triggers=[methods.change, opened.change], trigger_mode=EACH)(forms)
