"""A judge of pictures that are too large to run at once: only one tile is in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.visualization._judge import Judge, channels_of
from netlens.visualization._mosaic import Mosaic, tile_extent
from netlens.visualization.params import on_backgrounds
from netlens.visualization.transforms import Generators, Transform


@dataclass(frozen=True)
class TiledJudge:
    """An objective as a function of pictures in [0, 1], as `Judge` is. The network runs on tiles.

    The value and the gradient are those of the whole picture, up to rounding. The objective must follow from totals
    (`Objective.parts`). First, the totals of all tiles are computed, without gradients. They give the value, and the
    gradient of the value at each total. Then each tile runs again, and adds its part to the gradient at the picture.
    """

    judge: Judge
    mosaic: Mosaic

    @classmethod
    def of(
        cls, flat: FlatModel, objective: Objective, transforms: Transform, extent: tuple[int, int], side: int
    ) -> TiledJudge:
        """The judge for pictures of the size `extent`, in tiles of this side, in pixels."""
        judge = judge_of_large(flat, objective, transforms, extent, side)
        mosaic = Mosaic.of(flat, objective.layers, extent, side, lambda part: judge.record(part, part).values)
        return cls(judge, mosaic)

    @property
    def flat(self) -> FlatModel:
        return self.judge.flat

    @property
    def objective(self) -> Objective:
        return self.judge.objective

    def __call__(
        self, images: Tensor, generators: Generators, rows: Sequence[int] | None = None, redirect: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The objective of each picture, as `Judge` gives it.

        In place of the pictures that the network gets, it returns a tensor (n, 1). Its gradient is the largest gradient
        at these pictures, which takes less memory than the gradient itself.
        """
        if images.shape[1] == channels_of(self.flat) + 1:
            images = on_backgrounds(images, generators)
        shown = self.judge.disturbed(images.view_as(images), generators)
        objective = self.objective if rows is None else self.objective.take(rows)
        strongest = images.new_zeros(len(images), 1).requires_grad_(images.requires_grad)
        values: Tensor = _InTiles.apply(images, shown, strongest, self, objective, redirect)
        return values, strongest

    def prepared(self, images: Tensor) -> TiledJudge:
        """The same judge, with its objective `prepared` for pictures of this shape."""
        return replace(self, judge=self.judge.prepared(images))

    @property
    def reads_picture(self) -> bool:
        """Whether the objective also reads the picture itself, as the total variation does."""
        return not set(self.flat.inputs).isdisjoint(self.flat.keys_of(self.objective.layers))


def judge_of_large(
    flat: FlatModel, objective: Objective, transforms: Transform, extent: tuple[int, int], side: int
) -> Judge:
    """A judge for pictures of the size `extent`. The network runs on a tile to try the size, not on a whole picture.

    Raises:
        NotApplicable: The network cannot run on a tile.
    """
    probe = tile_extent(flat, objective.layers, extent, side)
    judge = Judge.of(flat, objective, transforms, probe)
    if judge.size != probe:
        raise NotApplicable(
            f"{flat.name} takes pictures of {judge.size} pixels only, so it cannot run in tiles; give tile=None."
        )
    return replace(judge, size=extent)


class _InTiles(torch.autograd.Function):
    """The objective of pictures as a function of the pictures and of what the network gets of them."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        shown: Tensor,
        strongest: Tensor,
        judge: TiledJudge,
        objective: Objective,
        redirect: bool,
    ) -> Tensor:
        totals: list[Tensor | None] = []
        for tile in judge.mosaic.tiles:
            record = judge.judge.record(tile.of(images), tile.of(shown), redirect)
            parts = objective.parts(record, tile.places)
            totals = totals or [None] * len(parts)
            totals = [part.added(total) for part, total in zip(parts, totals, strict=True)]
        with torch.enable_grad():
            points = [total.requires_grad_() for total in totals if total is not None]
            values = objective.joined(points)
            ctx.slopes = torch.autograd.grad(values.sum(), points, allow_unused=True, materialize_grads=True)
        ctx.judge, ctx.objective, ctx.redirect = judge, objective, redirect
        ctx.save_for_backward(images, shown)
        return values.detach().to(images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, shown = ctx.saved_tensors
        at_images = torch.zeros_like(images) if ctx.needs_input_grad[0] and ctx.judge.reads_picture else None
        at_shown = torch.zeros_like(shown)
        slopes = [slope * gradient.view(-1, *[1] * (slope.ndim - 1)).to(slope) for slope in ctx.slopes]
        for tile in ctx.judge.mosaic.tiles:
            with torch.enable_grad():
                points = [tile.of(picture).detach().clone().requires_grad_() for picture in (images, shown)]
                record = ctx.judge.judge.record(*points, ctx.redirect)
                parts = ctx.objective.parts(record, tile.places)
                total = torch.stack(
                    [part.slope(slope).to(gradient) for part, slope in zip(parts, slopes, strict=True)]
                ).sum()
            gradients = torch.autograd.grad(total, points, allow_unused=True, materialize_grads=True)
            if at_images is not None:
                tile.of(at_images).add_(gradients[0])
            tile.of(at_shown).add_(gradients[1])
        strongest = torch.stack([torch.maximum(at.amax(), -at.amin()) for at in at_shown])[:, None]
        return at_images, at_shown, strongest, None, None, None
