"""Parameterizations: from tensors that are optimized to pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.images import MAX_PIXELS
from netlens.options import check, checked, option
from netlens.visualization.params.color import Squash, to_image

Size = int | tuple[int, int]

P = TypeVar("P", bound="Sized")


class Param(ABC):
    """Abstract: a parameterization computes a batch of pictures from tensors. It holds options, but not the tensors."""

    @property
    @abstractmethod
    def extent(self) -> tuple[int, int]:
        """Height and width of the pictures."""

    @property
    @abstractmethod
    def batch(self) -> int:
        """The number of pictures."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """The number of color channels that a network gets; 1 for gray."""

    @property
    @abstractmethod
    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture."""

    @property
    @abstractmethod
    def decorrelate(self) -> bool:
        """Whether the channels of `values` vary independently in photographs, unlike red, green and blue."""

    @property
    @abstractmethod
    def squash(self) -> Squash:
        """How the colors of `values` become levels from 0 to 1."""

    @property
    def shared(self) -> bool:
        """Whether a picture depends on the tensors of other pictures of the batch."""
        return False

    def take(self, rows: range) -> Param:
        """The parameterization of these pictures alone. It is called only if pictures are not `shared`."""
        return self

    @abstractmethod
    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """The leaf tensors to optimize. Their first dimension is the batch; picture i depends only on seed i."""

    @abstractmethod
    def values(self, parameters: Sequence[Tensor]) -> Tensor:
        """(N, C, H, W): the colors of the pictures as unbounded numbers; 0 is mid gray."""

    @abstractmethod
    def resized(self, parameters: Sequence[Tensor], size: Size) -> tuple[Param, list[Tensor]]:
        """The same pictures at another size, with new leaf tensors to optimize."""

    @abstractmethod
    def with_channels(self, channels: int) -> Param:
        """The same options with another number of channels."""

    def image(self, parameters: Sequence[Tensor]) -> Tensor:
        """(N, C, H, W) in [0, 1]: the pictures of these parameters. They are differentiable."""
        return to_image(self.values(parameters), self.decorrelate, self.squash)


@dataclass(frozen=True)
class Sized(Param):
    """Abstract: a parameterization whose options include the size and the number of pictures.

    Picture i of a batch equals the single picture with the seed of picture i. If one seed is given, picture i has the
    seed + i.
    """

    size: Size = option(224, least=1, help="A side in pixels, or height and width.")
    batch: int = option(1, least=1, help="Number of pictures.")
    channels: int = option(3, least=1, help="Number of color channels: 3, or 1 for a gray network.")
    seed: int | Sequence[int] = option(0, least=0, help="The seed of each picture, or of the first one.")
    decorrelate: bool = option(True, help="Whether to optimize colors that vary independently in photographs.")
    squash: Squash = option(
        "sigmoid", help="How numbers become levels: by a sigmoid, or by a sine, which also moves black and white."
    )

    def __post_init__(self) -> None:
        check(self)
        extent_of(self.size)
        if len(self.seeds) != self.batch:
            raise NetLensError(f"there are {len(self.seeds)} seeds for a batch of {self.batch}; give one for each.")

    @property
    def extent(self) -> tuple[int, int]:
        return extent_of(self.size)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.seed) if isinstance(self.seed, Sequence) else tuple(range(self.seed, self.seed + self.batch))

    def with_channels(self: P, channels: int) -> P:
        return replace(self, channels=channels)

    def drawn(
        self,
        draw: Callable[[torch.Generator], Sequence[Tensor]],
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> list[Tensor]:
        """Leaf tensors for a batch. `draw` returns the tensors of one picture, from the generator of this picture."""
        if dtype not in (torch.float32, torch.float64):
            raise NetLensError(
                f"pictures are optimized in float32 or float64, not {dtype}; convert the finished image."
            )
        pictures = [draw(_generator(seed)) for seed in self.seeds]
        return [leaf(torch.stack(per_picture).to(device, dtype)) for per_picture in zip(*pictures, strict=True)]


def made_by(param: Any, **options: Any) -> Sized:
    """A parameterization with these options, made from a class or from an instance with other options."""
    if isinstance(param, type) and issubclass(param, Sized):
        return param(**options)
    if isinstance(param, Sized):
        return replace(param, **options)
    if isinstance(param, Param):
        raise NetLensError(f"{type(param).__name__} has a size of its own; give it to OptVis(...).render instead.")
    sized: Sized = checked("param", param, type[Sized] | Sized, hint="give one such as Fourier, or one with options")
    return sized


def noise(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers in float64, so that the picture is the same in every precision."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def leaf(tensor: Tensor) -> Tensor:
    """A leaf tensor that requires gradients, with the numbers of another tensor."""
    # a tensor that is made under inference_mode cannot be optimized
    with torch.inference_mode(False):
        return tensor.detach().clone().requires_grad_()


def extent_of(size: Size) -> tuple[int, int]:
    """The height and width of a size. One number is the side of a square."""
    sides = checked("a size", size, Size, least=1)
    height, width = (sides, sides) if isinstance(sides, int) else sides
    if height * width > MAX_PIXELS:
        raise NetLensError(f"a picture of {height} × {width} has over {MAX_PIXELS:,} pixels; give a smaller size.")
    return height, width


def _generator(seed: int) -> torch.Generator:
    # a separate stream: another generator with the same seed gives other numbers
    state = np.random.SeedSequence(seed, spawn_key=(0,)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
