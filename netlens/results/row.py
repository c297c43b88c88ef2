"""Rows: the pictures of several renders, and photographs, as one render."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from netlens import heatmaps
from netlens.results._provenance import Provenance
from netlens.results._render import Render


def row(*renders: Render, captions: Sequence[str] | None = None) -> Render:
    """One render with the pictures of several renders, resized to the size of the first one.

    Shorter histories end with NaN. If the renders have different objectives or options, the provenance lists all. The
    row has frames if all renders have the same number of frames. It has no state.

    Args:
        renders: The renders, at least one.
        captions: The captions of all pictures; None for those of the renders.
    """
    first = renders[0]
    size = (first.images.shape[2], first.images.shape[3])
    counts = [render.images.shape[1] for render in renders]
    channels = (3 if max(counts) > 2 else 1) + (max(counts) == 4 or 2 in counts)
    images = [_fitted(render.images, size, channels) for render in renders]
    steps = max(len(render.history) for render in renders)
    history = torch.full((steps, sum(map(len, renders))), torch.nan, dtype=torch.float64)
    start = 0
    for render in renders:
        history[: len(render.history), start : start + len(render)] = render.history
        start += len(render)
    texts = [text for render in renders for text in render._captions(None)[0]]
    is_film = len({len(render.frames) for render in renders}) == 1
    moments = zip(*(render.frames for render in renders), strict=True) if is_film else ()
    return Render(
        images=torch.cat(images),
        history=history,
        seeds=tuple(seed for render in renders for seed in render.seeds),
        provenance=_joined([render.provenance for render in renders]),
        frames=tuple(torch.cat([_fitted(frame, size, channels) for frame in moment]) for moment in moments),
        captions=tuple(texts if captions is None else captions),
    )


def photograph(image: Tensor, caption: str, like: Render) -> Render:
    """A render that shows one image (C, H, W) in [0, 1], for a row with the render `like`."""
    origin = replace(like.provenance, method="image", objective=caption, targets=None, target_names=None, options={})
    return Render(image.detach().float().cpu()[None], torch.zeros(0, 1), (0,), origin, captions=(caption,))


def _fitted(images: Tensor, size: tuple[int, int], channels: int) -> Tensor:
    return _with_channels(heatmaps.resize(images, size).clamp(0, 1), channels)


def _with_channels(images: Tensor, channels: int) -> Tensor:
    """(N, channels, H, W): pictures with this number of channels. They get colors or an opacity if they have none."""
    if images.shape[1] == channels:
        return images
    opacity = images[:, -1:] if images.shape[1] in (2, 4) else torch.ones_like(images[:, :1])
    colors = images[:, :-1] if images.shape[1] in (2, 4) else images
    if channels in (1, 3):
        return colors.expand(-1, channels, -1, -1)
    return torch.cat([colors.expand(-1, channels - 1, -1, -1), opacity], 1)


def _joined(origins: Sequence[Provenance]) -> Provenance:
    """The provenance of all pictures of a row."""
    first = origins[0]
    targets = [origin.targets for origin in origins]
    names = [origin.target_names for origin in origins]
    return replace(
        first,
        objective=", ".join(dict.fromkeys(origin.objective for origin in origins)),
        targets=sum((t for t in targets if t is not None), ()) if None not in targets else None,
        target_names=sum((n for n in names if n is not None), ()) if None not in names else None,
        options=first.options
        if all(origin.options == first.options for origin in origins)
        else {"parts": [{"objective": origin.objective, "options": dict(origin.options)} for origin in origins]},
    )
