"""The tab Look inside: the layers of the network, and the pages of layers, places and channels."""

from __future__ import annotations

from typing import Any

import gradio as gr

from netlens.errors import NetLensError
from netlens.playground import _html as html
from netlens.playground._class_list import class_chosen, class_list
from netlens.playground._clicks import CLICKS, text_of_click
from netlens.playground._jobs import Work, heavy, light, stop_button
from netlens.playground._layers import MARK, SEARCH, layer_list
from netlens.playground._links import Linked
from netlens.playground._look import marked
from netlens.playground._look_pages import STOPPED, Page
from netlens.playground._picker import picker
from netlens.playground._see import See
from netlens.playground._studio import Studio
from netlens.playground._uploads import Uploads
from netlens.playground._work import Show, or_hint, shown_after_error

NAME, TITLE = "look", "Look inside"
_FIRST = "Click on a layer to see its strongest channels for this picture."
_QUESTION = "(...values) => window.netlensOpened ? JSON.stringify(values) : ''"
_KEYS = "Picture: choose a place with the arrow keys and Enter, or click"
_PLACE = """
const say = (x, y) => trigger('click', {x: Math.min(Math.max(x, 0), 1), y: Math.min(Math.max(y, 0), 1)});
element.addEventListener('click', (event) => {
    const photo = event.target.closest('.nl-spots');
    if (!photo || event.detail === 0) return;
    const box = photo.getBoundingClientRect();
    say((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
});
element.addEventListener('keydown', (event) => {
    const photo = event.target.closest('.nl-spots');
    const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
    if (!photo || !(event.key in moves || event.key === 'Enter')) return;
    event.preventDefault();
    const spot = photo.querySelector('i');
    let x = parseFloat(spot.style.left || '50') / 100, y = parseFloat(spot.style.top || '50') / 100;
    if (event.key in moves) {
        x = Math.min(Math.max(x + moves[event.key][0] / 32, 0), 1);
        y = Math.min(Math.max(y + moves[event.key][1] / 32, 0), 1);
        spot.style.left = 100 * x + '%'; spot.style.top = 100 * y + '%'; spot.hidden = false;
    } else say(x, y);
});
"""


def build(studio: Studio, opened: gr.Textbox, uploads: Uploads) -> Linked:
    """Build the tab; see `netlens.playground._page.Tab`."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            picture = picker(studio, uploads, NAME)
            photo = gr.HTML(elem_id="look-photo", js_on_load=_PLACE, min_height=160)
            layers = gr.HTML(layer_list(studio), elem_id="look-layers", js_on_load=CLICKS + SEARCH)
            target = class_list(studio, "look-target", "Class", "What channels speak for.")
        with gr.Column(scale=8, min_width=300):
            with gr.Row(elem_classes="nl-actions"):
                stop = stop_button(NAME)
            see = gr.Textbox(visible="hidden", elem_id="see")
            question = gr.Textbox(visible="hidden")
            page = gr.HTML(html.hint(_FIRST), elem_id="look-page", js_on_load=CLICKS, min_height=200)

    def page_of(name: str, target: str, text: str) -> Page:
        return Page(studio, name, class_chosen(target), See.of(text))

    def compute(*values: Any) -> Work | None:
        if not values[2]:
            return None

        def work(show: Show[str]) -> None:
            # an error stands in place of the page: Gradio may ask twice for a linked page, and would report it twice
            show(or_hint(lambda: whole(show, *values)))

        return shown_after_error(work, lambda: stopped(*values))

    def whole(show: Show[str], *values: Any) -> str:
        """The page with all its sections; each is shown as soon as it is made."""
        if not studio.has(values[0]):
            return html.hint("There is no picture to look at.")
        one = page_of(*values)
        sections = one.sections()
        texts = {section.title: text for section in sections if (text := one.stored_text(section)) is not None}
        show(one.html(texts))
        for section in sections:
            if section.title not in texts:
                texts[section.title] = one.text_of(section)
                show(one.html(texts))
        return one.html(texts)

    def stopped(*values: Any) -> Any:
        if not values[2]:
            return gr.skip()

        def so_far() -> str:
            one = page_of(*values)
            texts = {
                section.title: text for section in one.sections() if (text := one.stored_text(section)) is not None
            }
            return one.html(texts, STOPPED)

        return or_hint(so_far)

    def spots(name: str, text: str) -> str:
        return or_hint(lambda: spots_of(name, text))

    def spots_of(name: str, text: str) -> str:
        picture = marked(studio.lens(name), None, 480)  # what the network sees, which may be a crop of the photo
        try:
            at = See.of(text).at if "@" in (text or "") else None
        except NetLensError:  # the page shows the error
            at = None
        place = "hidden" if at is None else f'style="left:{100 * at[0]:.2f}%;top:{100 * at[1]:.2f}%"'
        return (
            f'<div class="nl-spots" tabindex="0" role="button" aria-label="{_KEYS}">'
            f'<img src="{html.source(picture)}" alt=""><i {place}></i></div>'
            + html.hint("Click on the picture for what the layer sees there.")
        )

    def placed(text: str, event: gr.EventData) -> str:
        if not text:
            gr.Info("Choose a layer first; then click on the picture.")
            return ""
        return str(See(See.of(text).layer, at=(float(event.x), float(event.y))))

    values = [picture, target, see]
    # a link sets several components one after the other, but the question changes once, so that the page is made once
    changes = [one.change for one in values]
    gr.on([*changes, opened.change], None, values, question, js=_QUESTION, queue=False, show_progress="hidden")
    light(question.change, spots, [picture, see], photo)
    light(layers.click, text_of_click, None, see)
    light(page.click, text_of_click, None, see)
    light(photo.click, placed, see, see)
    see.change(None, see, None, js=MARK, queue=False, show_progress="hidden")
    heavy(question.change, compute, values, page, stop)
    light(stop.button.click, stopped, values, page)
    return Linked(NAME, {"picture": picture, "target": target, "see": see}, moves=["see"])
