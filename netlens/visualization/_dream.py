"""DeepDream: change a picture so that it shows more of the patterns that a layer sees in it."""

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
        options: The options of `Dreaming`.

    Returns:
        The picture. Its `history` holds, for each step, the sum of the objective over all positions, divided by the
        number of pixels. Its `frames` are the pictures after each octave.

    Raises:
        NetLensError: An option is wrong, or the objective does not depend on the picture.

    Example:
        >>> from netlens.zoo import open_network
        >>> dream(open_network(), torch.rand(3, 64, 64), "stem", octaves=1, steps=1, progress=False).images.shape
        torch.Size([1, 3, 64, 64])

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
            f"the gradient of {goal!r} of {flat.name} is 0 all over the picture, so the dream did not change it; "
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
    """Dream, magnify the picture a little, dream again, and so on: the frames of a film, for `save_gif`.

    Args:
        flat: The network.
        image: The first image of the film, as in `dream`.
        objective: The objective of each dream, as in `dream`.
        towards: Another image, as in `dream`.
        progress: Whether a terminal shows the progress.
        options: The options of `Zooming`.
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
        renders.append(replace(frame, frames=()))  # the octaves of all frames would fill the memory
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
    """The picture after a step, and the objective before the step."""
    down, right = (int(shift) for shift in generator.integers(-settings.jitter, settings.jitter + 1, 2))
    value, direction = gradient(picture.roll((down, right), (2, 3)))
    moved = picture.add(normalized(direction).roll((-down, -right), (2, 3)), alpha=settings.step / 255)
    # clamped in each step, because the gradient of a picture outside of [0, 1] is of no use
    return moved.clamp_(0, 1), value


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


def _provenance(flat: FlatModel, objective: Objective, settings: Dreaming) -> Provenance:
    return Provenance("DeepDream", flat.name, repr(objective), options=asdict(settings))
