"""Drawing from nothing and dreaming on pictures: what is drawn, how it grows, and the lines that draw it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, make_dataclass
from functools import cache
from typing import Any, NamedTuple

from torch import Tensor

from netlens.errors import NetLensError, NetLensWarning
from netlens.options import Option, check, checked, option, options_of, parse
from netlens.playground import _notebook as notebook
from netlens.playground._drawing import Drawing, Growing
from netlens.playground._film import Film, pixels_of
from netlens.playground._layers import block_of, shapes_of
from netlens.playground._store import digest
from netlens.playground._studio import Studio, class_of
from netlens.playground._texts import options_text, read
from netlens.results import Render, State
from netlens.silence import silenced
from netlens.visualization import Callback, Dreaming, Inverting, NetDreamer, dream, invert
from netlens.visualization.picture import expected_size

CHANNEL, CLASS, DREAM, INVERSION = WHATS = ("channel", "class", "dream", "inversion")
"""What can be drawn."""
EXCITE, INHIBIT = SIGNS = ("excites it", "inhibits it")
MOST_SIDE = 2048  # pixels of a picture that is drawn, so that a wrong number does not fill the memory
DREAM_SIDE = 384


@dataclass(frozen=True)
class Wish:
    """What is to be drawn.

    Args:
        what: One of `WHATS`.
        layer: The layer of the channel, of the dream or of the inversion.
        channel: The index of the channel.
        sign: Whether the picture excites the channel or inhibits it, one of `SIGNS`.
        target: The class, such as "88: macaw".
        picture: The picture to dream on, or to invert, by its name.
        options: The options that differ from their defaults, as `netlens.playground._texts.written` writes them.
    """

    what: str
    layer: str = ""
    channel: int = 0
    sign: str = EXCITE
    target: str = ""
    picture: str = ""
    options: str = ""

    def __post_init__(self) -> None:
        checked("what is drawn", self.what, str, choices=WHATS)
        checked("the sign of the picture", self.sign, str, choices=SIGNS)

    @property
    def form(self) -> str:
        """The name of the form of its options."""
        return {CHANNEL: "draw", CLASS: "draw", DREAM: "dream", INVERSION: "invert"}[self.what]

    @property
    def title(self) -> str:
        """It in a few words."""
        negative = " negative" if self.sign == INHIBIT else ""
        return {
            CHANNEL: f"{self.layer}:{self.channel}{negative}",
            CLASS: self.target,
            DREAM: f"dream of {self.layer} on {self.picture}",
            INVERSION: f"{self.picture} from {self.layer}",
        }[self.what]


class Rounds(NamedTuple):
    """A dream that is continued after its end dreams again on its result.

    Args:
        finished: The number of dreams before this one.
        base: The result of the last of them; None if this dream is the first.
        steps: The number of steps of all of them.
    """

    finished: int = 0
    base: Tensor | None = None
    steps: int = 0


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
        kind, about = (one.kind, one.help) if size is None else (int, "The longer side in pixels.")
        return one.name, kind, option(size, least=16, most=MOST_SIDE, help=about)

    every = [declared(one) for one in options_of(cls) if one.name not in leave_out]
    return make_dataclass(name, every, frozen=True, namespace={"__post_init__": check})


def key_of(wish: Wish) -> str:
    """The key under which the studio keeps a drawing. The number of steps is no part of it: a drawing can go on."""
    mine = {name: text for name, text in read(wish.options).items() if name.partition(".")[0] == wish.form}
    steps = "" if wish.what == DREAM else f"{wish.form}.steps"
    options = sorted((name, text) for name, text in mine.items() if name != steps)
    of_layer = "" if wish.what == CLASS else wish.layer
    of_channel = (wish.channel, wish.sign) if wish.what == CHANNEL else ()
    of_picture = wish.picture if wish.what in (DREAM, INVERSION) else ""
    return digest(wish.what, of_layer, of_channel, wish.target if wish.what == CLASS else "", of_picture, options)


def is_known(studio: Studio, wish: Wish) -> bool:
    """Whether the studio keeps a drawing of a wish, with as many steps as it asks for, or stopped on the way there."""
    drawing = studio.drawings.get(key_of(wish))
    return drawing is not None and (wish.what == DREAM or drawing.steps >= values_of(studio, wish)["steps"])


def values_of(studio: Studio, wish: Wish) -> dict[str, Any]:
    """All options of a wish by name.

    Raises:
        NetLensError: An option is wrong.
    """
    made: Any = parse(forms_of(studio)[wish.form], options_text(wish.form, read(wish.options)))
    return {one.name: getattr(made, one.name) for one in options_of(type(made))}


def grow(studio: Studio, wish: Wish, show: Callable[[Drawing], None], more: bool = False) -> None:
    """Draw, and show the picture a few times a second. The studio keeps what is shown, so that it can be stopped.

    Args:
        studio: The network and the pictures.
        wish: What to draw.
        show: Gets the drawing as far as it has grown.
        more: Whether to go on with the drawing of this wish that the studio keeps: to its end if it was stopped, else
            for as many steps as the options say.

    Raises:
        NetLensError: There is nothing to go on with, or the wish cannot be met.
    """
    key, values = key_of(wish), values_of(studio, wish)
    known = studio.drawings.get(key) if more else None
    if more and (known is None or known.state is None):
        raise NetLensError("there is no drawing of this to continue; press Draw first.")
    film, rounds, state = Film(), Rounds(), None
    total: int = values["steps"]
    if known is not None:
        film, rounds, state, done = known.film, known.about, known.state, known.step >= known.steps
        if done and wish.what == DREAM:
            rounds, state = Rounds(rounds.finished + 1, known.render.images[0], known.step), None
        total = known.step + total if done else known.steps

    def keep(drawing: Drawing) -> None:
        studio.drawings.put(key, drawing)
        show(drawing)

    def result(state: State) -> Render:
        if state.step == 0:
            raise NetLensError("there is no step yet to be saved; let it draw for a moment.")
        with silenced(NetLensWarning):
            return _rendered(studio, wish, values, rounds, (), state.step, state)

    growing = Growing(film, result, keep, rounds.steps, rounds)
    render = _rendered(studio, wish, values, rounds, [growing], None if wish.what == DREAM else total, state)
    step = rounds.steps + len(render.history)
    history, picture = render.history[:, 0], pixels_of(render.images)
    keep(Drawing(step, step, picture, history, growing.film, lambda: render, render.state, rounds))


def _rendered(
    studio: Studio,
    wish: Wish,
    values: Mapping[str, Any],
    rounds: Rounds,
    callbacks: Sequence[Callback],
    steps: int | None,
    state: State | None,
) -> Render:
    """Draw until this number of steps, from a state on."""
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


def code(studio: Studio, wish: Wish) -> str:
    """The lines that draw the same in a notebook: as far as the studio's drawing has grown, or else to the end."""
    drawing, values = studio.drawings.get(key_of(wish)), values_of(studio, wish)
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
    rounds: Rounds = drawing.about
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
