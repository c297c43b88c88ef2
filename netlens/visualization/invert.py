"""Inversion: the picture that a layer's activation still knows; and its caricature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import Objective, Record, alpha_norm, content, layer, total_variation
from netlens.objectives import caricature as caricature_of
from netlens.objectives.reference import names_of
from netlens.options import checked, option
from netlens.results.render import Render
from netlens.results.row import row
from netlens.visualization.from_noise import FromNoise, taken
from netlens.visualization.optvis import OptVis
from netlens.visualization.params import Param, Pixel
from netlens.visualization.params.base import Sized, made_by
from netlens.visualization.picture import picture_for, seen_by
from netlens.visualization.transforms import Transform
from netlens.visualization.transforms.standard import Chain

HEAVIEST = 10**12  # a weight beyond it leaves nothing of the distance

# alpha and variation. Pixels need the paper's weights (of its deeper layers, here on means over pixels in [0, 1]);
# waves are a prior already, and only a trace of variation keeps them from checkers
_OF_PIXELS, _OF_OTHERS = (10.0, 13.0), (0.0, 0.2)


@dataclass(frozen=True)
class Inverting(FromNoise):
    """The options of an inversion."""

    alpha: float | None = option(
        None, least=0, most=HEAVIEST, help="Weight of the 6-norm; by default 0, and 10 for pixels."
    )
    variation: float | None = option(
        None, least=0, most=HEAVIEST, help="Weight of the total variation; by default 0.2, and 13 for pixels."
    )


@dataclass(frozen=True)
class Caricaturing(FromNoise):
    """The options of a caricature."""

    cosine_power: float = option(1.0, least=0, help="How much the direction of the activation counts.")


def invert(
    flat: FlatModel,
    image: Any,
    layers: str | Sequence[str],
    *,
    transforms: Transform | None = None,
    progress: bool = True,
    **options: Any,
) -> Render:
    """Find, from noise, a picture that a layer cannot tell from `image`; one picture for each layer.

    It minimizes ‖Φ − Φ0‖² / ‖Φ0‖² for activations Φ, plus `alpha` times the mean 6th power of the picture's distance
    from gray, plus `variation` times its total variation (β = 2).

    Args:
        flat: The network.
        image: A path, a PIL image, an array, or a tensor (C, H, W) in [0, 1].
        layers: The key of a layer, or a list of keys.
        transforms: What disturbs the picture; by default nothing.
        progress: Whether to show progress in a terminal.
        options: Those of `Inverting`, and those of `OptVis.render`.

    Returns:
        The pictures. Their `captions` say the layer and the distance that is left; their `history` is the negated loss.

    Mahendran and Vedaldi 2015, https://arxiv.org/abs/1412.0035
    """
    how, options = taken(Inverting, options)
    base = picture_for(flat, image, how.size)
    names = _names(flat, layers)
    start = _param(how.param, base, how.seed)
    defaults = _OF_PIXELS if isinstance(start, Pixel) else _OF_OTHERS
    norm = defaults[0] if how.alpha is None else how.alpha
    rough = defaults[1] if how.variation is None else how.variation
    made = []
    for key in names:
        distance = _settled(flat, content(key, seen_by(flat, layer(key), base)), base)
        objective = -distance
        for weight, penalty in ((norm, alpha_norm()), (rough, total_variation())):
            objective = objective - weight * penalty if weight else objective
        vis = OptVis(flat, objective, Chain() if transforms is None else transforms)
        render = vis.render(start, steps=how.steps, progress=progress, **options)
        left = float(_value(flat, distance, render.images))
        made.append(replace(render, captions=(f"{key} · {left:.3f}",)))
    return made[0] if len(made) == 1 else row(*made)


def caricature(
    flat: FlatModel,
    image: Any,
    layers: str | Sequence[str],
    *,
    transforms: Transform | None = None,
    progress: bool = True,
    **options: Any,
) -> Render:
    """Make pictures that exaggerate what a layer sees in `image`; one picture for each layer.

    Args:
        flat: The network.
        image: A path, a PIL image, an array, or a tensor (C, H, W) in [0, 1].
        layers: The key of a layer, or a list of keys.
        transforms: What disturbs the picture; by default `standard()`.
        progress: Whether to show progress in a terminal.
        options: Those of `Caricaturing`, and those of `OptVis.render`.

    Olah et al. 2018, https://distill.pub/2018/building-blocks/
    """
    how, options = taken(Caricaturing, options)
    base = picture_for(flat, image, how.size)
    names = _names(flat, layers)
    made = []
    for key in names:
        source = seen_by(flat, layer(key), base)
        objective = _settled(flat, caricature_of(key, source, cosine_power=how.cosine_power), base)
        render = OptVis(flat, objective, transforms).render(
            _param(how.param, base, how.seed), steps=how.steps, progress=progress, **options
        )
        made.append(replace(render, captions=(key,)))
    return made[0] if len(made) == 1 else row(*made)


def _names(flat: FlatModel, layers: Any) -> Sequence[str]:
    checked("the choice of layers", layers, str | int | type | Sequence[Any], hint="give a key, or a list of keys")
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
    """The objective with the image's activation read now, and not at each step."""
    return objective.settled(flat, seen_by(flat, objective, base))


def _value(flat: FlatModel, objective: Objective, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        x = seen_by(flat, objective, pictures)
        return objective(Record(flat, flat.record(x, layers=objective.layers)))[0]
