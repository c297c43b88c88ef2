"""Atlas: what a network sees at each position of an image, as pictures of the activation vectors of a layer."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens import heatmaps
from netlens.errors import NetLensError, NonFiniteError, NotApplicable
from netlens.extras import extra
from netlens.flat import FlatModel
from netlens.flat.running import differentiating
from netlens.objectives import Record, direction, layer
from netlens.options import checked, option
from netlens.results import Render
from netlens.results.drawn import Drawn
from netlens.results.row import row
from netlens.silence import silenced
from netlens.visualization._caption import layer_caption
from netlens.visualization._from_noise import FromNoise, split_options
from netlens.visualization._optvis import OptVis
from netlens.visualization.params import made_by
from netlens.visualization.picture import network_input, picture_for

if TYPE_CHECKING:
    from netlens.show import Picture


@dataclass(frozen=True, eq=False)
class Atlas(Drawn):
    """Directions in the activation of a layer on one image, and a picture of each direction.

    Attributes:
        layer: The name of the layer.
        image: The image (C, H, W) in [0, 1].
        directions: The directions (N, C'), each a vector of C' channels.
        weights: The weight of each direction at each position (N, h, w).
        pictures: N pictures, one of each direction.
        error: The norm of the part of the activation that the directions do not explain, divided by its whole norm.
        grouped: Whether the directions are those of groups. If not, there is one for each position.
    """

    layer: str
    image: Tensor = field(repr=False)
    directions: Tensor = field(repr=False)
    weights: Tensor = field(repr=False)
    pictures: Render
    error: float
    grouped: bool

    def show(self) -> Picture:
        """Draw the image and the pictures: in a grid of positions; or, for groups, each picture above its map."""
        from netlens.show import sheet

        if not self.grouped:
            mosaic = self.pictures.grid(self.weights.shape[2])
            height, width = mosaic.shape[1:]
            # the image gets the proportions of the grid, so that each picture lies over the position that it shows
            shown = [heatmaps.resize(self.image[None], (height, width))[0].clamp(0, 1), mosaic]
            return sheet(torch.stack([m.expand(3, -1, -1) for m in shown]), ["image", self.layer])
        height, width = self.pictures.images.shape[2:]
        image = fitted_into(self.image, (height, width)).clamp(0, 1).expand(3, -1, -1)
        # a network with one fixed size has seen a distorted image, so its map may have other proportions
        spread = heatmaps.resize(self.weights[:, None].float(), (self.image.shape[1], self.image.shape[2]))
        maps = torch.stack([fitted_into(m, (height, width), 0.0)[0] for m in spread]).clamp(min=0)
        maps = maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)
        colors = distinct_colors(len(maps))
        tinted_maps = [tinted(image, m, color) for m, color in zip(maps, colors, strict=True)]
        rows = [image, *self.pictures.images, tinted_by_strongest(image, maps, colors), *tinted_maps]
        texts = [
            "image",
            *(self.pictures.captions or ()),
            "strongest",
            *(f"group {i + 1}" for i in range(len(tinted_maps))),
        ]
        return sheet(torch.stack([m.expand(3, -1, -1) for m in rows]), texts, columns=len(maps) + 1)


@dataclass(frozen=True)
class Charting(FromNoise):
    """The options of an atlas.

    Without `groups`, there is a picture of each position, gray where the layer is 0. Maps with more positions than
    `cells` are averaged. With `groups`, the part of the activation above 0 is factorized into this number of
    non-negative factors.
    """

    steps: int = 128
    groups: int | None = option(
        None, least=1, help="How many groups of positions to show instead of a grid of all; needs scikit-learn."
    )
    cells: int = option(7, least=1, help="The largest number of positions along the longer side of the grid.")
    cell_size: int = option(96, least=1, help="Side of each picture, in pixels.")
    cosine_power: float = option(1.0, least=0, help="How much the direction of the activation counts.")
    chunk: int = option(16, least=1, help="How many pictures are made at a time.")


@differentiating()
def activation_atlas(flat: FlatModel, image: Any, key: str, *, progress: bool = True, **options: Any) -> Atlas:
    """Make pictures of what a layer sees at each position of an image; or of a few groups of positions.

    Args:
        flat: The network.
        image: A path, a PIL image, an array, or a tensor (C, H, W) in [0, 1].
        key: The layer, by key, path, glob or index.
        progress: Whether a terminal shows the progress.
        options: Those of `Charting`, and those of `OptVis.render`.

    Raises:
        NotApplicable: The layer has no maps over the image, or its activation is 0 on the image.
        NonFiniteError: The activation holds NaN or Inf.

    Example:
        >>> from netlens import open_network
        >>> from netlens.world.scene import scene
        >>> small = {"cells": 2, "steps": 1, "cell_size": 32, "progress": False}
        >>> atlas = activation_atlas(open_network(), scene(5).image, "trunk_output.block3", **small)
        >>> atlas.directions.shape, atlas.pictures.images.shape
        (torch.Size([4, 160]), torch.Size([4, 3, 32, 32]))

    Olah et al. 2018, https://distill.pub/2018/building-blocks/
    """
    how, options = split_options(Charting, options)
    base = picture_for(flat, image, how.size)
    name, key = key, flat.key(key)
    maps, groups = _maps(flat, key, base), how.groups
    if groups is None:
        maps = _pooled(maps, how.cells)
        height, width = maps.shape[1:]
        directions = maps.flatten(1).T
        weights = torch.eye(height * width, dtype=maps.dtype).view(-1, height, width)
        error, captions = 0.0, [f"{y},{x}" for y in range(height) for x in range(width)]
    else:
        weights, directions, error = factorized(maps, groups, how.seed)
        captions = [f"group {i + 1}" for i in range(groups)]
    alive = (directions != 0).any(1).nonzero().flatten().tolist()
    if not alive:
        raise NotApplicable(f"layer {key!r} of {flat.name} is 0 all over the image; choose another layer.")
    # of length 1, so that positions with a weak activation get clear pictures, too
    units = F.normalize(directions[alive], dim=1)
    renders = []
    for start in range(0, len(units), how.chunk):
        chunk_of_units = units[start : start + how.chunk]
        param_options: dict[str, Any] = {
            "size": how.cell_size,
            "batch": len(chunk_of_units),
            "seed": (how.seed,) * len(chunk_of_units),
        }
        vis = OptVis(flat, direction(key, chunk_of_units, cosine_power=how.cosine_power))
        renders.append(vis.render(made_by(how.param, **param_options), steps=how.steps, progress=progress, **options))
    return Atlas(
        layer_caption(flat, name),
        base[0].float().cpu(),
        directions,
        weights,
        _joined(renders, alive, captions),
        error,
        groups is not None,
    )


def factorized(maps: Tensor, groups: int, seed: int = 0) -> tuple[Tensor, Tensor, float]:
    """Factorize the positive part of maps (C, h, w) into weights (groups, h, w) times directions (groups, C).

    Both factors are at least 0. The groups are in the order of their strength, the strongest first. The third result is
    the norm of the residual, divided by the norm of the positive part.
    """
    with extra("atlas", "groups need scikit-learn", "leave groups out"):
        from sklearn.decomposition import NMF
    groups, (channels, height, width) = checked("the number of groups", groups, int, least=1), maps.shape
    limit = min(channels, height * width)
    if groups > limit:
        raise NetLensError(f"a map of {channels} channels, {height} by {width}, has 1 to {limit} groups, not {groups}.")
    values = maps.detach().cpu().double().clamp(min=0).flatten(1).T
    if not values.any():
        raise NotApplicable("no value of the activation is above 0, so it has no groups; choose another layer.")
    model = NMF(groups, init="nndsvda", random_state=seed, max_iter=1000, tol=1e-4)
    weights, directions = (torch.from_numpy(factor).to(maps.dtype) for factor in _fit(model, values.numpy()))
    residual = values.to(maps.dtype) - weights @ directions
    strength = weights.sum(0) * directions.norm(dim=1)
    order = strength.argsort(descending=True, stable=True)
    shown = weights.T[order].reshape(groups, height, width)
    return shown, directions[order], float(residual.norm() / values.norm())


def _fit(model: Any, values: Any) -> tuple[Any, Any]:
    from sklearn.exceptions import ConvergenceWarning

    with silenced(ConvergenceWarning):  # `error` says how well the fit converged
        return model.fit_transform(values), model.components_


def _maps(flat: FlatModel, key: str, base: Tensor) -> Tensor:
    """The layer's activation over the image, (C, h, w)."""
    with torch.no_grad():
        maps = Record(flat, flat.record(network_input(flat, layer(key), base), layers=key)).maps(key)[0].cpu()
    if maps.shape[1:] == (1, 1):
        raise NotApplicable(f"layer {key!r} of {flat.name} has no positions in the image; choose a layer with maps.")
    if not maps.isfinite().all():
        raise NonFiniteError(f"layer {key!r} of {flat.name} holds NaN or Inf for the image.")
    return maps


def _pooled(maps: Tensor, cells: int) -> Tensor:
    height, width = maps.shape[1:]
    share = min(1.0, cells / max(height, width))
    size = (max(1, round(height * share)), max(1, round(width * share)))
    return F.adaptive_avg_pool2d(maps, size)


def _joined(renders: Sequence[Render], alive: Sequence[int], captions: Sequence[str]) -> Render:
    """The pictures at the indices `alive`; gray pictures at all other indices, where the activation is 0."""
    joined = row(*renders)
    images = joined.images.new_full((len(captions), *joined.images.shape[1:]), 0.5)
    values = joined.history.new_full((len(joined.history), len(captions)), torch.nan)
    images[alive], values[:, alive] = joined.images, joined.history
    return Render(
        images=images,
        history=values,
        seeds=renders[0].seeds[:1] * len(captions),
        provenance=renders[0].provenance,
        captions=tuple(captions),
    )


def fitted_into(image: Tensor, size: tuple[int, int], outside: float = 1.0) -> Tensor:
    """An image (C, h, w), resized in its proportions to fit into `size`; the free space has the value `outside`."""
    channels, height, width = image.shape
    share = min(size[0] / height, size[1] / width)
    inner = (max(1, round(height * share)), max(1, round(width * share)))
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = torch.full((channels, *size), outside)
    canvas[:, top : top + inner[0], left : left + inner[1]] = heatmaps.resize(image[None], inner)[0]
    return canvas


def distinct_colors(n: int) -> Tensor:
    """(n, 3, 1, 1): n colors with equal distances between their hues."""
    return torch.tensor([colorsys.hsv_to_rgb(i / n, 0.85, 0.95) for i in range(n)])[:, :, None, None]


def tinted_by_strongest(image: Tensor, maps: Tensor, colors: Tensor) -> Tensor:
    """The image in gray, tinted at each pixel in the color of its strongest group."""
    masks = F.one_hot(maps.argmax(0), len(maps)).permute(2, 0, 1)[:, None]
    return tinted(image, maps.amax(0), (masks * colors).sum(0))


def tinted(image: Tensor, strength: Tensor, color: Tensor) -> Tensor:
    gray = image.mean(0, keepdim=True).expand(3, -1, -1) * 0.6 + 0.2
    share = 0.7 * strength.clamp(0, 1)
    return (gray * (1 - share) + color * share).clamp(0, 1)
