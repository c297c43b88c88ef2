"""One style transfer: its pictures, its losses and its start at each size, and its result."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NetLensError, NetLensWarning
from netlens.flat import FlatModel
from netlens.flat.intake import weight_of
from netlens.objectives import Objective, total_variation
from netlens.options import options_of
from netlens.results import Provenance, Render
from netlens.visualization._judge import channels_of
from netlens.visualization._optvis import described
from netlens.visualization.params import FromImage, Param, colored, resampled
from netlens.visualization.params.color import gray
from netlens.visualization.style._choices import PARAMS, STATISTICS, shares, weighed
from netlens.visualization.style._layers import default_layers
from netlens.visualization.style._losses import Look, content_loss, style_loss
from netlens.visualization.style._options import Region, StyleOptions
from netlens.visualization.style._reading import PictureReader
from netlens.visualization.style._sight import Sight, extent, mask_of, picture, style_side
from netlens.visualization.style.color import recolored, with_chroma_of

COARSEST = 32  # pixels; at every size but the last, the shorter side of each picture has at least this length

FEWEST = 16  # the losses may still rise in the first steps of an optimizer

FLAT = (
    "the content has one color everywhere, so it has no shapes that the picture could keep; the picture shows little "
    "but the style."
)
"""What is said of such a content."""


@dataclass(frozen=True)
class Task:
    """The pictures and layers of a style transfer. Pictures have the full size and the colors of the result."""

    options: StyleOptions
    flat: FlatModel
    original: Tensor  # (1, 3 or 1, H, W): the content with its original colors
    content: Tensor  # (1, C, H, W), with the network's channels
    styles: tuple[Tensor, ...]
    masks: tuple[tuple[Tensor | None, Tensor | None], ...]
    content_layers: dict[str, float]
    style_layers: dict[str, float]

    @classmethod
    def of(
        cls,
        options: StyleOptions,
        flat: FlatModel,
        content: Any,
        styles: Any,
        regions: Region | Sequence[Region] | None,
    ) -> Task:
        """Read and resize the pictures, and choose the layers."""
        style_sources = list(styles) if isinstance(styles, (list, tuple)) else [styles]
        if not style_sources:
            raise NetLensError("no style was given; give at least one picture.")
        channels = channels_of(flat)
        original = picture(content, "the content")
        original = resampled(original, extent(original.shape[2:], options.size, "the content"))
        base = gray(original) if options.color == "luminance" else original
        base = colored(base, channels)
        style_layers, content_layers = options.style_layers, options.content_layers
        if style_layers is None or content_layers is None:
            style_default, content_default = default_layers(flat, Sight(flat)(_patch(base, options.tile)))
            style_layers = style_default if style_layers is None else style_layers
            content_layers = content_default if content_layers is None else content_layers
        styles = [_style(s, i, original, options.color, channels) for i, s in enumerate(style_sources)]
        dtype = torch.float64 if weight_of(flat, torch.empty(0)).dtype == torch.float64 else torch.float32
        converted = base.to(dtype)
        return cls(
            options=options,
            flat=flat,
            original=converted if original is base else original.to(dtype),
            content=converted,
            styles=tuple(style.to(dtype) for style in styles),
            masks=_masks(regions, len(style_sources)),
            content_layers=weighed(flat, content_layers),
            style_layers=weighed(flat, style_layers),
        )

    @property
    def factors(self) -> list[float]:
        """The sizes of the picture, in their order, relative to the full size."""
        shortest = min(side for p in (self.content, *self.sized(1.0)) for side in p.shape[-2:])
        smaller_factors = [0.5**k for k in range(self.options.scales - 1, 0, -1)]
        return [factor for factor in smaller_factors if shortest * factor >= COARSEST] + [1.0]

    def sized(self, factor: float) -> list[Tensor]:
        """The styles for a content at `factor` times the full size."""
        side = style_side(self.content.shape[2:], factor * self.options.style_scale)
        return [resampled(s, extent(s.shape[2:], side, f"style {i}")) for i, s in enumerate(self.styles)]

    def stage(self, factor: float) -> Stage:
        """The stage at `factor` times the full size."""
        options = self.options
        longest = max(self.content.shape[-2:])
        content = resampled(self.content, extent(self.content.shape[2:], round(longest * factor), "the content"))
        styles = self.sized(factor)
        sight = Sight(self.flat, (*self.content_layers, *self.style_layers), options.tile)
        content_input = sight(content)
        weights = shares(options.style_weights, len(styles))
        looks = [Look(sight(s), weight, *masks) for s, weight, masks in zip(styles, weights, self.masks, strict=True)]
        statistic = options.statistic
        statistic = STATISTICS[statistic]() if isinstance(statistic, str) else statistic
        losses = {}
        if options.content_weight:
            losses["content"] = content_loss(self.flat, content_input, self.content_layers, options.loss, options.tile)
        if options.style_weight:
            losses["style"] = style_loss(
                self.flat, content_input, looks, self.style_layers, statistic, options.loss, options.tile
            )
        if options.tv_weight:
            losses["total_variation"] = total_variation()
        return Stage(self, factor, sight, content, losses)

    def result(self, stage: Stage, renders: Sequence[Render]) -> Render:
        """The result: the render of the last stage, with its provenance and, if color="luminance", the chroma."""
        render = renders[-1]
        images, *frames = map(self.in_colors, (render.images, *(frame for r in renders for frame in r.frames)))
        losses = {
            name: {
                "start": stage.value(name, stage.content),
                "end": stage.value(name, render.images.to(stage.content.dtype)),
            }
            for name in stage.losses
        }
        risen = stage.risen(losses)
        if risen:
            warnings.warn(risen, NetLensWarning, stacklevel=3)
        # of the render, what the options become; its steps are those of the last stage
        made_by = {name: value for name, value in render.provenance.options.items() if name != "steps"}
        provenance = self.provenance(made_by | {"losses": losses})
        history = torch.cat([r.history for r in renders])
        diagnostics = {"found_nothing": torch.ones(1, dtype=torch.float64)} if self.is_flat else {}
        return replace(
            render,
            images=images,
            history=history,
            frames=tuple(frames),
            provenance=provenance,
            state=None,
            diagnostics=diagnostics,
        )

    def provenance(self, more: Mapping[str, Any]) -> Provenance:
        """The provenance of a picture: the options, more about them, and the layers."""
        options = {one.name: described(getattr(self.options, one.name)) for one in options_of(StyleOptions)}
        return Provenance(
            method="StyleTransfer",
            network=self.flat.name,
            objective=f"content of {', '.join(self.content_layers)} in the style of {', '.join(self.style_layers)}",
            options=options | dict(more) | {"content_layers": self.content_layers, "style_layers": self.style_layers},
        )

    @property
    def is_flat(self) -> bool:
        """Whether the content has one color everywhere, so that it shows nothing that could be kept."""
        pixels = self.content.flatten(2)
        return bool((pixels == pixels[..., :1]).all())

    def in_colors(self, images: Tensor) -> Tensor:
        """Pictures (1, C, h, w) as the result shows them: with the content's chroma, if only the luminance is made."""
        if self.options.color != "luminance" or self.original.shape[1] != 3:
            return images
        original = resampled(self.original.double(), (images.shape[2], images.shape[3]))
        return with_chroma_of(images.double(), original).to(images).clamp(0, 1)


