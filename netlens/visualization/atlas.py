"""Atlas: what a network sees at each place of one image, as pictures of the directions of a layer's activation."""

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
from netlens.flat import FlatModel
from netlens.flat.modes import differentiating
from netlens.objectives import Record, direction, layer
from netlens.options import checked, option
from netlens.results.render import Render
from netlens.results.row import row
from netlens.silence import silenced
from netlens.visualization.caption import called
from netlens.visualization.drawn import Drawn
from netlens.visualization.from_noise import FromNoise, taken
from netlens.visualization.optvis import OptVis
from netlens.visualization.params.base import made_by
from netlens.visualization.picture import picture_for, seen_by

if TYPE_CHECKING:
    from netlens.show import Picture


@dataclass(frozen=True, eq=False)
class Atlas(Drawn):
    """Directions that a layer's activation has over one image, and a picture of each.

    layer: its name. image: (C, H, W) in [0, 1]. directions: (N, C'). weights: (N, h, w), how much of each direction is
    at each position. pictures: N of them. error: the share of the activation's norm that the directions leave out.
    grouped: whether they are groups, rather than one for each place.
    """

    layer: str
    image: Tensor = field(repr=False)
    directions: Tensor = field(repr=False)
    weights: Tensor = field(repr=False)
    pictures: Render
    error: float
    grouped: bool

    def show(self) -> Picture:
        """Draw the image and small multiples: the grid of pictures as the places lie; or each group above its map."""
        from netlens.show import sheet

        if not self.grouped:
            mosaic = self.pictures.grid(self.weights.shape[2])
            height, width = mosaic.shape[1:]
            # in the proportions of the grid, so that each place lies where its picture does
            shown = [heatmaps.resize(self.image[None], (height, width))[0].clamp(0, 1), mosaic]
            return sheet(torch.stack([one.expand(3, -1, -1) for one in shown]), ["image", self.layer])
        height, width = self.pictures.images.shape[2:]
        whole = _laid(self.image, (height, width)).clamp(0, 1).expand(3, -1, -1)
        # a network of one size saw the image squeezed, so its map may have other proportions
        spread = heatmaps.resize(self.weights[:, None].float(), (self.image.shape[1], self.image.shape[2]))
        maps = torch.stack([_laid(one, (height, width), 0.0)[0] for one in spread]).clamp(min=0)
        maps = maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)
        colors = _colors(len(maps))
        where = [_tinted(whole, one, color) for one, color in zip(maps, colors, strict=True)]
        rows = [whole, *self.pictures.images, _strongest(whole, maps, colors), *where]
        texts = ["image", *(self.pictures.captions or ()), "strongest", *(f"group {i + 1}" for i in range(len(where)))]
        return sheet(torch.stack([one.expand(3, -1, -1) for one in rows]), texts, columns=len(maps) + 1)


@dataclass(frozen=True)
class Charting(FromNoise):
    """The options of an atlas.

    Without `groups`, there is a picture of each place, gray where the layer is 0. Maps with more places than `cells`
    are averaged. With `groups`, the part of the activation above 0 is factorized into so many non-negative factors.
    """

    steps: int = 128
    groups: int | None = option(
        None, least=1, help="So many kinds of place instead of a grid of all places; needs scikit-learn."
    )
    cells: int = option(7, least=1, help="Places along the longer side of the grid, at most.")
    cell_size: int = option(96, least=1, help="Side of each picture, in pixels.")
    cosine_power: float = option(1.0, least=0, help="How much the direction of the activation counts.")
    chunk: int = option(16, least=1, help="How many pictures are made at a time.")


@differentiating()
def activation_atlas(flat: FlatModel, image: Any, key: str, *, progress: bool = True, **options: Any) -> Atlas:
    """What a layer sees at each place of an image; or in how many kinds of place, by factorizing its activation.

    Args:
        flat: The network.
        image: A path, a PIL image, an array, or a tensor (C, H, W) in [0, 1].
        key: A layer with maps.
        progress: Whether to show progress in a terminal.
        options: Those of `Charting`, and those of `OptVis.render`.

    Raises:
        NotApplicable: The layer has no places, or is 0 all over the image.

    Olah et al. 2018, https://distill.pub/2018/building-blocks/
    """
    how, options = taken(Charting, options)
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
    # of length one, so that a faint place is drawn as clearly as a bright one
    units = F.normalize(directions[alive], dim=1)
    parts = []
    for start in range(0, len(units), how.chunk):
        own = units[start : start + how.chunk]
        about: dict[str, Any] = {"size": how.cell_size, "batch": len(own), "seed": (how.seed,) * len(own)}
        vis = OptVis(flat, direction(key, own, cosine_power=how.cosine_power))
        parts.append(vis.render(made_by(how.param, **about), steps=how.steps, progress=progress, **options))
    return Atlas(
        called(flat, name),
        base[0].float().cpu(),
        directions,
        weights,
        _together(parts, alive, captions),
        error,
        groups is not None,
    )


