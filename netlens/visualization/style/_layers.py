"""The default layers for style and content."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.operations import RECTIFIERS, is_kind
from netlens.objectives import Record

COARSEST = 16  # pixels per position of a style layer; coarser maps are too small to show a texture
CONTENT_COARSEST = 8  # pixels per position of the content layer
STYLE_LAYERS = 5
ROOM = 2  # values of the content layer per value of the picture; a rectifier sets about half of them to 0

Shapes = dict[str, tuple[int, int]]
"""For each layer, from the first to the last: the pixels per position along a side, and the channels."""


def default_layers(flat: FlatModel, look: Tensor) -> tuple[tuple[str, ...], str]:
    """The style layers and the content layer of a network, for an input `look` (1, C, H, W).

    A scale is the number of pixels per position. The style layers are the first activation at each scale, up to 16
    pixels per position: for VGG, relu1_1 to relu5_1. The content layer must hold at least twice as many values as the
    picture, so that it can represent the picture, and have at most 8 pixels per position. Among these layers, it is the
    second one at the coarsest scale: for VGG, relu4_2. A network with one or two scales, such as a transformer, has
    five style layers at equal distances over its depth; the content layer is the middle one.

    Args:
        flat: The network.
        look: The input. Only its shape, type and device count.

    Returns:
        The keys of the style layers, from fine to coarse, and the key of the content layer.

    Raises:
        NotApplicable: No layer has maps over the picture.

    Example:
        >>> from netlens import open_network
        >>> style, content = default_layers(open_network(), torch.zeros(1, 3, 128, 128))
        >>> len(style), style[0], content
        (4, 'stem.2', 'trunk_output.block1.block1-0.f.a.2')

    Gatys et al. 2016, https://arxiv.org/abs/1508.06576
    """
    shapes = _shapes(flat, look)
    if not shapes:
        raise NotApplicable(f"{flat.name} has no layers with maps over the picture, so it cannot measure a style.")
    fine = {key: stride for key, (stride, _) in shapes.items() if stride <= COARSEST}
    scales = list(dict.fromkeys(fine.values()))
    if len(scales) < 3:
        style = _spread(list(fine) or list(shapes), STYLE_LAYERS)
        return style, style[len(style) // 2]
    style_layers = tuple(next(key for key in fine if fine[key] == scale) for scale in scales[:STYLE_LAYERS])
    candidates = {
        key: stride
        for key, (stride, channels) in shapes.items()
        if stride <= CONTENT_COARSEST and channels >= ROOM * look.shape[1] * stride**2
    }
    if not candidates:
        return style_layers, style_layers[0]
    coarsest = [key for key, stride in candidates.items() if stride == max(candidates.values())]
    return style_layers, coarsest[min(1, len(coarsest) - 1)]


def _shapes(flat: FlatModel, look: Tensor) -> Shapes:
    """The stride and the channel count of each rectifier with maps. Without rectifiers, of each layer with maps."""
    keys = [step.key for step in flat.program.steps if not step.hidden]
    live = [step.key for step in flat.program.steps if not step.hidden and is_kind(step.layer, RECTIFIERS)]
    shapes = _maps(flat, look, live)
    return shapes if shapes else _maps(flat, look, keys)


def _maps(flat: FlatModel, look: Tensor, keys: Sequence[str]) -> Shapes:
    shapes = {}
    with torch.inference_mode(False), torch.no_grad():
        record = Record(flat, flat.record(torch.zeros_like(look), layers=list(keys)) if keys else {})
    for key in keys:
        try:
            maps = record.maps(key)
        except NotApplicable:
            continue
        if min(maps.shape[2:]) > 1:
            shapes[key] = round(look.shape[-1] / maps.shape[-1]), maps.shape[1]
    return shapes


def _spread(keys: Sequence[str], n: int) -> tuple[str, ...]:
    count = min(n, len(keys))
    return tuple(keys[round(i * (len(keys) - 1) / max(1, count - 1))] for i in range(count))
