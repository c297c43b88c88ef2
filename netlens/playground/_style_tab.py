"""The tab Style: a picture in the style of others. It grows on the page, and all runs are compared in a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from secrets import token_hex
from typing import Any

import gradio as gr

from netlens.errors import NetLensError
from netlens.options import options_of
from netlens.playground import _html as html
from netlens.playground import _painting_html as drawn
from netlens.playground._brush import COLORS, ERASER, PAINT, board, masks_of, outdated
from netlens.playground._clicks import CLICKS, text_of_click
from netlens.playground._forms import form
from netlens.playground._jobs import EACH, Work, heavy, light, stop_button
from netlens.playground._links import Linked
from netlens.playground._painting import MOST_OF_GRID, Painting, Run, grid, paint, settings_of, texts_of
from netlens.playground._painting_code import command, python
from netlens.playground._painting_files import Pack, paintings_of, sheet_of
from netlens.playground._picker import picker
from netlens.playground._store import digest
from netlens.playground._studio import Studio
from netlens.playground._style_picker import named, style_picker
from netlens.playground._texts import read, written
from netlens.playground._uploads import Uploads
from netlens.playground._work import Show, line_of, or_hint, shown_after_error
from netlens.visualization.style import SETTINGS, STARTS, StyleTransfer

NAME, TITLE = "style", "Style"
FIRST = ("steps", "size", "content_weight", "style_weight", "statistic")
GROUPS = {
    "What is compared": ("style_weights", "content_layers", "style_layers", "loss", "tv_weight"),
    "How it is painted": ("optimizer", "lr", "target", "param", "transforms", "seed"),
    "Sizes and colors": ("style_scale", "scales", "tile", "color"),
}
"""The options that have a field in an accordion. All others but `start`, which has one of its own, come first."""
BEGIN = written({"style.steps": "100", "style.size": "256"})
"""Settings at the start: a small picture, so that it soon shows what a style is."""
MOST_RUNS = 2 * MOST_OF_GRID  # a whole grid, and what was there before
_FIRST = "Choose a content and a style, and press Paint. The picture grows while you watch."
MOVED = "The styles have changed, so what was painted for others is cleared."
_HIDDEN = "() => document.querySelector('#style-live').classList.%s('nl-halted')"
_LISTED = "(names) => JSON.stringify(names || [])"
# the browser keeps the name of its tab until the tab is closed
_NAME = """(() => {
    const kept = sessionStorage.getItem('netlensStylePage');
    const name = kept || [...crypto.getRandomValues(new Uint8Array(12))].map((one) => one.toString(16)).join('.');
    sessionStorage.setItem('netlensStylePage', name);
    return name;
})()"""
_HERE = f"(page, ...values) => [{_NAME}, ...values]"
_SEEN = f"""(page, key, live) => [{_NAME}, key,
    live && !document.querySelector('#style-live').classList.contains('nl-halted') ? 'yes' : '']"""
_GRID = "Choose an option and give several values, divided by commas. All combinations are painted one after the other."


def build(studio: Studio, opened: gr.Textbox, uploads: Uploads) -> Linked:
    """Build the tab; see `netlens.playground._page.Tab`."""
    starts = [(name, name) for name in (*STARTS, *studio.pictures)]
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            picture = picker(studio, uploads, NAME, label="Content")
            styles = style_picker(studio, uploads, NAME)
            names = gr.Textbox(visible="hidden", elem_id="style-names", interactive=True)
            shown = gr.HTML(elem_id="style-chosen", min_height=76)
            start = gr.Dropdown(
                starts,
                value=STARTS[0],
                label="Start",
                info="The first picture: the content, the first style, noise, or another picture.",
                allow_custom_value=True,
                elem_id="style-start",
            )
            uploads.offer_in(start, starts)
            with gr.Accordion("Masks: where each style goes", open=False, elem_id="style-masking"):
                brush = gr.Radio([("Style 1", "1")], value="1", label="Brush", elem_id="style-brush", interactive=True)
                canvas = gr.HTML(elem_id="style-board", js_on_load=PAINT, min_height=160)
                gr.HTML(html.hint("Paint where a style goes. A style without paint goes everywhere."))
            masks = gr.Textbox(visible="hidden", elem_id="style-masks", interactive=True)
            painted_over = gr.Textbox(visible="hidden")  # the content that lies on the board
            painted_for = gr.Textbox(visible="hidden")  # the styles whose colors are on the board
            options = gr.Textbox(BEGIN, visible="hidden", elem_id="style-options", interactive=True)
            filled = gr.Textbox(visible="hidden")  # changes when the fields are to be made anew
            _form(options, [opened.change, filled.change])
        with gr.Column(scale=8, min_width=300):
            with gr.Row(elem_classes="nl-actions"):
                run = gr.Button("Paint", variant="primary", elem_id="style-run", size="md")
                stop = stop_button(NAME)
            live = gr.HTML(elem_id="style-live", elem_classes="nl-maybe")
            one = gr.HTML(html.hint(_FIRST), elem_id="style-one", elem_classes="nl-maybe")
            with gr.Row(elem_classes="nl-actions", visible=False) as uses:
                as_start = gr.Button("Use as the next start", size="sm", elem_id="style-as-start")
                as_content = gr.Button("Use as the content", size="sm", elem_id="style-as-content")
                again = gr.Button("Take its settings", size="sm", elem_id="style-again")
            table = gr.HTML(elem_id="style-runs", elem_classes="nl-maybe", js_on_load=CLICKS)
            with gr.Row(elem_classes="nl-actions", visible=False) as comparing:
                make_sheet = gr.Button("Contact sheet of all runs", elem_id="style-sheet-make", size="sm")
            sheet = gr.HTML(elem_id="style-sheet", elem_classes="nl-maybe")
            with gr.Accordion("Grid: many settings in one batch", open=False, elem_id="style-grid"):
                axes, apart = _axes()
                with gr.Row(elem_classes="nl-actions"):
                    run_grid = gr.Button("Paint all", variant="primary", elem_id="style-grid-run", size="md")
                plan = gr.HTML(html.hint(_GRID), elem_id="style-plan")
                file = gr.File(
                    label="Paint a batch of a file (.zip, .json, .toml)",
                    file_types=[".zip", ".json", ".toml"],
                    type="filepath",
                    height=76,
                    elem_id="style-batch-file",
                    elem_classes="nl-drop",
                )
                batch = gr.Textbox(visible="hidden", elem_id="style-batch")
            with gr.Accordion("Show the code", open=False, elem_id="style-code"):
                lines = gr.Code(language="python", label="The same in a notebook", elem_id="style-python")
                words = gr.Code(language="shell", label="The same on the command line", elem_id="style-command")
    page = gr.Textbox(visible="hidden")  # its value is the name of this tab of the browser; see `_NAME`
    chosen = gr.Textbox(visible="hidden", elem_id="style-key")
    planned_as = gr.Textbox(visible="hidden")  # the key of the batch that this tab plans
    turn = gr.Textbox(visible="hidden")  # changes when the table is to be drawn anew

    def runs_of(page: str) -> list[Run]:
        items = (studio.painted.get(key) for key in studio.listed.get(digest(page)) or ())
        return [one for one in items if isinstance(one, Run)]

    def enlist(run: Run, page: str) -> bool:
        """Put a run on the list of its page; whether it is new there."""
        listed = studio.listed.get(digest(page)) or ()
        if run.key not in listed and page:
            studio.listed.put(digest(page), (*listed, run.key)[-MOST_RUNS:])
        return run.key not in listed

    def painted(paintings: Sequence[Painting], page: str) -> Work:
        """Paint one after the other; a painting that cannot be made does not end the others."""

        def work(show: Show[Any]) -> None:
            wrong: list[str] = []
            for i, painting in enumerate(paintings):
                of = (i, len(paintings))
                show((drawn.beginning(painting, of), gr.skip(), token_hex(4)))

                def look(run: Run, of: tuple[int, int] = of) -> None:
                    fresh = enlist(run, page) or run.done
                    live = "" if run.done and of[0] + 1 == of[1] else drawn.growing(run, of)
                    show((live, run.key if run.done else gr.skip(), token_hex(4) if fresh else gr.skip()))

                try:
                    paint(studio, painting, look, max((one.number for one in runs_of(page)), default=0) + 1)
                except Exception as error:
                    line = line_of(error)
                    if line is None or len(paintings) == 1:
                        raise
                    wrong.append(f"{painting.label}: {line}")
            if wrong:
                raise NetLensError(f"{len(wrong)} of {len(paintings)} pictures failed; {wrong[0]}")

        # nothing grows any more, and the table shows how far a run has got
        return shown_after_error(work, lambda: ("", gr.skip(), token_hex(4)))

    def compute(page: str, *values: Any) -> Work:
        painting = _painting(*values)
        painting.transfer()
        return painted([painting], page)

    def compute_grid(page: str, *values: Any) -> Work:
        return painted(_grid(values), page)

    def compute_batch(page: str, key: str) -> Work | None:
        if not key:
            return None
        pack = studio.painted.get(key)
        if not isinstance(pack, Pack):
            raise NetLensError("the batch is no longer here; drop its file again.")
        return painted(pack.paintings, page)

    def planned(key: str, *values: Any) -> tuple[str, str]:
        key = key or token_hex(8)
        try:
            paintings = _grid(values)
            if len(paintings) < 2:
                return html.hint(_GRID), key
            # all plans of a tab share one key: otherwise each change of a field would drive a run out of the store
            studio.painted.put(key, Pack(studio, tuple(paintings)))
            return _plan(key, paintings), key
        except NetLensError as error:
            return html.hint(" ".join(str(error).split())), key

    def open_batch(path: str | None) -> Any:
        if path is None:
            return gr.skip(), gr.skip()
        try:
            paintings = paintings_of(studio, Path(path))
        except NetLensError as error:  # a warning, not an error, so that the place for the next file is free again
            gr.Warning(escape(" ".join(str(error).split())), title="This file does not work")
            return None, gr.skip()
        finally:
            Path(path).unlink(missing_ok=True)  # Gradio's copy, which nobody reads again
        return None, _keep(studio, Pack(studio, tuple(paintings)))

    def stopped(page: str) -> Any:
        runs = runs_of(page)
        last = runs[-1].key if runs and not runs[-1].done else gr.skip()
        return "", last, token_hex(4)

    def refresh(page: str, key: str, live: str) -> Any:
        runs = runs_of(page)
        paints = runs[-1].key if runs and live and not runs[-1].done else ""
        mine = next((one for one in runs if one.key == key), None)
        listed, several = drawn.table(runs, key, paints), gr.Row(visible=bool(runs))
        if mine is None:
            return listed, "" if runs or live else html.hint(_FIRST), gr.Row(visible=False), "", "", several
        pack = f"{key}-batch"
        studio.painted.put(pack, Pack(studio, (mine.painting,)))
        links = [("PNG", f"style/{key}.png"), ("batch", f"style/{pack}.zip")]
        full = drawn.detail(mine, links, paints)
        code = python(studio, mine.painting), command(studio, mine.painting)
        return listed, full, gr.Row(visible=True), *code, several

    def result(key: str) -> tuple[str, Run]:
        mine = studio.painted.get(key) if key else None
        if not isinstance(mine, Run):
            raise NetLensError("there is no such run, or no longer; choose another one, or paint it again.")
        return studio.keep_picture(mine.picture, f"run {mine.number}"), mine

    def settings_again(key: str) -> Any:
        _, mine = result(key)
        settings = {name: value for name, value in mine.painting.settings.items() if name != "start"}
        texts = {f"{NAME}.{name}": text for name, text in texts_of(settings).items()}
        return written(texts), mine.painting.settings.get("start", STARTS[0]), token_hex(4)

    def contact(page: str) -> str:
        contact_sheet = sheet_of(studio, runs_of(page))
        links = [("JPEG", f"style/{_keep(studio, contact_sheet)}.jpg")]
        return html.figure(contact_sheet.picture, "Contact sheet", "all runs", "all runs beside their pictures", links)

    # Gradio reports a change of a list after each event that reads it, so events read a text that changes with the list
    styles.change(None, styles, names, js=_LISTED, queue=False, show_progress="hidden")
    opened.change(None, styles, names, js=_LISTED, queue=False, show_progress="hidden")

    def board_of(name: str, note: str = "") -> str:
        # the place of the chosen pictures says that one is gone
        return board(studio.picture(name), note) if studio.has(name) else ""

    def clean_board(name: str, before: str) -> Any:
        # Gradio may report a change of a list that has not changed; what was painted must stay then
        return (gr.skip(),) * 3 if name == before else (board_of(name), "", name)

    def follow_styles(name: str, names: str, before: str, text: str) -> Any:
        if not outdated(text, names_in(before), names_in(names)):
            return gr.skip(), gr.skip(), names
        return board_of(name, MOVED), "", names

    inputs = [picture, names, options, start, masks, painted_over, painted_for]
    gridded = [*inputs, *axes, apart]
    light([picture.change, names.change], _shown(studio), [picture, names], shown)
    light([picture.change, opened.change], clean_board, [picture, painted_over], [canvas, masks, painted_over])
    light(names.change, _brushes, names, brush)
    light(names.change, follow_styles, [picture, names, painted_for, masks], [canvas, masks, painted_for])
    outputs = [live, chosen, turn]
    heavy(run.click, compute, [page, *inputs], outputs, stop, js=_HERE)
    heavy(run_grid.click, compute_grid, [page, *gridded], outputs, stop, js=_HERE)
    heavy(batch.change, compute_batch, [page, batch], outputs, stop, js=_HERE)
    light(stop.button.click, stopped, page, [live, chosen, turn], js=_HERE)
    # a picture that was on its way when Stop was pressed may still arrive, so the place is hidden
    stop.button.click(None, None, None, js=_HIDDEN % "add", queue=False)
    gr.on([run.click, run_grid.click, batch.change], None, None, None, js=_HIDDEN % "remove", queue=False)
    listed = [table, one, uses, lines, words, comparing]
    light([turn.change, chosen.change, opened.change], refresh, [page, chosen, live], listed, js=_SEEN)
    light(table.click, text_of_click, None, chosen)
    light(as_start.click, lambda key: result(key)[0], chosen, start)
    light(as_content.click, lambda key: result(key)[0], chosen, picture)
    light(again.click, settings_again, chosen, [options, start, filled])
    # Gradio may lose a change that comes while another one is answered, so leaving a field plans once more
    left = [control.blur for control in axes if isinstance(control, gr.Textbox)]
    light([*(control.change for control in gridded), *left], planned, [planned_as, *gridded], [plan, planned_as])
    light(file.upload, open_batch, file, [file, batch])
    light(make_sheet.click, contact, page, sheet, js=_HERE)
    parts = {"picture": picture, "styles": styles, "start": start, "options": options}
    return Linked(NAME, parts, (run.click,))


def _painting(
    picture: str, names: str, options: str, start: str, masks: str, painted_over: str, painted_for: str
) -> Painting:
    styles = names_in(names)
    if not styles:
        raise NetLensError("there is no style yet; choose one, or drop one of yours.")
    moved = painted_for != names and outdated(masks, names_in(painted_for), styles)
    if moved or painted_over != picture:  # the page is just about to clear them
        masks = ""
    texts = {key.partition(".")[2]: text for key, text in read(options).items() if key.partition(".")[0] == NAME}
    settings = settings_of(texts)
    if start and start != STARTS[0]:
        settings["start"] = start
    return Painting(picture, styles, settings, masks_of(masks, len(styles)))


def _grid(values: Sequence[Any]) -> list[Painting]:
    *fields, first, of_first, second, of_second, apart = values
    return grid(_painting(*fields), [(first, of_first or ""), (second, of_second or "")], apart)


def _axes() -> tuple[list[Any], gr.Checkbox]:
    """The fields of a grid: two options with their values."""
    names = [(one.name.replace("_", " "), one.name) for one in _options()]
    axes: list[Any] = []
    for number, name, example in ((1, "content_weight", "0.2, 0.5, 1"), (2, "statistic", "gram, histogram")):
        with gr.Row():
            axes.append(gr.Dropdown(names, value=name, label=f"Option {number}", elem_id=f"style-axis-{number}"))
            box = gr.Textbox(
                "", placeholder=example, label=f"Values of option {number}", elem_id=f"style-values-{number}"
            )
            axes.append(box)
    return axes, gr.Checkbox(False, label="Each style alone", elem_id="style-apart")


def _options() -> list[Any]:
    """The options that have a field: all but `start`, which has one of its own, and those that no text can give."""
    return [one for one in SETTINGS.values() if one.help and one.name != "start"]


def _form(options: gr.Textbox, triggers: list[Any]) -> None:
    """The options as fields: those that are used most, and the others by groups."""
    names = [one.name for one in _options()]
    grouped = [name for group in GROUPS.values() for name in group]
    first = [*FIRST, *(name for name in names if name not in (*FIRST, *grouped))]

    def fields(text: str, mine: Sequence[str]) -> None:
        every = [one.name for one in options_of(StyleTransfer)]
        with gr.Row(elem_classes="nl-fields"):
            for name in mine:  # in this order
                form(StyleTransfer, NAME, read(text), options, leave_out=[other for other in every if other != name])

    def forms(text: str) -> None:
        fields(text, first)
        changed = {key.partition(".")[2] for key in read(text)}
        for title, mine in GROUPS.items():
            with gr.Accordion(title, open=bool(changed & set(mine))):
                fields(text, mine)

    gr.render(inputs=options, triggers=triggers, trigger_mode=EACH)(forms)


def _shown(studio: Studio) -> Any:
    def shown(picture: str, names: str) -> str:
        return or_hint(lambda: drawn.chosen_pictures(studio, picture, names_in(names)))

    return shown


def names_in(names: str | None) -> tuple[str, ...]:
    """The styles, from the text of their names."""
    try:
        texts = json.loads(names or "[]")
    except ValueError:
        texts = []
    return tuple(named(str(text)) for text in texts) if isinstance(texts, list) else ()


def _brushes(names: str | None) -> Any:
    choices = [(f"{i + 1}: {name}", str(i + 1)) for i, name in enumerate(names_in(names)[: len(COLORS)])]
    return gr.Radio([*choices, ("Eraser", ERASER)], value="1" if choices else ERASER)


def _plan(key: str, paintings: Sequence[Painting]) -> str:
    """What a grid will paint, and its file."""
    to = f"style/{key}.zip"
    each = "".join(f"<li>{escape(one.label)}</li>" for one in paintings[:8])
    more = f"<li>and {len(paintings) - 8} more</li>" if len(paintings) > 8 else ""
    return (
        f'<div class="nl-plan"><p><b>{len(paintings)} pictures</b> <span class="nl-plain">'
        f'<a href="{to}" download>Save as a batch</a></span></p><ul>{each}{more}</ul>'
        f"{html.hint('netlens stylize --batch batch.zip paints the same; so does this page, if you drop it below.')}"
        "</div>"
    )


def _keep(studio: Studio, item: Any) -> str:
    key = token_hex(8)
    studio.painted.put(key, item)
    return key
