"""Painting: what the tab Style computes: style transfers that show how they grow, and grids of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from secrets import token_hex
from typing import Any

from PIL import Image

from netlens import images
from netlens.errors import NetLensError
from netlens.options import Option, read, spelled
from netlens.playground._brush import COLORS
from netlens.playground._studio import Studio
from netlens.results import Render
from netlens.visualization.style import SETTINGS, STARTS, Glance, StyleTransfer, from_settings

PACE = 0.4  # seconds, at least, from each look at the picture to the next
_SHARE = 8  # after a look, 8 times its duration passes before the next, so looks take a ninth of the time
MOST_STYLES = len(COLORS)  # each has a color of the brush
MOST_OF_GRID = 64
SMALL = 72  # pixels of the longer side of a thumbnail

Masks = tuple[tuple[Image.Image | None, Image.Image | None], ...]
"""For each style, the part of the content that gets it, and the part of the style that shows it; white counts."""


@dataclass(frozen=True)
class Painting:
    """What is painted: pictures by name, and the settings that differ from their defaults.

    Args:
        content: The name of the content.
        styles: The names of the styles.
        settings: Options of `StyleTransfer` as values of JSON. `start` may be the name of a picture.
        masks: The masks of each style; empty for none.
    """

    content: str
    styles: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    masks: Masks = ()

    @property
    def start(self) -> str | None:
        """The name of the picture at which it starts; None if it starts at the content, a style or noise."""
        start = self.settings.get("start", STARTS[0])
        return None if start in STARTS else start

    @property
    def pictures(self) -> list[str]:
        """The names of all its pictures."""
        return list(dict.fromkeys(name for name in (self.content, *self.styles, self.start) if name is not None))

    @property
    def masked(self) -> bool:
        """Whether a style has a mask."""
        return any(mask is not None for pair in self.masks for mask in pair)

    @property
    def label(self) -> str:
        """The settings in a line."""
        return label(self.settings)

    def transfer(self) -> StyleTransfer:
        """The style transfer, checked.

        Raises:
            NetLensError: A setting is wrong, or there are too many styles.
        """
        if len(self.styles) > MOST_STYLES:
            raise NetLensError(f"{len(self.styles)} styles are too many; choose up to {MOST_STYLES}.")
        return from_settings(self.settings)


@dataclass(frozen=True, eq=False)
class Run:
    """A painting as far as it has got.

    Args:
        key: The key under which the studio keeps it.
        number: Its number among the runs of its user; it stays when others are gone.
        painting: What is painted.
        render: The picture with its provenance.
        losses: The losses of the picture by name.
        step: The number of finished iterations.
        steps: The largest number of iterations; a `target` may end it earlier.
        seconds: The time so far.
        curve: The weighted sum of the losses over the steps.
        done: Whether it has ended by itself, and was not stopped.
        scale: The size that is being painted, of all its sizes, such as "1 of 2".
        doubts: Warnings about the result.
    """

    key: str
    number: int
    painting: Painting
    render: Render = field(repr=False)
    losses: Mapping[str, float]
    step: int
    steps: int
    seconds: float
    curve: tuple[float, ...] = field(repr=False)
    done: bool = False
    scale: str = ""
    doubts: tuple[str, ...] = ()

    @property
    def picture(self) -> Image.Image:
        """The picture."""
        return images.to_pil(self.render.images[0].clamp(0, 1)).convert("RGB")

    @property
    def short(self) -> str:
        """How many of its steps it made, such as "1 of 100 steps"; empty if it made all of them."""
        return "" if self.done and self.step == self.steps else f"{self.step} of {self.steps} steps"

    @cached_property
    def thumbnail(self) -> Image.Image:
        """The picture, with a longer side of at most `SMALL`. The table shows it at each click, so it is kept."""
        picture = self.picture
        picture.thumbnail((SMALL, SMALL))
        return picture

    @property
    def nbytes(self) -> int:
        """The memory that it holds. The thumbnail counts before it is made, because a store needs a fixed size."""
        masks = sum(mask.width * mask.height for pair in self.painting.masks for mask in pair if mask is not None)
        tensors = self.render.images, self.render.history
        thumbnail_and_curve = 3 * SMALL**2 + 32 * len(self.curve)  # a number of Python has 24 bytes, and its place 8
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) + masks + thumbnail_and_curve

    def file(self, kind: str) -> bytes | None:
        """Its PNG, with the provenance."""
        if kind != "png":
            return None
        with tempfile.TemporaryDirectory() as folder:
            return self.render.save(Path(folder) / "painted.png").read_bytes()


def paint(studio: Studio, painting: Painting, show: Callable[[Run], None], number: int = 1) -> Run:
    """Paint, and show the run after the first step and then about twice a second.

    The studio keeps each run that is shown, so that what was shown last is there after an interruption.

    Args:
        studio: Where the pictures are, and where the run is kept.
        painting: What is painted.
        show: Gets the run as far as it has got.
        number: The number of the run.
    """
    key, begin = token_hex(8), time.perf_counter()
    content, styles = studio.picture(painting.content), [studio.picture(name) for name in painting.styles]
    transfer = painting.transfer()
    if painting.start is not None:
        transfer = replace(transfer, start=studio.picture(painting.start))
    curve: list[float] = []
    due = begin
    last: Glance | None = None

    def look(glance: Glance) -> None:
        nonlocal due, last
        last = glance
        assert glance.moment.values is not None
        curve.append(-float(glance.moment.values[0]))
        now = time.perf_counter()
        if now < due:
            return
        losses = glance.losses()
        scale = f"{glance.scale + 1} of {glance.scales}" if glance.scales > 1 else ""
        so_far = (glance.step, glance.steps, now - begin, tuple(curve))
        keep(Run(key, number, painting, glance.render(losses), losses, *so_far, scale=scale))
        due = time.perf_counter() + max(PACE, _SHARE * (time.perf_counter() - now))

    def keep(run: Run) -> None:
        studio.painted.put(key, run)
        show(run)

    regions = list(painting.masks) if painting.masks else None
    render = transfer(studio.flat, content, styles, regions, progress=False, watch=look)
    assert last is not None  # a transfer has at least one step
    both = render.provenance.options["losses"]
    losses = {name: loss["end"] for name, loss in both.items()}
    ended = (last.step, transfer.steps, time.perf_counter() - begin, tuple(curve))
    doubts = tuple(last.stage.doubts(both))
    run = Run(key, number, painting, render, losses, *ended, done=True, doubts=doubts)
    keep(run)
    return run


def value_of(name: str, text: str) -> Any:
    """The value that a text means for an option of a style transfer. Items of a list are divided by / or by commas.

    Raises:
        NetLensError: There is no such option.
    """
    one = option_of(name)
    value = read(one, text, between="," if "," in text else "/")
    return list(value) if isinstance(value, tuple) else value


def option_of(name: str) -> Option:
    """An option of a style transfer by its name."""
    if name not in SETTINGS:
        raise NetLensError(f"a style transfer has no option {name!r}.")
    return SETTINGS[name]


def settings_of(texts: Mapping[str, str]) -> dict[str, Any]:
    """Settings from the texts of options by name, without those that have the default."""
    values = {name: value_of(name, text) for name, text in texts.items()}
    return {name: value for name, value in values.items() if value != option_of(name).default}


def texts_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """The inverse of `settings_of`."""
    return {name: spelled(value) for name, value in settings.items()}


def label(settings: Mapping[str, Any]) -> str:
    """Settings in a line, such as "size 256, steps 50"."""
    return ", ".join(f"{name.replace('_', ' ')} {text}" for name, text in texts_of(settings).items()) or "defaults"


def grid(painting: Painting, axes: Sequence[tuple[str, str]], apart: bool = False) -> list[Painting]:
    """The painting with all combinations of several values of some options.

    Args:
        painting: The painting.
        axes: Options, each with its values in a text: values are divided by commas, items of a value by slashes.
        apart: Whether each style is painted alone.

    Raises:
        NetLensError: A value is wrong, or there are too many combinations.

    Example:
        >>> paintings = grid(Painting("scene 1", ("mosaic",)), [("steps", "50, 100"), ("statistic", "gram, histogram")])
        >>> [one.label for one in paintings][:2]
        ['steps 50, statistic gram', 'steps 50, statistic histogram']
    """
    named = [(name, _values(name, text)) for name, text in axes if name and text.strip()]
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        raise NetLensError(f"the grid has {names[0].replace('_', ' ')} twice; choose two options.")
    bases = _apart(painting) if apart else [painting]
    count = len(bases)
    for _, values in named:
        count *= len(values)
    if count > MOST_OF_GRID:
        raise NetLensError(f"the grid has {count} pictures; the page paints up to {MOST_OF_GRID} in one batch.")
    paintings = []
    for base in bases:
        for combined in product(*(values for _, values in named)):
            one = replace(base, settings={**base.settings, **dict(zip(names, combined, strict=True))})
            one.transfer()  # a wrong value is told now, and not after an hour
            paintings.append(one)
    return paintings


def _values(name: str, text: str) -> list[Any]:
    values = [value_of(name, part.strip()) for part in text.split(",") if part.strip()]
    return [value for i, value in enumerate(values) if value not in values[:i]]


def _apart(painting: Painting) -> list[Painting]:
    """Each style alone, without a weight."""
    settings = {name: value for name, value in painting.settings.items() if name != "style_weights"}
    pairs = list(enumerate(painting.styles))
    return [replace(painting, styles=(one,), settings=settings, masks=painting.masks[i : i + 1]) for i, one in pairs]
