"""Drawing from nothing and dreaming on pictures: what is drawn, how it grows, and the lines that draw it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, make_dataclass, replace
from functools import cache
from secrets import token_hex
from typing import Any

from netlens.errors import NetLensError, NetLensWarning
from netlens.flat.keys import block_of
from netlens.options import Option, check, option, options_of, parse
from netlens.playground import _notebook as notebook
from netlens.playground._drawing import Drawing, Growing, Rounds
from netlens.playground._film import Film, pixels_of
from netlens.playground._layers import shapes_of
from netlens.playground._store import digest
from netlens.playground._studio import Studio, class_of
from netlens.playground._texts import options_text, read
from netlens.playground._wish import CHANNEL, CLASS, DREAM, INHIBIT, INVERSION, Wish
from netlens.results import Render, State
from netlens.silence import silenced
from netlens.visualization import Callback, Dreaming, Inverting, NetDreamer, dream, invert
from netlens.visualization.picture import expected_size

MOST_SIDE = 2048  # pixels of a picture that is drawn, so that a wrong number does not fill the memory
DREAM_SIDE = 384


def forms_of(studio: Studio) -> Mapping[str, type]:
    """The options by the name of their form, those of the command line, with sizes that suit a page."""
    return _forms_of(expected_size(studio.flat))


@cache
def _forms_of(expected: int) -> Mapping[str, type]:
    return {
        "draw": _form("Drawing", NetDreamer, ("flat", "transforms", "progress", "options"), None),
        "dream": _form("Dreaming", Dreaming, (), DREAM_SIDE),
        "invert": _form("Inverting", Inverting, (), min(expected, MOST_SIDE)),
    }


def _form(name: str, cls: type, leave_out: Sequence[str], size: int | None) -> type:
    """A dataclass with the options of another one; `size` has a bound, and is the default size."""

    def declared(one: Option) -> tuple[str, Any, Any]:
        if one.name != "size":
            return one.name, one.kind, option(one.default, **asdict(one.limits), help=one.help)
        kind, text = (one.kind, one.help) if size is None else (int, "The longer side in pixels.")
        return one.name, kind, option(size, least=16, most=MOST_SIDE, help=text)

    every = [declared(one) for one in options_of(cls) if one.name not in leave_out]
    return make_dataclass(name, every, frozen=True, namespace={"__post_init__": check})


def key_of(wish: Wish) -> str:
    """A key that differs between wishes. It leaves out the number of steps, because a drawing can be continued."""
    mine = {name: text for name, text in read(wish.options).items() if name.partition(".")[0] == wish.form}
    steps = "" if wish.what == DREAM else f"{wish.form}.steps"
    options = sorted((name, text) for name, text in mine.items() if name != steps)
    of_layer = "" if wish.what == CLASS else wish.layer
    of_channel = (wish.channel, wish.sign) if wish.what == CHANNEL else ()
    of_picture = wish.picture if wish.what in (DREAM, INVERSION) else ""
    return digest(wish.what, of_layer, of_channel, wish.target if wish.what == CLASS else "", of_picture, options)


def drawing_on_sheet(studio: Studio, wish: Wish, key: str) -> Drawing | None:
    """The drawing with this key, which is on the sheet of a page, if it is one of this wish; else None."""
    mine = studio.drawings.get(key) if key else None
    return mine if mine is not None and key_of(mine.wish) == key_of(wish) else None


def drawing_of(studio: Studio, wish: Wish) -> Drawing | None:
    """The newest finished drawing of a wish; if none was finished, the newest; None if the studio keeps none."""
    newest = studio.newest.get(key_of(wish))
    return None if newest is None else studio.drawings.get(newest)


def drawing_for(studio: Studio, wish: Wish) -> Drawing | None:
    """The drawing that a link to a wish shows. None if it has to be drawn: there is none, or one of fewer steps.

    For a drawing that was stopped, the steps that were planned count.
    """
    drawing = drawing_of(studio, wish)
    if drawing is None or wish.what == DREAM or drawing.steps >= values_of(studio, wish)["steps"]:
        return drawing
    return None


def drawing_to_continue(studio: Studio, wish: Wish, key: str) -> Drawing:
    """The drawing from which the page goes on; see `drawing_on_sheet`.

    Raises:
        NetLensError: There is none.
    """
    drawing = drawing_on_sheet(studio, wish, key)
    if drawing is None or drawing.state is None:
        raise NetLensError("there is no drawing of this to continue; press Draw first.")
    return drawing


def values_of(studio: Studio, wish: Wish) -> dict[str, Any]:
    """All options of a wish by name.

    Raises:
        NetLensError: An option is wrong.
    """
    options: Any = parse(forms_of(studio)[wish.form], options_text(wish.form, read(wish.options)))
    return {one.name: getattr(options, one.name) for one in options_of(type(options))}


def grow(studio: Studio, wish: Wish, show: Callable[[Drawing], None], after: Drawing | None = None) -> None:
    """Draw, and show the picture a few times a second.

    The studio keeps what was shown last, under a key of this run. So it is there when the run is stopped, and no other
    run changes it.

    Args:
        studio: The network and the pictures.
        wish: What to draw.
        show: Gets the drawing as far as it has grown.
        after: A drawing of this wish to continue; see `drawing_to_continue`. A drawing that was stopped is drawn to its
            end. To a finished one, the steps of the options are added. The drawing itself stays as it is.

    Raises:
        NetLensError: The wish cannot be met.
    """
    key, values = token_hex(8), values_of(studio, wish)
    film, rounds, state = Film(), Rounds(), None
    total: int = values["steps"]
    if after is not None:
        film, rounds, state = after.film, after.rounds, after.state
        if after.finished and wish.what == DREAM:
            rounds, state = Rounds(rounds.finished + 1, after.render.images[0], after.step), None
        total = after.step + total if after.finished else after.steps

    def keep(drawing: Drawing) -> None:
        studio.drawings.put(key, drawing)
        show(drawing)

    def drawn(callbacks: Sequence[Callback], steps: int | None, state: State | None) -> Render:
        # the page has a film of its own, so it drops the frames of the result
        return replace(_render_of(studio, wish, values, rounds, callbacks, steps, state), frames=())

    def result(state: State) -> Render:
        if state.step == 0:
            raise NetLensError("there is no step yet to be saved; let it draw for a moment.")
        with silenced(NetLensWarning):
            return drawn((), state.step, state)

    growing = Growing(key, wish, film, result, keep, rounds)
    try:
        render = drawn([growing], None if wish.what == DREAM else total, state)
        step = rounds.steps + len(render.history)
        history, picture = render.history[:, 0], pixels_of(render.images)
        keep(Drawing(key, wish, step, step, picture, history, growing.film, lambda: render, render.state, rounds))
    finally:
        _make_findable(studio, key)


def _make_findable(studio: Studio, key: str) -> None:
    """Let `drawing_of` find a drawing whose run has ended. One that was stopped does not replace a finished one."""
    drawing = studio.drawings.get(key)
    if drawing is None or drawing.step == 0:
        return
    before = drawing_of(studio, drawing.wish)
    if drawing.finished or before is None or not before.finished:
        studio.newest.put(key_of(drawing.wish), key)


def _render_of(
    studio: Studio,
    wish: Wish,
    values: Mapping[str, Any],
    rounds: Rounds,
    callbacks: Sequence[Callback],
    steps: int | None,
    state: State | None,
) -> Render:
    flat = studio.flat
    watched: dict[str, Any] = {"callbacks": callbacks, "resume": state}
    if wish.what == DREAM:
        picture = studio.picture(wish.picture) if rounds.base is None else rounds.base
        return dream(flat, picture, wish.layer, progress=False, until=steps, **watched, **values)
    values = {**values, "steps": steps}
    if wish.what == INVERSION:
        return invert(flat, studio.picture(wish.picture), wish.layer, progress=False, **watched, **values)
    dreamer = NetDreamer(flat, progress=False, options=watched, **values)
    if wish.what == CLASS:
        target = class_of(wish.target)
        if target is None:
            raise NetLensError("there is no class yet; choose one, or type its number.")
        return dreamer.classes(target)
    count = channels_of(studio, wish.layer)
    if count is not None and wish.channel >= count:
        raise NetLensError(f"layer {wish.layer!r} has no channel {wish.channel}; its channels are 0 to {count - 1}.")
    return (dreamer.negative if wish.sign == INHIBIT else dreamer.channel)(wish.layer, wish.channel)


def found_nothing(drawing: Drawing) -> bool:
    """Whether the objective has been 0 all the time, as that of a channel that never fires is."""
    return drawing.step > 0 and not bool(drawing.values.any())


def code(studio: Studio, wish: Wish, drawing: Drawing | None = None) -> str:
    """The lines that draw the same in a notebook: as far as a drawing of the wish has grown, or else to the end."""
    values = values_of(studio, wish)
    if drawing is not None and drawing.step > 0 and wish.what != DREAM:
        values["steps"] = drawing.step
    classes = {"draw": NetDreamer, "dream": Dreaming, "invert": Inverting}
    standard = {one.name: one.default for one in options_of(classes[wish.form])}
    changed = {name: one for name, one in values.items() if one != standard[name]}
    if wish.what in (CHANNEL, CLASS):
        function, lines = "NetDreamer", _drawn(studio, wish, notebook.arguments(changed))
    else:
        function = "dream" if wish.what == DREAM else "invert"
        lines = _of_picture(studio, wish, function, changed, drawing)
    param = values.get("param")
    named = [] if "param" not in changed else [(param if isinstance(param, type) else type(param)).__name__]
    imports = ["from netlens import open_network", f"from netlens.visualization import {', '.join([function, *named])}"]
    return "\n".join([*imports, *lines, "render.show()"])


def _drawn(studio: Studio, wish: Wish, arguments: str) -> list[str]:
    if wish.what == CLASS:
        call = f"classes({class_of(wish.target)!r})"
    else:
        call = f"{'negative' if wish.sign == INHIBIT else 'channel'}({wish.layer!r}, {wish.channel})"
    options = f", {arguments}" if arguments else ""
    return [f"dreamer = NetDreamer({notebook.network(studio)}{options})", f"render = dreamer.{call}"]


def _of_picture(
    studio: Studio, wish: Wish, function: str, changed: dict[str, Any], drawing: Drawing | None
) -> list[str]:
    imports, picture = notebook.picture(studio, wish.picture)
    options = f", {notebook.arguments(changed)}" if changed else ""

    def call(image: str, until: str = "") -> str:
        return f"render = {function}(flat, {image}, {wish.layer!r}{options}{until})"

    lines = [*imports, f"flat = {notebook.network(studio)}"]
    if wish.what == INVERSION or drawing is None or drawing.step == 0:
        return [*lines, call(picture)]
    rounds = drawing.rounds
    until = f", until={drawing.step - rounds.steps}" if drawing.step < drawing.steps else ""
    if rounds.finished == 0:
        return [*lines, call(picture, until)]
    # each dream after the first starts from the result of the one before it
    again = [call("render.images[0]")] * (rounds.finished - 1)
    if len(again) > 1:
        again = [f"for _ in range({len(again)}):", f"    {again[0]}"]
    return [*lines, call(picture), *again, call("render.images[0]", until)]


def first_layer(studio: Studio) -> str:
    """A layer whose channels are worth drawing: the last one of the block before the middle of those with maps."""
    maps = [key for key, shape in shapes_of(studio).items() if len(shape) == 4 and min(shape[2:]) > 1]
    maps = [key for key in maps if key in studio.flat.layers]
    if not maps:
        return next(iter(studio.flat.layers))
    middle = len(maps) // 2
    before = [key for key in maps[:middle] if block_of(key) != block_of(maps[middle])]
    return before[-1] if before else maps[middle]


def channels_of(studio: Studio, layer: str) -> int | None:
    """The number of channels of a layer; None if it is unknown."""
    shape = shapes_of(studio).get(studio.flat.key(layer), ())
    return shape[1] if len(shape) > 1 else None
