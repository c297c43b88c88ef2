"""DeepDream: change a picture so that it shows more of the patterns that a layer sees in it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from netlens.errors import NetLensError, NetLensWarning
from netlens.flat import FlatModel
from netlens.flat.running import differentiating
from netlens.images import MAX_PIXELS
from netlens.objectives import Objective, guide, layer
from netlens.options import check, check_names, checked, option, options_of
from netlens.results import Provenance, Render, State
from netlens.visualization._callbacks import Callback, Moment
from netlens.visualization._gradients import normalized
from netlens.visualization._octaves import MOST as MOST_OCTAVES
from netlens.visualization._octaves import octave_sizes
from netlens.visualization._optvis import MOST_STEPS
from netlens.visualization._tiles import LARGEST, OVERLAP, TILE, Tiled
from netlens.visualization.params import FromImage, resampled
from netlens.visualization.picture import picture_for

MOST_FRAMES = 10_000  # the largest number of frames of a film


@dataclass(frozen=True)
class Dreaming:
    """The options of a dream.

    Sizes whose shorter side would have less than 32 pixels are left out.
    """

    octaves: int = option(4, least=1, most=MOST_OCTAVES, help="Number of sizes of the picture.")
    scale: float = option(1.4, above=1, help="Factor from each size to the next.")
    steps: int = option(10, least=1, most=MOST_STEPS, help="Steps at each size.")
    jitter: int = option(32, least=0, most=MAX_PIXELS, help="Largest shift before each step, in pixels.")
    step: float = option(1.5, above=0, most=255, help="Mean change of a pixel in a step, in gray levels of 255.")
    tile: int | None = option(448, least=32, most=LARGEST, help=TILE)
    overlap: int | None = option(None, least=0, help=OVERLAP)
    size: int | None = option(None, least=1, help="The longer side in pixels; none for the image's own.")
    seed: int = option(0, least=0, help="Seed of the shifts.")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Zooming(Dreaming):
    """The options of a film of dreams. By default, a frame has fewer sizes and steps than a single dream."""

    octaves: int = 2
    steps: int = 4
    n_frames: int = option(48, least=1, most=MOST_FRAMES, help="Number of frames.")
    factor: float = option(1.04, least=1, help="Magnification from each frame to the next.")
    degrees: float = option(0.0, help="Rotation from each frame to the next, in degrees.")


def dream(
    flat: FlatModel,
    image: Any,
    objective: Objective | str,
    *,
    towards: Any = None,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    until: int | None = None,
    resume: Render | State | None = None,
    **options: Any,
) -> Render:
    """Dream on an image: change it so that it shows more of the patterns that a layer sees in it.

    The dream goes through several sizes (octaves), from coarse to fine. Each octave starts from the image at its size,
    plus the detail that the smaller octaves have added.

    Args:
        flat: The network.
        image: A path, a PIL image, an array, or a tensor (C, H, W) in [0, 1].
        objective: The key of a layer, to maximize its mean square; or any objective to maximize.
        towards: Another image of any kind. The dream then maximizes `objectives.guide`: it gives the image the patterns
            of the other one.
        progress: Whether a terminal shows the progress.
        callbacks: Objects that watch the dream.
        until: The number of steps over all sizes after which the dream ends early, at least 1; None for a whole dream.
        resume: The result of an earlier dream with the same image, objective and options, or its state.
        options: The options of `Dreaming`.

    Returns:
        The picture. Its `history` holds, for each step, the sum of the objective over all positions, divided by the
        number of pixels. Its `frames` are the pictures after each octave, from `resume` on.

    Raises:
        NetLensError: An option is wrong, the objective does not depend on the picture, or the state to resume from
            belongs to another dream.

    Example:
        >>> from netlens.zoo import open_network
        >>> dream(open_network(), torch.rand(3, 64, 64), "stem", octaves=1, steps=1, progress=False).images.shape
        torch.Size([1, 3, 64, 64])

    Mordvintsev et al. 2015, https://research.google/blog/inceptionism-going-deeper-into-neural-networks/
    """
    check_names("a dream", options, [o.name for o in options_of(Dreaming)])
    settings = Dreaming(**options)
    checked("callbacks", callbacks, Sequence[Callback], hint="give a list such as [Frames(every=4)]")
    until = checked("until", until, int | None, least=1)
    checked("resume", resume, Render | State | None, hint="give what an earlier dream gave, or its state")
    if isinstance(resume, Render) and resume.state is None:
        raise NetLensError("this render has no state to resume from; give what `dream` gave, whole.")
    base = picture_for(flat, image, settings.size)
    goal = _objective(flat, objective, towards, base)
    climb = _Climb(base, settings)
    state = resume.state if isinstance(resume, Render) else resume
    if state is not None:
        climb.resume(state)
    begin, steps = climb.step, climb.steps if until is None else min(until, climb.steps)
    if begin > steps:
        raise NetLensError(f"the state is {begin} steps old already; give a larger number to `until`, or none.")
    frames: list[Tensor] = []
    quiet = None if progress else True
    with differentiating(), tqdm(total=steps, initial=begin, delay=1, disable=quiet, leave=False) as bar:
        gradient = Tiled(flat, goal, settings.tile, settings.overlap, climb.sizes[-1])
        _call(callbacks, "on_start", climb)
        while climb.step < steps:
            climb.go_on(gradient)
            if climb.step == steps or climb.step % settings.steps == 0:
                frames.append(climb.picture.float().cpu())
            _call(callbacks, "on_step", climb)
            bar.update()
        _call(callbacks, "on_end", climb)
    if climb.step > begin and not climb.changed:
        warnings.warn(
            f"the gradient of {goal!r} of {flat.name} is 0 all over the picture, so the dream did not change it; "
            "choose another layer or image.",
            NetLensWarning,
            stacklevel=2,
        )
    ended = {"until": climb.step} if climb.step < climb.steps else {}
    return Render(
        images=climb.picture.float().cpu(),
        history=climb.history.cpu(),
        seeds=(settings.seed,),
        provenance=_provenance(flat, goal, settings, **ended),
        frames=tuple(frames),
        state=climb.state(),
        captions=(f"dream of {goal!r}",),
    )


class _Climb:
    """A dream on its way through the octaves, from coarse to fine."""

    start: Tensor  # the image at the size of the octave
    detail: Tensor  # what the smaller octaves have added to it
    picture: Tensor

    def __init__(self, base: Tensor, settings: Dreaming) -> None:
        self.base, self.settings = base, settings
        self.sizes = octave_sizes((base.shape[2], base.shape[3]), settings.octaves, settings.scale)
        self.steps = len(self.sizes) * settings.steps
        self.generator = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(2,)))
        self.values: list[Tensor] = []
        self.step = 0
        self.detailed = False
        self._enter(0, torch.zeros_like(base[:, :, :1, :1]))

    def go_on(self, gradient: Tiled) -> None:
        """Do a step, at the next size if all steps at this one are done."""
        if self.step and self.step % self.settings.steps == 0:
            self._enter(self.step // self.settings.steps, self.picture - self.start)
        down, right = self._shift()
        value, direction = gradient(self.picture.roll((down, right), (2, 3)))
        change = normalized(direction).roll((-down, -right), (2, 3))
        # clamped in each step, because the gradient of a picture outside of [0, 1] is of no use
        self.picture = self.picture.add(change, alpha=self.settings.step / 255).clamp_(0, 1)
        self.values.append(value)
        self.step += 1

    @property
    def changed(self) -> bool:
        """Whether the dream has changed the picture."""
        return self.detailed or bool((self.picture != self.start).any())

    @property
    def history(self) -> Tensor:
        """(steps so far, 1), the objective."""
        return torch.stack(self.values)[:, None] if self.values else self.base.new_zeros(0, 1)

    def state(self) -> State:
        """What a dream needs to go on: the picture, and the detail with which it entered its octave."""
        tensors = tuple(tensor.detach().cpu().clone() for tensor in (self.picture, self.detail))
        return State(self.step, tensors, self.history.cpu(), (), torch.zeros(1, dtype=torch.bool))

    def resume(self, state: State) -> None:
        """Go to where a state says."""
        octave = max(state.step - 1, 0) // self.settings.steps
        shapes = [tuple(tensor.shape) for tensor in state.parameters]
        mine = (*self.base.shape[:2], *self.sizes[min(octave, len(self.sizes) - 1)])
        if state.step > self.steps or len(shapes) != 2 or shapes[0] != mine:
            raise NetLensError("the state belongs to another dream; resume with the image and options of that dream.")
        self.step = state.step
        self._enter(octave, state.parameters[1].to(self.base))
        self.picture = state.parameters[0].to(self.base)
        self.values = list(state.history[:, 0].to(self.base.device))
        for _ in range(self.step):  # the next shifts are those of an uninterrupted dream
            self._shift()

    def _enter(self, octave: int, detail: Tensor) -> None:
        """Start from the image at the size of an octave, with the detail that the smaller octaves have added."""
        self.start = resampled(self.base, self.sizes[octave])
        self.detail = detail
        self.detailed = self.detailed or bool(detail.any())
        self.picture = (self.start + F.interpolate(detail, self.sizes[octave], mode="bilinear")).clamp(0, 1)

    def _shift(self) -> tuple[int, int]:
        jitter = self.settings.jitter
        down, right = (int(shift) for shift in self.generator.integers(-jitter, jitter + 1, 2))
        return down, right


def zoom(
    flat: FlatModel,
    image: Any,
    objective: Objective | str,
    *,
    towards: Any = None,
    progress: bool = True,
    **options: Any,
) -> Render:
    """Dream, magnify the picture a little, dream again, and so on: the frames of a film, for `save_gif`.

    Args:
        flat: The network.
        image: The first image of the film, as in `dream`.
        objective: The objective of each dream, as in `dream`.
        towards: Another image, as in `dream`.
        progress: Whether a terminal shows the progress.
        options: The options of `Zooming`.

    Returns:
        The last picture. Its `frames` are the pictures of the film, and its `history` is that of all dreams.

    Raises:
        NetLensError: An option is wrong, or the objective does not depend on the picture.

    Example:
        >>> from netlens import open_network
        >>> from netlens.world.scene import scene
        >>> small = {"size": 64, "octaves": 1, "steps": 2, "n_frames": 3, "progress": False}
        >>> film = zoom(open_network(), scene(5).image, "stem", **small)
        >>> len(film.frames), film.images.shape, film.history.shape
        (3, torch.Size([1, 3, 64, 64]), torch.Size([6, 1]))
    """
    check_names("a film", options, [o.name for o in options_of(Zooming)])
    settings = Zooming(**options)
    picture = picture_for(flat, image, settings.size)
    of_dream = {o.name: getattr(settings, o.name) for o in options_of(Dreaming)}
    renders: list[Render] = []
    for i in tqdm(range(settings.n_frames), delay=1, disable=None if progress else True, leave=False):
        if renders:
            picture = _magnified(renders[-1].images.to(picture), settings.factor, settings.degrees)
        options_of_frame = {**of_dream, "size": None, "seed": settings.seed + i}
        frame = dream(flat, picture[0], objective, towards=towards, progress=False, **options_of_frame)
        renders.append(replace(frame, frames=(), state=None))  # the states of all dreams would fill the memory
    provenance = renders[0].provenance
    return Render(
        images=renders[-1].images,
        history=torch.cat([r.history for r in renders]),
        seeds=(settings.seed,),
        provenance=replace(provenance, options=asdict(settings)),
        frames=tuple(r.images for r in renders),
        captions=renders[0].captions,
    )


def _objective(flat: FlatModel, objective: Objective | str, towards: Any, base: Tensor) -> Objective:
    checked("the objective of a dream", objective, str | Objective, hint="give the key of a layer, or an objective")
    if towards is None:
        return layer(flat.key(objective)) if isinstance(objective, str) else objective
    if not isinstance(objective, str):
        raise NetLensError("a dream towards an image needs the key of a layer, not an objective.")
    source = towards if not isinstance(towards, Tensor) else FromImage(towards).pictures[0].mul(255).round().byte()
    # the network runs on the other image once, at the size that it expects
    return guide(flat.key(objective), source).settled(flat, base)


def _magnified(picture: Tensor, factor: float, degrees: float) -> Tensor:
    """The middle of a picture (1, C, H, W), magnified and rotated."""
    angle = math.radians(degrees)
    height, width = picture.shape[2:]
    cos, sin = math.cos(angle) / factor, math.sin(angle) / factor
    matrix = picture.new_tensor([[[cos, -sin * height / width, 0], [sin * width / height, cos, 0]]])
    grid = F.affine_grid(matrix, list(picture.shape), align_corners=False)
    return F.grid_sample(picture, grid, "bilinear", "reflection", align_corners=False).clamp(0, 1)


def _provenance(flat: FlatModel, objective: Objective, settings: Dreaming, **more: Any) -> Provenance:
    return Provenance("DeepDream", flat.name, repr(objective), options=asdict(settings) | more)


def _call(callbacks: Sequence[Callback], event: str, climb: _Climb) -> None:
    if callbacks:
        value = climb.values[-1].detach().clone()[None] if climb.values else None
        moment = Moment(climb.step, climb.steps, value, lambda: climb.picture, climb.state)
        for callback in callbacks:
            getattr(callback, event)(moment)