def factorized(maps: Tensor, groups: int, seed: int = 0) -> tuple[Tensor, Tensor, float]:
    """Maps (C, h, w) as so many weights (groups, h, w) times directions (groups, C), neither below 0.

    Also the share of the norm of the maps above 0 that is left out. The first group weighs most.
    """
    try:
        from sklearn.decomposition import NMF
    except ImportError:
        raise NetLensError("groups need scikit-learn: pip install netlens[atlas], or leave groups out.") from None
    groups, (channels, height, width) = checked("the number of groups", groups, int, least=1), maps.shape
    limit = min(channels, height * width)
    if groups > limit:
        raise NetLensError(f"a map of {channels} channels, {height} by {width}, has 1 to {limit} groups, not {groups}.")
    values = maps.detach().cpu().double().clamp(min=0).flatten(1).T
    if not values.any():
        raise NotApplicable("nothing of the activation is above 0, so it has no groups; choose another layer.")
    model = NMF(groups, init="nndsvda", random_state=seed, max_iter=1000, tol=1e-4)
    weights, directions = (torch.from_numpy(part).to(maps.dtype) for part in _fitted(model, values.numpy()))
    left = values.to(maps.dtype) - weights @ directions
    strength = weights.sum(0) * directions.norm(dim=1)
    order = strength.argsort(descending=True, stable=True)
    shown = weights.T[order].reshape(groups, height, width)
    return shown, directions[order], float(left.norm() / values.norm())


def _fitted(model: Any, values: Any) -> tuple[Any, Any]:
    from sklearn.exceptions import ConvergenceWarning

    with silenced(ConvergenceWarning):  # `error` says how well it converged
        return model.fit_transform(values), model.components_


def _maps(flat: FlatModel, key: str, base: Tensor) -> Tensor:
    """The layer's activation over the image, (C, h, w)."""
    with torch.no_grad():
        maps = Record(flat, flat.record(seen_by(flat, layer(key), base), layers=key)).maps(key)[0].cpu()
    if maps.shape[1:] == (1, 1):
        raise NotApplicable(f"layer {key!r} of {flat.name} has no places in the image; choose one with maps.")
    if not maps.isfinite().all():
        raise NonFiniteError(f"layer {key!r} of {flat.name} holds NaN or Inf for the image.")
    return maps


def _pooled(maps: Tensor, cells: int) -> Tensor:
    height, width = maps.shape[1:]
    share = min(1.0, cells / max(height, width))
    size = (max(1, round(height * share)), max(1, round(width * share)))
    return F.adaptive_avg_pool2d(maps, size)


def _together(parts: Sequence[Render], alive: Sequence[int], captions: Sequence[str]) -> Render:
    """The pictures of what is alive, in their places; gray where the layer sees nothing."""
    made = row(*parts)
    images = made.images.new_full((len(captions), *made.images.shape[1:]), 0.5)
    values = made.history.new_full((len(made.history), len(captions)), torch.nan)
    images[alive], values[:, alive] = made.images, made.history
    return Render(
        images=images,
        history=values,
        seeds=parts[0].seeds[:1] * len(captions),
        provenance=parts[0].provenance,
        captions=tuple(captions),
    )


def _laid(image: Tensor, size: tuple[int, int], outside: float = 1.0) -> Tensor:
    """An image (C, h, w) as large as fits into `size` without a change of proportions, white outside."""
    channels, height, width = image.shape
    share = min(size[0] / height, size[1] / width)
    inner = (max(1, round(height * share)), max(1, round(width * share)))
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = torch.full((channels, *size), outside)
    canvas[:, top : top + inner[0], left : left + inner[1]] = heatmaps.resize(image[None], inner)[0]
    return canvas


def _colors(n: int) -> Tensor:
    """(n, 3, 1, 1): as unlike each other as n hues are."""
    return torch.tensor([colorsys.hsv_to_rgb(i / n, 0.85, 0.95) for i in range(n)])[:, :, None, None]


def _strongest(image: Tensor, maps: Tensor, colors: Tensor) -> Tensor:
    """The image in gray, tinted in the color of the strongest group at each place."""
    which = F.one_hot(maps.argmax(0), len(maps)).permute(2, 0, 1)[:, None]
    return _tinted(image, maps.amax(0), (which * colors).sum(0))


def _tinted(image: Tensor, strength: Tensor, color: Tensor) -> Tensor:
    gray = image.mean(0, keepdim=True).expand(3, -1, -1) * 0.6 + 0.2
    share = 0.7 * strength.clamp(0, 1)
    return (gray * (1 - share) + color * share).clamp(0, 1)
