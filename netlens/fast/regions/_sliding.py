"""Sliding windows of convolutions and pools: the outputs that depend on a change, and the inputs of these outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from netlens.fast.regions._patch import Rectangles


@dataclass(frozen=True)
class Axis:
    """A window that slides along one axis.

    >>> Axis(kernel=3, stride=1, padding=1, dilation=1).reached([4], 2, limit=10)
    ((3,), 4)
    """

    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def extent(self) -> int:
        """The number of inputs from the first to the last that one output reads, including gaps."""
        return self.dilation * (self.kernel - 1) + 1

    def spanned(self, outputs: int) -> int:
        """The number of inputs, including padding, that this number of neighboring outputs read."""
        return (outputs - 1) * self.stride + self.extent

    def grown(self, size: int, limit: int) -> int:
        """The largest number of outputs that depend on `size` neighboring inputs; the layer has `limit` outputs."""
        return min(limit, (size + self.extent - 2) // self.stride + 1)

    def reached(self, starts: Sequence[int], size: int, limit: int) -> tuple[tuple[int, ...], int]:
        """The outputs that depend on `size` inputs from each start: the first output for each, and their number."""
        first_outputs = [max(0, -(-(start + self.padding - self.extent + 1) // self.stride)) for start in starts]
        last_outputs = [min(limit - 1, (start + size - 1 + self.padding) // self.stride) for start in starts]
        count = max(1, *(b - a + 1 for a, b in zip(first_outputs, last_outputs, strict=True)))
        return tuple(min(a, limit - count) for a in first_outputs), count


@dataclass(frozen=True)
class Sliding:
    """A layer that slides a window over maps: the layer, its vertical and horizontal axis, and its padding value."""

    layer: nn.Module
    axes: tuple[Axis, Axis]
    fill: float

    @classmethod
    def of(cls, layer: nn.Module) -> Sliding | None:
        """The sliding window of a layer. None for all other types of layers, and for unusual rules at the border."""
        # hooks may change the weight or the result, so the layer is not known to be a sliding window
        if layer._forward_pre_hooks or layer._forward_hooks:
            return None
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros" and _runs_as(layer, nn.Conv2d):
            return cls(layer, _axes(layer.kernel_size, layer.stride, _padding(layer), layer.dilation), 0.0)
        if isinstance(layer, nn.MaxPool2d) and not layer.return_indices and _runs_as(layer, nn.MaxPool2d):
            return cls(layer, _axes(layer.kernel_size, layer.stride, layer.padding, layer.dilation), -math.inf)
        if isinstance(layer, nn.AvgPool2d) and _runs_as(layer, nn.AvgPool2d):
            # if padding is left out of the average, a window at the border averages fewer values than other windows
            unpadded = layer.count_include_pad or _pair(layer.padding) == (0, 0)
            if unpadded and not layer.ceil_mode:
                return cls(layer, _axes(layer.kernel_size, layer.stride, layer.padding, 1), 0.0)
        return None

    @property
    def pointwise(self) -> bool:
        return all((axis.kernel, axis.stride, axis.padding) == (1, 1, 0) for axis in self.axes)

    def reached(self, rectangles: Rectangles, limit: tuple[int, int]) -> Rectangles:
        """The outputs, in a map of size `limit`, that depend on the inputs in `rectangles`."""
        (top, height), (left, width) = (
            axis.reached(starts, size, most)
            for axis, starts, size, most in zip(
                self.axes, (rectangles.top, rectangles.left), rectangles.size, limit, strict=True
            )
        )
        return Rectangles(top, left, (height, width))

    def inputs_of(self, outputs: Rectangles) -> Rectangles:
        """The inputs that these outputs read, in the coordinates of the padded map."""
        vertical, horizontal = self.axes
        return Rectangles(
            tuple(top * vertical.stride for top in outputs.top),
            tuple(left * horizontal.stride for left in outputs.left),
            (vertical.spanned(outputs.size[0]), horizontal.spanned(outputs.size[1])),
        )

    def padded(self, maps: Tensor, outputs: tuple[int, int]) -> Tensor:
        """The maps (n, C, H, W) with the padding that the windows of `outputs` outputs read, and no more."""
        padding_before = [axis.padding for axis in self.axes]
        sizes = [axis.spanned(count) for axis, count in zip(self.axes, outputs, strict=True)]
        padding_after = [
            size - start - extent for size, start, extent in zip(sizes, padding_before, maps.shape[2:], strict=True)
        ]
        # if no window reads the last rows, the padding after them is negative, which removes them
        return F.pad(maps, (padding_before[1], padding_after[1], padding_before[0], padding_after[0]), value=self.fill)

    def __call__(self, padded: Tensor) -> Tensor:
        """Run the layer on padded maps."""
        layer = self.layer
        if isinstance(layer, nn.Conv2d):
            return F.conv2d(padded, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)
        if isinstance(layer, nn.MaxPool2d):
            return F.max_pool2d(padded, layer.kernel_size, layer.stride, 0, layer.dilation)
        assert isinstance(layer, nn.AvgPool2d)
        return F.avg_pool2d(padded, layer.kernel_size, layer.stride, divisor_override=layer.divisor_override)


def _runs_as(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a layer has the forward of torch's class `kind`. The layer may be of a subclass."""
    cls = type(layer)
    return cls.forward is kind.forward and getattr(cls, "_conv_forward", None) is getattr(kind, "_conv_forward", None)


def _padding(layer: nn.Conv2d) -> object:
    """The padding at the top and left. With "same", the padding at the bottom and right is equal, or larger by 1."""
    if not isinstance(layer.padding, str):
        return layer.padding
    if layer.padding == "valid":
        return 0
    return tuple(gap * (size - 1) // 2 for gap, size in zip(layer.dilation, layer.kernel_size, strict=True))


def _axes(kernel: object, stride: object, padding: object, dilation: object) -> tuple[Axis, Axis]:
    vertical, horizontal = zip(*map(_pair, (kernel, stride, padding, dilation)), strict=True)
    return Axis(*vertical), Axis(*horizontal)


def _pair(value: object) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)  # type: ignore[arg-type, return-value]
