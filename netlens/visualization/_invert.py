"""Inversion: a picture that gives a layer the same activation as an image. And caricatures of an image."""

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
from netlens.objectives.layers import names_of
from netlens.options import checked, option
from netlens.results import Render
from netlens.results.row import row
from netlens.visualization._from_noise import FromNoise, split_options
from netlens.visualization._optvis import OptVis
from netlens.visualization.params import Param, Pixel, Sized, made_by
from netlens.visualization.picture import network_input, picture_for
from netlens.visualization.transforms import Chain, Transform

HEAVIEST = 10**12  # with a larger weight, the distance would be lost in rounding

# (alpha, variation). For pixels: the weights of the paper at deep layers, converted to means over pixels in [0, 1].
# The other parameterizations, such as waves, favor natural pictures by themselves; a small weight of the variation
# prevents checkerboard patterns
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

    cosine_power: float = option(1.0, least=0, help="Power of the cosine; a higher power favors the direction.")


def invert(
    flat: FlatModel,
    image: Any,
    layers: str | Sequence[str],
    *,
    transforms: Transform | None = None,
    progress: bool = True,
    **options: Any,
) -> Render:
    """Find, from noise, a picture whose activation in a layer is that of `image`; one picture for each layer.

    It minimizes ‖Φ − Φ0‖² / ‖Φ0‖², plus `alpha` times the mean 6th power of the picture's distance from gray, plus
    `variation` times the total variation of the picture (β = 2). Φ and Φ0 are the activations of the picture and of
    `image`.

    Args:
        flat: The network.
        image: A path, a PIL image, an array, or a tensor (C, H, W) in [0, 1].
        layers: The key of a layer, or a list of keys.
        transforms: The disturbances of the picture; by default none.
        progress: Whether a terminal shows the progress.
        options: The options of `Inverting` and of `OptVis.render`.

    Returns:
        The pictures. A caption holds the layer and the final distance. The `history` is minus the loss.

    Raises:
        NetLensError: No layer is given, or an option is wrong.
        LayerNotFound: The network has no such layer.

    Example:
        >>> from netlens import open_network
        >>> from netlens.world.scene import scene
        >>> inversion = invert(open_network(), scene(5).image, "stem", size=64, steps=4, progress=False)
        >>> inversion.images.shape, bool(inversion.history[-1] > inversion.history[0])
        (torch.Size([1, 3, 64, 64]), True)

    Mahendran and Vedaldi 2015, https://arxiv.org/abs/1412.0035
    """
    settings, options = split_options(Inverting, options)
    base = picture_for(flat, image, settings.size)
    names = _names(flat, layers)
    start = _param(settings.param, base, settings.seed)
    defaults = _OF_PIXELS if isinstance(start, Pixel) else _OF_OTHERS
    norm = defaults[0] if settings.alpha is None else settings.alpha
    rough = defaults[1] if settings.variation is None else settings.variation
    renders = []
    for key in names:
        distance = _settled(flat, content(key, network_input(flat, layer(key), base)), base)
        objective = -distance
        for weight, penalty in ((norm, alpha_norm()), (rough, total_variation())):
            objective = objective - weight * penalty if weight else objective
        vis = OptVis(flat, objective, Chain() if transforms is None else transforms)
        render = vis.render(start, steps=settings.steps, progress=progress, **options)
        distance_left = float(_value(flat, distance, render.images))
        renders.append(replace(render, captions=(f"{key} · {distance_left:.3f}",)))
    return renders[0] if len(renders) == 1 else row(*renders)


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

    The objective is `objectives.caricature`.

    Args:
        flat: The network.
        image: A path, a PIL image, an array, or a tensor (C, H, W) in [0, 1].
        layers: The key of a layer, or a list of keys.
        transforms: The disturbances of the picture; by default `standard()`.
        progress: Whether a terminal shows the progress.
        options: The options of `Caricaturing` and of `OptVis.render`.

    Raises:
        NetLensError: No layer is given, or an option is wrong.
        LayerNotFound: The network has no such layer.

    Example:
        >>> from netlens import open_network
        >>> from netlens.world.scene import scene
        >>> small = {"size": 64, "steps": 2, "progress": False}
        >>> drawings = caricature(open_network(), scene(5).image, ["stem", "trunk_output.block2"], **small)
        >>> drawings.images.shape, drawings.captions
        (torch.Size([2, 3, 64, 64]), ('stem', 'trunk_output.block2'))

    Olah et al. 2018, https://distill.pub/2018/building-blocks/
    """
    settings, options = split_options(Caricaturing, options)
    base = picture_for(flat, image, settings.size)
    names = _names(flat, layers)
    renders = []
    for key in names:
        source = network_input(flat, layer(key), base)
        objective = _settled(flat, caricature_of(key, source, cosine_power=settings.cosine_power), base)
        render = OptVis(flat, objective, transforms).render(
            _param(settings.param, base, settings.seed), steps=settings.steps, progress=progress, **options
        )
        renders.append(replace(render, captions=(key,)))
    return renders[0] if len(renders) == 1 else row(*renders)


def _names(flat: FlatModel, layers: Any) -> Sequence[str]:
    checked("the choice of layers", layers, str | int | type | Sequence[Any], hint="give a key, or a list of keys")
    names = names_of(layers)
    if not names:
        raise NetLensError("no layer was given; name at least one.")
    flat.keys_of(names)  # a wrong name raises here, and not after a long run
    return names


def _param(param: type[Sized] | Sized, base: Tensor, seed: int) -> Param:
    """The parameterization for one picture of the image's size, with all other options unchanged."""
    _, channels, *extent = base.shape
    options = {"size": tuple(extent), "batch": 1, "channels": channels, "seed": seed}
    return made_by(param, **options)


def _settled(flat: FlatModel, objective: Objective, base: Tensor) -> Objective:
    """The settled objective, which reads the activation of the image once, and not in each step."""
    return objective.settled(flat, network_input(flat, objective, base))


def _value(flat: FlatModel, objective: Objective, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        x = network_input(flat, objective, pictures)
        return objective(Record(flat, flat.record(x, layers=objective.layers)))[0]
