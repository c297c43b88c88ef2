"""Parameterizations: tensors to optimize, and the picture that they make."""

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
from netlens.visualization.params.color import to_image

Size = int | tuple[int, int]

P = TypeVar("P", bound="Sized")


class Param(ABC):
    """Abstract: makes a batch of pictures from tensors that can be optimized. It holds options, and not the tensors."""

    @property
    @abstractmethod
    def extent(self) -> tuple[int, int]:
        """Height and width of the pictures."""

    @property
    @abstractmethod
    def batch(self) -> int:
        """How many pictures `start` begins."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """The number of color channels that a network sees; 1 for gray."""

    @property
    @abstractmethod
    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture."""

    @property
    @abstractmethod
    def decorrelate(self) -> bool:
        """Whether `values` are colors that vary independently in photographs, rather than red, green and blue."""

    @property
    def shared(self) -> bool:
        """Whether a picture depends on the tensors of other pictures of the batch."""
        return False

    def take(self, rows: range) -> Param:
        """The param of these pictures alone; only if nothing is `shared`."""
        return self

    @abstractmethod
    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """The leaf tensors to optimize, whose first dimension is the batch; picture i depends on seed i alone."""

    @abstractmethod
    def values(self, parameters: Sequence[Tensor]) -> Tensor:
        """(N, C, H, W): the unbounded colors of the pictures, 0 for mid gray."""

    @abstractmethod
    def resized(self, parameters: Sequence[Tensor], size: Size) -> tuple[Param, list[Tensor]]:
        """The same pictures at another size, with new leaf tensors to optimize."""

    @abstractmethod
    def with_channels(self, channels: int) -> Param:
        """The same options with another number of channels."""

    def image(self, parameters: Sequence[Tensor]) -> Tensor:
        """(N, C, H, W) in [0, 1], differentiable: the pictures that the parameters make."""
        return to_image(self.values(parameters), self.decorrelate)


@dataclass(frozen=True)
class Sized(Param):
    """Abstract: a parameterization with the size and number of pictures as options.

    Picture i of a batch is the single picture of its seed: of one seed, the pictures count upwards.
    """

    size: Size = option(224, least=1, help="A side in pixels, or height and width, odd or even.")
    batch: int = option(1, least=1, help="How many pictures.")
    channels: int = option(3, least=1, help="Colors of the pictures: 3, or 1 for a gray network.")
    seed: int | Sequence[int] = option(0, least=0, help="The seed of each picture, or of the first one.")
    decorrelate: bool = option(True, help="Whether to optimize colors that vary independently in photographs.")

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
        """Leaf tensors: what `draw` gives for each picture, from the picture's own generator, stacked."""
        if dtype not in (torch.float32, torch.float64):
            raise NetLensError(
                f"pictures are optimized in float32 or float64, not {dtype}; convert the finished image."
            )
        pictures = [draw(_generator(seed)) for seed in self.seeds]
        return [leaf(torch.stack(parts).to(device, dtype)) for parts in zip(*pictures, strict=True)]


def made_by(param: Any, **about: Any) -> Sized:
    """Make a parameterization with these options, from a class or from an instance."""
    if isinstance(param, type) and issubclass(param, Sized):
        return param(**about)
    if isinstance(param, Sized):
        return replace(param, **about)
    if isinstance(param, Param):
        raise NetLensError(f"{type(param).__name__} knows what it is made of; give it to OptVis(...).render instead.")
    sized: Sized = checked("param", param, type[Sized] | Sized, hint="give one such as Fourier, or one with options")
    return sized


def noise(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers, in float64, so that every precision starts from the same picture."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def leaf(tensor: Tensor) -> Tensor:
    """A leaf tensor with the same numbers, which records gradients."""
    # a tensor made under inference_mode could not be optimized
    with torch.inference_mode(False):
        return tensor.detach().clone().requires_grad_()


def extent_of(size: Size) -> tuple[int, int]:
    """Height and width of a size, which may be one side of a square."""
    sides = checked("a size", size, Size, least=1)
    height, width = (sides, sides) if isinstance(sides, int) else sides
    if height * width > MAX_PIXELS:
        raise NetLensError(f"a picture of {height} × {width} has over {MAX_PIXELS:,} pixels; give a smaller size.")
    return height, width


def _generator(seed: int) -> torch.Generator:
    # a stream of its own: whoever else seeds a generator with the same number draws other numbers
    state = np.random.SeedSequence(seed, spawn_key=(0,)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
