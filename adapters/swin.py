"""Swin transformers (v1 and v2): window attention in pieces, and maps with channels last."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.flat.adapter import Adapter, register, rewrite
from netlens.flat.layers import Piece
from netlens.preprocessing import IMAGENET

from .attention import linear_rows, product


class _Windows(Piece):
    """Abstract: a layer that cuts maps (N, H, W, C) into windows, or joins windows. The map may have any size."""

    linear = True

    def __init__(self, window: list[int], shift: list[int]) -> None:
        super().__init__()
        self.window = tuple(window)
        self.shift = tuple(shift)

    def padded(self, x: Tensor) -> tuple[int, int]:
        return tuple(math.ceil(size / w) * w for size, w in zip(x.shape[1:3], self.window, strict=True))  # type: ignore[return-value]

    def shifts(self, x: Tensor) -> tuple[int, int]:
        """The shift along each side. It is 0 if a single window covers the side."""
        sides = zip(self.padded(x), self.window, self.shift, strict=True)
        return tuple(0 if w >= size else s for size, w, s in sides)  # type: ignore[return-value]


class Partition(_Windows):
    """Pads and shifts a map (N, H, W, C), and cuts it into windows (N * windows, tokens, C)."""

    def forward(self, x: Tensor) -> Tensor:
        (height, width), (h, w) = self.padded(x), self.window
        shift = self.shifts(x)
        n, channels = x.shape[0], x.shape[3]
        x = F.pad(x, (0, 0, 0, width - x.shape[2], 0, height - x.shape[1]))
        if any(shift):
            x = torch.roll(x, (-shift[0], -shift[1]), (1, 2))
        x = x.view(n, height // h, h, width // w, w, channels)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, h * w, channels)


class Reverse(_Windows):
    """Joins windows to a map with the shape of `x` (N, H, W, C): the inverse of `Partition`."""

    def forward(self, windows: Tensor, x: Tensor) -> Tensor:
        (height, width), (h, w) = self.padded(x), self.window
        shift = self.shifts(x)
        y = windows.view(x.shape[0], height // h, width // w, h, w, -1)
        y = y.permute(0, 1, 3, 2, 4, 5).reshape(x.shape[0], height, width, -1)
        if any(shift):
            y = torch.roll(y, shift, (1, 2))
        return y[:, : x.shape[1], : x.shape[2], :].contiguous()


class Neighbors(_Windows):
    """Scores (N * windows, heads, tokens, tokens), minus 100 for pairs that only the shift puts into one window."""

    def forward(self, scores: Tensor, x: Tensor) -> Tensor:
        (height, width), (h, w) = self.padded(x), self.window
        shift = self.shifts(x)
        if not any(shift):
            return scores
        regions = scores.new_zeros((height, width))
        rows = ((0, -h), (-h, -shift[0]), (-shift[0], None))
        columns = ((0, -w), (-w, -shift[1]), (-shift[1], None))
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                regions[top:bottom, left:right] = 3 * i + j
        regions = regions.view(height // h, h, width // w, w).permute(0, 2, 1, 3).reshape(-1, h * w)
        penalties = (regions[:, None, :] != regions[:, :, None]).to(scores.dtype) * -100.0
        by_window = scores.unflatten(0, (-1, len(regions))) + penalties[None, :, None]
        joined: Tensor = by_window.flatten(0, 1)
        return joined


class WindowAttention(nn.Module):
    """Torchvision's `ShiftedWindowAttention` (v1 and v2) as pieces: query, key, value, scores, softmax, mixed, proj."""

    logit_scale: Tensor
    proj: nn.Linear

    def __init__(self, source: Any, cosine: bool) -> None:
        super().__init__()
        # the weights keep their names, because get_relative_position_bias reads them by name
        self._parameters, self._buffers = source._parameters, source._buffers
        self._modules.update({name: child for name, child in source._modules.items() if name != "qkv"})
        self.window_size, self.num_heads = source.window_size, source.num_heads
        qkv = source.qkv
        size = qkv.weight.shape[1]
        self.query = linear_rows(qkv.weight, qkv.bias, 0, size)
        # v2 ignores the bias of the keys
        self.key = linear_rows(qkv.weight, None if cosine else qkv.bias, size, 2 * size)
        self.value = linear_rows(qkv.weight, qkv.bias, 2 * size, 3 * size)
        window, shift = source.window_size, source.shift_size
        self.partition = Partition(window, shift)
        self.scores = product()
        self.neighbors = Neighbors(window, shift)
        self.softmax = nn.Softmax(-1)
        self.mixed = product()
        self.reverse = Reverse(window, shift)
        self.bias_of = type(source).get_relative_position_bias
        self.cosine = cosine
        self.heads = (source.num_heads, size // source.num_heads)

    def forward(self, x: Tensor) -> Tensor:
        windows = self.partition(x)
        q, k, v = (self._split(linear(windows)) for linear in (self.query, self.key, self.value))
        if self.cosine:
            scores = self.scores(F.normalize(q, dim=-1), F.normalize(k, dim=-1).transpose(-2, -1))
            scores = scores * torch.clamp(self.logit_scale, max=math.log(100.0)).exp()
        else:
            scores = self.scores(q * self.heads[1] ** -0.5, k.transpose(-2, -1))
        scores = self.neighbors(scores + self.bias_of(self), x)
        mixed = self.mixed(self.softmax(scores), v).transpose(1, 2).flatten(2)
        output: Tensor = self.reverse(self.proj(mixed), x)
        return output

    def _split(self, x: Tensor) -> Tensor:
        by_head: Tensor = x.unflatten(-1, self.heads).transpose(1, 2)
        return by_head


@rewrite("torchvision.models.swin_transformer.ShiftedWindowAttention")
def window_attention(module: nn.Module) -> nn.Module:
    return WindowAttention(module, cosine=False)


@rewrite("torchvision.models.swin_transformer.ShiftedWindowAttentionV2")
def window_attention_v2(module: nn.Module) -> nn.Module:
    return WindowAttention(module, cosine=True)


@register("torchvision.models.swin_transformer.SwinTransformer")
def swin(network: nn.Module) -> Adapter:
    windows: Any = (m.window_size for m in network.modules() if hasattr(m, "window_size"))
    window = next(windows, (7, 7))[0]
    size = 32 * window  # windows of 7 belong to images of 224, windows of 8 to 256
    preprocessing = replace(IMAGENET, size=(size, size), resize=size + 8, interpolation="bicubic")
    return Adapter(preprocessing=preprocessing)
