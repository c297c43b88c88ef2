"""Sliding windows: the outputs of a convolution or pool that a change can reach, and the inputs that they read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from netlens.fast.regions._patch import Place


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
        """The number of inputs, with gaps, that one output spans."""
        return self.dilation * (self.kernel - 1) + 1

    def spanned(self, outputs: int) -> int:
        """The number of inputs, with padding, that this number of neighboring outputs spans."""
        return (outputs - 1) * self.stride + self.extent

    def grown(self, size: int, limit: int) -> int:
        """The most outputs that a change of `size` neighboring inputs can reach, if there are `limit` outputs."""
        return min(limit, (size + self.extent - 2) // self.stride + 1)

    def reached(self, starts: Sequence[int], size: int, limit: int) -> tuple[tuple[int, ...], int]:
        """For changes of the inputs start to start + size: the first outputs that they reach, and their number."""
        first = [max(0, -(-(start + self.padding - self.extent + 1) // self.stride)) for start in starts]
        last = [min(limit - 1, (start + size - 1 + self.padding) // self.stride) for start in starts]
        count = max(1, *(b - a + 1 for a, b in zip(first, last, strict=True)))
        return tuple(min(a, limit - count) for a in first), count


@dataclass(frozen=True)
class Sliding:
    """A layer that slides a window over maps: the layer, its two axes, and the number that fills its padding."""

    layer: nn.Module
    axes: tuple[Axis, Axis]
    fill: float

    @classmethod
    def of(cls, layer: nn.Module) -> Sliding | None:
        """The sliding window of a layer; None for a layer of another type, or with other rules at the border."""
        if layer._forward_pre_hooks or layer._forward_hooks:  # hooks may change the weight or the result
            return None
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros" and _runs_as(layer, nn.Conv2d):
            return cls(layer, _axes(layer.kernel_size, layer.stride, _padding(layer), layer.dilation), 0.0)
        if isinstance(layer, nn.MaxPool2d) and not layer.return_indices and _runs_as(layer, nn.MaxPool2d):
            return cls(layer, _axes(layer.kernel_size, layer.stride, layer.padding, layer.dilation), -math.inf)
        if isinstance(layer, nn.AvgPool2d) and _runs_as(layer, nn.AvgPool2d):
            # at the border, an average may be taken over fewer values
            unpadded = layer.count_include_pad or _pair(layer.padding) == (0, 0)
            if unpadded and not layer.ceil_mode:
                return cls(layer, _axes(layer.kernel_size, layer.stride, layer.padding, 1), 0.0)
        return None

    @property
    def pointwise(self) -> bool:
        return all((axis.kernel, axis.stride, axis.padding) == (1, 1, 0) for axis in self.axes)

    def reached(self, place: Place, limit: tuple[int, int]) -> Place:
        """The outputs, in a map of `limit`, that a change at `place` can reach."""
        (top, height), (left, width) = (
            axis.reached(starts, size, most)
            for axis, starts, size, most in zip(self.axes, (place.top, place.left), place.size, limit, strict=True)
        )
        return Place(top, left, (height, width))

    def seen(self, outputs: Place) -> Place:
        """The inputs that these outputs read, in the coordinates of the padded map."""
        vertical, horizontal = self.axes
        return Place(
            tuple(top * vertical.stride for top in outputs.top),
            tuple(left * horizontal.stride for left in outputs.left),
            (vertical.spanned(outputs.size[0]), horizontal.spanned(outputs.size[1])),
        )

    def padded(self, maps: Tensor, outputs: tuple[int, int]) -> Tensor:
        """The maps (n, C, H, W) with just the padding that the window reads."""
        before = [axis.padding for axis in self.axes]
        sizes = [axis.spanned(count) for axis, count in zip(self.axes, outputs, strict=True)]
        after = [size - start - have for size, start, have in zip(sizes, before, maps.shape[2:], strict=True)]
        # where the stride leaves the last rows out, "after" is negative and cuts them off
        return F.pad(maps, (before[1], after[1], before[0], after[0]), value=self.fill)

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
    """Whether a layer, perhaps of a subclass, has the forward of torch's class `kind`."""
    cls = type(layer)
    return cls.forward is kind.forward and getattr(cls, "_conv_forward", None) is getattr(kind, "_conv_forward", None)


def _padding(layer: nn.Conv2d) -> object:
    """The padding before the maps. With "same", the padding after them is the same or one more."""
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
