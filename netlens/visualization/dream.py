"""DeepDream: change a picture, octave after octave, into more of what a layer sees in it."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from netlens.errors import NetLensError, NetLensWarning
from netlens.flat import FlatModel
from netlens.flat.modes import differentiating
from netlens.images import MAX_PIXELS
from netlens.objectives import Objective, guide, layer
from netlens.options import check, checked, known, option, options_of
from netlens.results.provenance import Provenance
from netlens.results.render import Render
from netlens.visualization.gradients import normalized
from netlens.visualization.octaves import MOST as MOST_OCTAVES
from netlens.visualization.octaves import octave_sizes
from netlens.visualization.optvis import MOST_STEPS
from netlens.visualization.params import FromImage
from netlens.visualization.params.invertible import resampled
from netlens.visualization.picture import picture_for
from netlens.visualization.tiles import LARGEST, OVERLAP, TILE, Tiled

MOST_FRAMES = 10_000  # of a film


@dataclass(frozen=True)
class Dreaming:
    """The options of a dream.

    Sizes whose shorter side would be under 32 pixels are left out.
    """

    octaves: int = option(4, least=1, most=MOST_OCTAVES, help="Number of sizes to dream at.")
    scale: float = option(1.4, above=1, help="How many times as large each size is as the one before.")
    steps: int = option(10, least=1, most=MOST_STEPS, help="Steps at each size.")
    jitter: int = option(32, least=0, most=MAX_PIXELS, help="Largest shift before each step, in pixels.")
    step: float = option(
        1.5, above=0, most=255, help="How far pixels move on average in a step, in gray levels of 255."
    )
    tile: int | None = option(448, least=32, most=LARGEST, help=TILE)
    overlap: int | None = option(None, least=0, help=OVERLAP)
    size: int | None = option(None, least=1, help="The longer side in pixels; none for the image's own.")
    seed: int = option(0, least=0, help="Seed of the shifts.")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Zooming(Dreaming):
    """The options of a film of dreams; each frame has fewer sizes and steps than a single dream."""

    octaves: int = 2
    steps: int = 4
    n_frames: int = option(48, least=1, most=MOST_FRAMES, help="Number of frames.")
    factor: float = option(1.04, least=1, help="How much nearer each frame is than the one before.")
    degrees: float = option(0.0, help="How far each frame is turned against the one before, in degrees.")


def dream(
    flat: FlatModel,
    image: Any,
    objective: Objective | str,
    *,
    towards: Any = None,
    progress: bool = True,
    **options: Any,
) -> Render:
    """Dream on an image: change it into more of what a layer sees in it, from coarse to fine.

    Detail is carried between octaves: each octave starts at the image of its size plus the detail of smaller ones.

    Args:
        flat: The network.
        image: A path, a PIL image, an array, or a tensor (C, H, W) in [0, 1].
        objective: The key of a layer, whose mean square is raised; or any objective.
        towards: Another image of any kind. The layer's activation then moves towards what is most like it there.
        progress: Whether to show progress in a terminal.
        options: Those of `Dreaming`.

    Returns:
        The picture. Its `history` holds the sum of the objective over all places, per pixel, for each step, and its
        `frames` the picture after each octave.

    Raises:
        NetLensError: A wrong option, or an objective that does not depend on the picture.

    Mordvintsev et al. 2015, https://research.google/blog/inceptionism-going-deeper-into-neural-networks/
    """
    known("a dream", options, [o.name for o in options_of(Dreaming)])
    settings = Dreaming(**options)
    base = picture_for(flat, image, settings.size)
    goal = _objective(flat, objective, towards, base)
    sizes = octave_sizes((base.shape[2], base.shape[3]), settings.octaves, settings.scale)
    generator = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(2,)))
    values: list[Tensor] = []
    frames, alive = [], False
    steps, quiet = len(sizes) * settings.steps, None if progress else True
    with differentiating(), tqdm(total=steps, delay=1, disable=quiet, leave=False) as bar:
        gradient = Tiled(flat, goal, settings.tile, settings.overlap, sizes[-1])
        detail = torch.zeros_like(base[:, :, :1, :1])
        for extent in sizes:
            start = resampled(base, extent)
            picture = (start + F.interpolate(detail, extent, mode="bilinear")).clamp(0, 1)
            for _ in range(settings.steps):
                picture, value = _step(picture, gradient, settings, generator)
                values.append(value)
                bar.update()
            detail = picture - start
            alive = alive or bool(detail.any())
            frames.append(picture.float().cpu())
    if not alive:
        warnings.warn(
            f"the gradient of {goal!r} of {flat.name} is 0 all over the picture, so the dream left it as it was; "
            "choose another layer or image.",
            NetLensWarning,
            stacklevel=2,
        )
    return Render(
        images=frames[-1],
        history=torch.stack(values)[:, None].cpu(),
        seeds=(settings.seed,),
        provenance=_provenance(flat, goal, settings),
        frames=tuple(frames),
        captions=(f"dream of {goal!r}",),
    )


def zoom(
    flat: FlatModel,
    image: Any,
    objective: Objective | str,
    *,
    towards: Any = None,
    progress: bool = True,
    **options: Any,
) -> Render:
    """Dream, magnify the picture a little, and dream again: the frames of a film, for `save_gif`.

    Args:
        flat: The network.
        image: The image that the film begins with, as for `dream`.
        objective: What to dream of, as for `dream`.
        towards: Another image, as for `dream`.
        progress: Whether to show progress in a terminal.
        options: Those of `Zooming`.
    """
    known("a film", options, [o.name for o in options_of(Zooming)])
    settings = Zooming(**options)
    picture = picture_for(flat, image, settings.size)
    of_dream = {o.name: getattr(settings, o.name) for o in options_of(Dreaming)}
    renders: list[Render] = []
    for i in tqdm(range(settings.n_frames), delay=1, disable=None if progress else True, leave=False):
        if renders:
            picture = _magnified(renders[-1].images.to(picture), settings.factor, settings.degrees)
        options_of_frame = {**of_dream, "size": None, "seed": settings.seed + i}
        frame = dream(flat, picture[0], objective, towards=towards, progress=False, **options_of_frame)
        renders.append(replace(frame, frames=()))  # its octaves would fill the memory
    provenance = renders[0].provenance
    return Render(
        images=renders[-1].images,
        history=torch.cat([r.history for r in renders]),
        seeds=(settings.seed,),
        provenance=replace(provenance, options=asdict(settings)),
        frames=tuple(r.images for r in renders),
        captions=renders[0].captions,
    )


def _step(
    picture: Tensor, gradient: Tiled, settings: Dreaming, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """The picture after a step, and the objective before it."""
    down, right = (int(shift) for shift in generator.integers(-settings.jitter, settings.jitter + 1, 2))
    value, direction = gradient(picture.roll((down, right), (2, 3)))
    moved = picture.add(normalized(direction).roll((-down, -right), (2, 3)), alpha=settings.step / 255)
    # within bounds at each step, so that the next gradient is that of a picture which can be shown
    return moved.clamp_(0, 1), value


def _objective(flat: FlatModel, objective: Objective | str, towards: Any, base: Tensor) -> Objective:
    checked("what is dreamed of", objective, str | Objective, hint="give the key of a layer, or an objective")
    if towards is None:
        return layer(flat.key(objective)) if isinstance(objective, str) else objective
    if not isinstance(objective, str):
        raise NetLensError("a dream towards an image is about a layer; give its key instead of an objective.")
    source = towards if not isinstance(towards, Tensor) else FromImage(towards).pictures[0].mul(255).round().byte()
    # read once, at the size that the network expects
    return guide(flat.key(objective), source).settled(flat, base)


def _magnified(picture: Tensor, factor: float, degrees: float) -> Tensor:
    """The middle of a picture (1, C, H, W), magnified and turned."""
    angle = math.radians(degrees)
    height, width = picture.shape[2:]
    cos, sin = math.cos(angle) / factor, math.sin(angle) / factor
    matrix = picture.new_tensor([[[cos, -sin * height / width, 0], [sin * width / height, cos, 0]]])
    grid = F.affine_grid(matrix, list(picture.shape), align_corners=False)
    return F.grid_sample(picture, grid, "bilinear", "reflection", align_corners=False).clamp(0, 1)


def _provenance(flat: FlatModel, objective: Objective, settings: Dreaming) -> Provenance:
    return Provenance("DeepDream", flat.name, repr(objective), options=asdict(settings))
