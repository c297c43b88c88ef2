"""Rows: pictures of several renders as one, and a photograph among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from netlens import heatmaps
from netlens.results.provenance import Provenance
from netlens.results.render import Render


def row(*renders: Render, captions: Sequence[str] | None = None) -> Render:
    """The pictures of several renders as one, in the size of the first; histories that are shorter end in NaN.

    Where renders differ in objective or options, the provenance names each. Frames are kept if all have as many;
    states stay behind.
    """
    first = renders[0]
    size = (first.images.shape[2], first.images.shape[3])
    counts = [one.images.shape[1] for one in renders]
    channels = (3 if max(counts) > 2 else 1) + (max(counts) == 4 or 2 in counts)
    images = [_fitted(one.images, size, channels) for one in renders]
    steps = max(len(one.history) for one in renders)
    history = torch.full((steps, sum(map(len, renders))), torch.nan, dtype=torch.float64)
    start = 0
    for one in renders:
        history[: len(one.history), start : start + len(one)] = one.history
        start += len(one)
    own = [one._captions(None)[0] for one in renders]
    alike = len({len(one.frames) for one in renders}) == 1
    moments = zip(*(one.frames for one in renders), strict=True) if alike else ()
    return Render(
        images=torch.cat(images),
        history=history,
        seeds=tuple(seed for one in renders for seed in one.seeds),
        provenance=_joined([one.provenance for one in renders]),
        frames=tuple(torch.cat([_fitted(frame, size, channels) for frame in moment]) for moment in moments),
        captions=tuple(captions) if captions is not None else tuple(text for texts in own for text in texts),
    )


def photograph(image: Tensor, caption: str, like: Render) -> Render:
    """An image (C, H, W) in [0, 1] that nobody made, to stand in a row beside `like`."""
    by = replace(like.provenance, method="image", objective=caption, targets=None, target_names=None, options={})
    return Render(image.detach().float().cpu()[None], torch.zeros(0, 1), (0,), by, captions=(caption,))


def _fitted(images: Tensor, size: tuple[int, int], channels: int) -> Tensor:
    return _with_channels(heatmaps.resize(images, size).clamp(0, 1), channels)


def _with_channels(images: Tensor, channels: int) -> Tensor:
    """Gray pictures in colors, and opaque ones with their opacity, where others have these."""
    if images.shape[1] == channels:
        return images
    opacity = images[:, -1:] if images.shape[1] in (2, 4) else torch.ones_like(images[:, :1])
    colors = images[:, :-1] if images.shape[1] in (2, 4) else images
    if channels in (1, 3):
        return colors.expand(-1, channels, -1, -1)
    return torch.cat([colors.expand(-1, channels - 1, -1, -1), opacity], 1)


def _joined(made_by: Sequence[Provenance]) -> Provenance:
    first = made_by[0]
    targets = [by.targets for by in made_by]
    names = [by.target_names for by in made_by]
    return replace(
        first,
        objective=", ".join(dict.fromkeys(by.objective for by in made_by)),
        targets=sum((t for t in targets if t is not None), ()) if None not in targets else None,
        target_names=sum((n for n in names if n is not None), ()) if None not in names else None,
        options=first.options
        if all(by.options == first.options for by in made_by)
        else {"parts": [{"objective": by.objective, "options": dict(by.options)} for by in made_by]},
    )
