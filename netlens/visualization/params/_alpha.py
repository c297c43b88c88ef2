"""Pictures with a channel for opacity, so that parts without influence can become transparent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.options import check, option
from netlens.visualization.params._base import Param, Size, noise
from netlens.visualization.params._spectrum import falling, to_picture
from netlens.visualization.params._wrapped import Wrapped
from netlens.visualization.params.color import to_image


@dataclass(frozen=True)
class Alpha(Wrapped):
    """A parameterization with one more channel, the last one, for opacity: 0 is transparent, 1 is opaque.

    The network gets such images on random backgrounds (`on_backgrounds`). So parts of the picture that the objective
    does not need can become transparent.

    Mordvintsev et al. 2018, https://distill.pub/2018/differentiable-parameterizations
    """

    param: Param = option(help="The parameterization of the colors, with 1 or 3 channels.")
    _inner: Param = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check(self)
        if isinstance(self.param, Alpha) or self.param.channels not in (1, 3):
            raise NetLensError("alpha can be added once, to pictures of 1 or 3 channels.")
        object.__setattr__(self, "_inner", self.param.with_channels(self.channels + 1))

    @property
    def inner(self) -> Param:
        return self._inner

    @property
    def channels(self) -> int:
        return self.param.channels

    def resized(self, parameters: Sequence[Tensor], size: Size) -> tuple[Alpha, list[Tensor]]:
        inner, resized = self.inner.resized(parameters, size)
        return Alpha(inner.with_channels(self.channels)), resized

    def with_channels(self, channels: int) -> Alpha:
        return Alpha(self.param.with_channels(channels))


def over(images: Tensor, background: Tensor | float) -> Tensor:
    """Images with opacity (N, C + 1, H, W) on a background, as images (N, C, H, W).

    Args:
        images: The images. Their last channel is the opacity, from 0, transparent, to 1, opaque.
        background: A gray level in [0, 1], or pictures that broadcast to (N, C, H, W).

    Example:
        >>> half_black = torch.tensor([0.0, 0.5]).view(1, 2, 1, 1)
        >>> over(half_black, 1.0).item()
        0.5
    """
    colors, opacity = images[:, :-1], images[:, -1:]
    return colors * opacity + background * (1 - opacity)


def on_backgrounds(images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Images with opacity (N, C + 1, H, W) on random backgrounds as smooth as photographs: images (N, C, H, W).

    Args:
        images: The images, of 1 or 3 colors. Their last channel is the opacity, from 0, transparent, to 1, opaque.
        generators: The random numbers of each background: N generators on the CPU.

    Example:
        >>> images = torch.rand(1, 4, 8, 8)
        >>> images[:, 3] = 1  # an opaque image hides the background
        >>> torch.equal(on_backgrounds(images, [torch.Generator()]), images[:, :3])
        True
    """
    height, width = images.shape[2:]
    drawn = torch.stack([noise(generator, images.shape[1] - 1, height, width // 2 + 1, 2) for generator in generators])
    waves = torch.view_as_complex(drawn.to(images)) * falling((height, width), images) / 4
    return over(images, to_image(to_picture(waves, width), decorrelate=True))
