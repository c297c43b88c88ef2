"""What the tables measure: a network by name, with an input that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.evaluation import randomize_


@dataclass(frozen=True)
class Built:
    """A network and inputs that it takes.

    Attributes:
        network: The network, as its library makes it.
        example: A tensor, a tuple of inputs, or a dict of inputs by name. The first input is the one to be explained.
        dims: The dimensions of that input that are positions in the picture; None for all after the channels.
        fixed: Whether its weights stay as they are, because they are random already.
    """

    network: nn.Module
    example: Any
    dims: tuple[int, ...] | None = None
    fixed: bool = False

    def call(self, example: Any) -> Any:
        """The output of the network itself."""
        if isinstance(example, dict):
            return self.network(**example)
        return self.network(*example) if isinstance(example, tuple) else self.network(example)

    def doubled(self) -> Built:
        """The same in double precision. The network changes."""
        wide = pytree.tree_map_only(Tensor, lambda x: x.double() if x.is_floating_point() else x, self.example)
        return replace(self, network=self.network.double(), example=wide)

    def randomize(self) -> None:
        """Give the network random parameters and batch norm statistics, and set it to eval mode."""
        if not self.fixed:
            with_random_weights(self.network)
        network: Any = self.network
        if hasattr(network, "rpn"):  # random weights would shift all boxes out of the image, where they are dropped
            with torch.no_grad():
                network.rpn.head.bbox_pred.weight.mul_(0.01)


class Held(nn.Module):
    """A network of several inputs as a function of the first one. The other inputs stay as they are."""

    def __init__(self, built: Built) -> None:
        super().__init__()
        self.network, example = built.network, built.example
        self.named: dict[str, Any] = example if isinstance(example, dict) else {}
        self.others = example[1:] if isinstance(example, tuple) else ()

    def forward(self, x: Tensor) -> Any:
        first = dict.fromkeys(list(self.named)[:1], x)
        return self.network(**{**self.named, **first}) if first else self.network(x, *self.others)


@dataclass(frozen=True)
class Subject:
    """A network of a collection.

    Attributes:
        name: The name of the network, unique in its collection.
        family: What networks of its kind have in common: a module of timm, a task of transformers, a library.
        build: Builds the network with random weights and without a download.
    """

    name: str
    family: str
    build: Callable[[], Built]


def with_random_weights(network: nn.Module) -> nn.Module:
    """The network with random parameters and batch norm statistics. Other buffers are constants of its code."""
    buffers = {
        buffer: buffer.clone()
        for name, buffer in network.named_buffers()
        if name.rsplit(".", 1)[-1] not in ("running_mean", "running_var")
    }
    randomize_(network)
    with torch.no_grad():
        for buffer, value in buffers.items():
            buffer.copy_(value)
    return network


def image(height: int, width: int, channels: int = 3, seed: int = 0) -> Tensor:
    """Noise (1, channels, height, width)."""
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def volume(size: int, channels: int = 1) -> Tensor:
    """Noise (1, channels, size, size, size)."""
    return torch.randn(1, channels, size, size, size, generator=torch.Generator().manual_seed(0))


def clip(frames: int, size: int) -> Tensor:
    """Noise (1, 3, frames, size, size)."""
    return image(frames * size, size).view(1, 3, frames, size, size)


def another(example: Any, seed: int = 1) -> Any:
    """The example with other values of its floating tensors. Numbers, tokens and masks stay."""
    generator = torch.Generator().manual_seed(seed)

    def fresh(value: Tensor) -> Tensor:
        return torch.randn(value.shape, generator=generator, dtype=value.dtype) if value.is_floating_point() else value

    return pytree.tree_map_only(Tensor, fresh, example)


def floats_of(output: Any) -> list[Tensor]:
    """The floating tensors of an output, in its own order."""
    leaves = pytree.tree_leaves(output)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