@dataclass(frozen=True)
class Stage:
    """A style transfer at one size."""

    task: Task
    factor: float
    sight: Sight
    content: Tensor
    losses: dict[str, Objective]

    @property
    def objective(self) -> Objective:
        """The weighted sum of the losses."""
        return sum(self.weights[name] * loss for name, loss in self.losses.items())  # type: ignore[return-value]

    def doubts(self, losses: Mapping[str, Mapping[str, float]]) -> list[str]:
        """What the result is warned of, as texts.

        Args:
            losses: The losses by name, each at the start and at the end, as the provenance of the result has them.
        """
        return [text for text in (FLAT if self.task.is_flat else "", self.risen(losses)) if text]

    def risen(self, losses: Mapping[str, Mapping[str, float]]) -> str:
        """What to say if the content itself is at least as good as the result; else, or after few steps, nothing."""
        start, end = (sum(self.weights[name] * loss[k] for name, loss in losses.items()) for k in ("start", "end"))
        if self.task.options.steps < FEWEST or not end >= start:
            return ""
        text = ", ".join(f"{name} {loss['start']:.3g} → {loss['end']:.3g}" for name, loss in losses.items())
        return (
            f"the losses did not fall: their weighted sum is {end:.3g}, and {start:.3g} for the content ({text}). "
            "The style may be flat, tiny, or that of the content. Else give more steps, a lower lr or content_weight."
        )

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each loss."""
        options = self.task.options
        return {
            "content": options.content_weight,
            "style": options.style_weight,
            "total_variation": options.tv_weight,
        }

    def value(self, name: str, pictures: Tensor) -> float:
        """One of the losses of a picture (1, C, H, W) in [0, 1]."""
        return self.values(pictures, [name])[name]

    def values(self, pictures: Tensor, names: Sequence[str] | None = None) -> dict[str, float]:
        """The losses of a picture (1, C, H, W) in [0, 1], by name, from one run of the network; by default all."""
        names = tuple(self.losses) if names is None else names
        reader = PictureReader(self.task.flat, self.task.options.tile)
        losses = reader.values([self.losses[name] for name in names], self.sight(pictures))
        return dict(zip(names, losses, strict=True))

    def start(self, previous: Tensor | None) -> Param:
        """The parameterization to optimize. It starts at the result of the previous stage, or as the options say."""
        options = self.task.options
        size = (self.content.shape[-2], self.content.shape[-1])
        base = PARAMS[options.param] if isinstance(options.param, str) else options.param
        if previous is None and isinstance(options.start, str) and options.start == "noise":
            param = base() if isinstance(base, type) else base
            return replace(param, size=size, batch=1, channels=self.content.shape[1], seed=options.seed)
        if previous is not None:
            begin = previous
        elif isinstance(options.start, str) and options.start in ("content", "style"):
            begin = self.content if options.start == "content" else self.task.sized(self.factor)[0]
        else:
            begin = colored(picture(options.start, "the start"), self.content.shape[1])
        return FromImage.sharing(resampled(begin, size), base, options.seed)


def _patch(picture: Tensor, tile: int | None) -> Tensor:
    """A picture no larger than a tile, to find out how large the maps of layers are."""
    return picture if tile is None else picture[..., :tile, :tile]


def _style(source: Any, i: int, content: Tensor, color: str, channels: int) -> Tensor:
    style = picture(source, f"style {i}")
    most_channels = max(style.shape[1], content.shape[1])  # content and style need the same channels to match colors
    return colored(recolored(colored(style, most_channels), colored(content, most_channels), color), channels)


def _masks(regions: Any, n: int) -> tuple[tuple[Tensor | None, Tensor | None], ...]:
    if regions is None:
        return ((None, None),) * n
    is_single = isinstance(regions, tuple) and not all(isinstance(pair, (tuple, list)) for pair in regions)
    pairs = [regions] if is_single else list(regions)
    if len(pairs) != n or not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        raise NetLensError(f"{n} style(s) need {n} regions; each is a pair of masks, of the content and of the style.")
    return tuple(
        (_mask(content_mask, "content", i), _mask(style_mask, "style", i))
        for i, (content_mask, style_mask) in enumerate(pairs)
    )


def _mask(mask: Any, side: str, i: int) -> Tensor | None:
    return None if mask is None else mask_of(mask, f"the {side} mask of style {i}")
