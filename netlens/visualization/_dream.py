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
from netlens.flat.running import differentiating
from netlens.images import MAX_PIXELS
from netlens.objectives import Objective, guide, layer
from netlens.options import check, checked, known, option, options_of
from netlens.results import Provenance, Render
from netlens.visualization._gradients import normalized
from netlens.visualization._octaves import MOST as MOST_OCTAVES
from netlens.visualization._octaves import octave_sizes
from netlens.visualization._optvis import MOST_STEPS
from netlens.visualization._tiles import LARGEST, OVERLAP, TILE, Tiled
from netlens.visualization.params import FromImage, resampled
from netlens.visualization.picture import picture_for

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
    known("a dream", options, [one.name for one in options_of(Dreaming)])
    how = Dreaming(**options)
    base = picture_for(flat, image, how.size)
    goal = _objective(flat, objective, towards, base)
    sizes = octave_sizes((base.shape[2], base.shape[3]), how.octaves, how.scale)
    generator = np.random.default_rng(np.random.SeedSequence(how.seed, spawn_key=(2,)))
    values: list[Tensor] = []
    frames, alive = [], False
    steps, quiet = len(sizes) * how.steps, None if progress else True
    with differentiating(), tqdm(total=steps, delay=1, disable=quiet, leave=False) as bar:
        gradient = Tiled(flat, goal, how.tile, how.overlap, sizes[-1])
        detail = torch.zeros_like(base[:, :, :1, :1])
        for extent in sizes:
            start = resampled(base, extent)
            picture = (start + F.interpolate(detail, extent, mode="bilinear")).clamp(0, 1)
            for _ in range(how.steps):
                picture, value = _step(picture, gradient, how, generator)
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
        seeds=(how.seed,),
        provenance=_made_by(flat, goal, how),
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
    known("a film", options, [one.name for one in options_of(Zooming)])
    how = Zooming(**options)
    picture = picture_for(flat, image, how.size)
    of_dream = {one.name: getattr(how, one.name) for one in options_of(Dreaming)}
    made: list[Render] = []
    for i in tqdm(range(how.n_frames), delay=1, disable=None if progress else True, leave=False):
        if made:
            picture = _nearer(made[-1].images.to(picture), how.factor, how.degrees)
        own = {**of_dream, "size": None, "seed": how.seed + i}
        frame = dream(flat, picture[0], objective, towards=towards, progress=False, **own)
        made.append(replace(frame, frames=()))  # its octaves would fill the memory
    by = made[0].provenance
    return Render(
        images=made[-1].images,
        history=torch.cat([one.history for one in made]),
        seeds=(how.seed,),
        provenance=replace(by, options=asdict(how)),
        frames=tuple(one.images for one in made),
        captions=made[0].captions,
    )


def _step(picture: Tensor, gradient: Tiled, how: Dreaming, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The picture after a step, and the objective before it."""
    down, right = (int(shift) for shift in generator.integers(-how.jitter, how.jitter + 1, 2))
    value, direction = gradient(picture.roll((down, right), (2, 3)))
    moved = picture.add(normalized(direction).roll((-down, -right), (2, 3)), alpha=how.step / 255)
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


def _nearer(picture: Tensor, factor: float, degrees: float) -> Tensor:
    """The middle of a picture (1, C, H, W), magnified and turned."""
    angle = math.radians(degrees)
    height, width = picture.shape[2:]
    cos, sin = math.cos(angle) / factor, math.sin(angle) / factor
    matrix = picture.new_tensor([[[cos, -sin * height / width, 0], [sin * width / height, cos, 0]]])
    grid = F.affine_grid(matrix, list(picture.shape), align_corners=False)
    return F.grid_sample(picture, grid, "bilinear", "reflection", align_corners=False).clamp(0, 1)


def _made_by(flat: FlatModel, objective: Objective, how: Dreaming) -> Provenance:
    return Provenance("DeepDream", flat.name, repr(objective), options=asdict(how))
