"""Inversion: the picture that a layer's activation still knows; and its caricature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import Objective, Record, alpha_norm, content, layer, total_variation
from netlens.objectives import caricature as caricature_of
from netlens.objectives.reference import names_of
from netlens.results.render import Render
from netlens.results.row import row
from netlens.visualization.options import instance, number
from netlens.visualization.optvis import OptVis, check_options
from netlens.visualization.params import Fourier, Param, Pixel
from netlens.visualization.params.base import Sized, made_by
from netlens.visualization.picture import picture_for, seen_by
from netlens.visualization.transforms import Transform
from netlens.visualization.transforms.standard import Chain

# alpha and variation. Pixels need the paper's weights (of its deeper layers, here on means over pixels in [0, 1]);
# waves are a prior already, and only a trace of variation keeps them from checkers
_OF_PIXELS, _OF_OTHERS = (10.0, 13.0), (0.0, 0.2)


def invert(
    flat: FlatModel,
    image: Any,
    layers: str | Sequence[str],
    *,
    param: type[Sized] | Sized = Fourier,
    size: int | None = None,
    steps: int = 256,
    alpha: float | None = None,
    variation: float | None = None,
    transforms: Transform | None = None,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> Render:
    """Pictures that each of some layers takes for `image`, one per layer, found from noise.

    What is minimized is ‖Φ − Φ0‖² / ‖Φ0‖² for activations Φ, plus `alpha` times the mean 6th power of the picture's
    distance from gray and `variation` times its total variation (β = 2); None takes 10 and 13 with `param=Pixel`,
    which needs them, else 0 and 0.2. image: a path, a PIL image, an array, or a tensor (C, H, W) in [0, 1]. size: of
    the longer side, if not the image's own. transforms: by default none. options: those of `OptVis.render`.

    `captions` say each layer and the distance that is left; `history` is what is minimized, negated.

    Mahendran and Vedaldi 2015, https://arxiv.org/abs/1412.0035
    """
    check_options(options)
    base = picture_for(flat, image, size)
    names = _names(flat, layers)
    start = _param(param, base, seed)
    defaults = _OF_PIXELS if isinstance(start, Pixel) else _OF_OTHERS
    norm = defaults[0] if alpha is None else number("alpha, which weighs a penalty,", alpha, 0, 1e12)
    rough = defaults[1] if variation is None else number("variation, which weighs a penalty,", variation, 0, 1e12)
    made = []
    for key in names:
        distance = _settled(flat, content(key, seen_by(flat, layer(key), base)), base)
        objective = -distance
        for weight, penalty in ((norm, alpha_norm()), (rough, total_variation())):
            objective = objective - weight * penalty if weight else objective
        vis = OptVis(flat, objective, Chain() if transforms is None else transforms)
        render = vis.render(start, steps=steps, progress=progress, **options)
        left = float(_value(flat, distance, render.images))
        made.append(replace(render, captions=(f"{key} · {left:.3f}",)))
    return made[0] if len(made) == 1 else row(*made)


def caricature(
    flat: FlatModel,
    image: Any,
    layers: str | Sequence[str],
    *,
    param: type[Sized] | Sized = Fourier,
    size: int | None = None,
    steps: int = 256,
    cosine_power: float = 1,
    transforms: Transform | None = None,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> Render:
    """Pictures that exaggerate what each of some layers sees in `image`, one per layer; arguments as for `invert`.

    Olah et al. 2018, https://distill.pub/2018/building-blocks/
    """
    cosine_power = number("cosine_power", cosine_power, 0)
    check_options(options)
    base = picture_for(flat, image, size)
    names = _names(flat, layers)
    made = []
    for key in names:
        source = seen_by(flat, layer(key), base)
        objective = _settled(flat, caricature_of(key, source, cosine_power=cosine_power), base)
        render = OptVis(flat, objective, transforms).render(
            _param(param, base, seed), steps=steps, progress=progress, **options
        )
        made.append(replace(render, captions=(key,)))
    return made[0] if len(made) == 1 else row(*made)


def _names(flat: FlatModel, layers: Any) -> Sequence[str]:
    instance("the choice of layers", layers, (str, int, type, Sequence), "a key, or a list of keys")
    names = names_of(layers)
    if not names:
        raise NetLensError("no layer was given; name at least one.")
    flat.keys_of(names)  # a wrong name raises before anybody waits
    return names


def _param(param: type[Sized] | Sized, base: Tensor, seed: int) -> Param:
    """The parameterization, with its options, for one picture of the image's size."""
    _, channels, *extent = base.shape
    about = {"size": tuple(extent), "batch": 1, "channels": channels, "seed": seed}
    return made_by(param, **about)


def _settled(flat: FlatModel, objective: Objective, base: Tensor) -> Objective:
    """With the image's activation read now, rather than at each step."""
    return objective.settled(flat, seen_by(flat, objective, base))


def _value(flat: FlatModel, objective: Objective, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        x = seen_by(flat, objective, pictures)
        return objective(Record(flat, flat.record(x, layers=objective.layers)))[0]
