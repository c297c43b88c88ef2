"""What a question about a data set is: a state that starts empty, takes batches in, joins others and is finished."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT
from netlens.objectives import Record
from netlens.preprocessing import Preprocessing

_NUMBERS = 2**18
"""How many numbers of a layer are looked at together: a megabyte."""

State = Mapping[str, Tensor]
"""What a question has found in some of the samples: tensors by name. A state without tensors has seen no sample."""


@dataclass(frozen=True)
class Batch:
    """Samples that ran together.

    Args:
        record: The activations of the layers that the questions read.
        samples: (N,), int64: the number of each sample in the data, from 0.
        labels: (N,), int64: the class of each sample; -1 if it has none.
        size: The height and width of the input.
        x: (N, C, H, W): the input, preprocessed, as it ran.
        names: (N,): the name of each sample: its file within the folder of the data, or "#" and its number.
        preprocessing: How a picture became an input.
        flat: The network as it is, without folded layers, for questions that run it; None if no question does.
    """

    record: Record
    samples: Tensor
    labels: Tensor
    size: tuple[int, int]
    x: Tensor
    names: tuple[str, ...]
    preprocessing: Preprocessing
    flat: FlatModel | None = None
    _maps: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)
    _highest: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.samples)

    def maps(self, layer: str) -> Tensor:
        """(N, C, h, w), on the CPU: the activation of a layer as maps. A vector of features has one position.

        The channels may lie last in memory, as the network gives them.

        Raises:
            NotApplicable: The activation has no layout over the image.
        """
        if layer not in self._maps:  # several questions may read them
            self._maps[layer] = self.record.maps(layer).cpu()
        return self._maps[layer]

    def highest(self, layer: str) -> tuple[Tensor, Tensor]:
        """(N, C) twice: the highest activation of each channel, and the number of its first place, row by row.

        Raises:
            NotApplicable: The activation has no layout over the image.
        """
        if layer not in self._highest:
            parts = [_highest(part) for part in by_places(self.maps(layer))]
            values, places = zip(*parts, strict=True)
            self._highest[layer] = torch.cat(values), torch.cat(places)
        return self._highest[layer]


def by_places(maps: Tensor) -> tuple[Tensor, ...]:
    """Maps (N, C, h, w) as (n, places, C), for a few samples at a time, which stay in the cache of the processor.

    Where the channels lie last in memory, nothing is copied, and all channels of a place are read at once.
    """
    places = maps.permute(0, 2, 3, 1).flatten(1, 2)
    parts: tuple[Tensor, ...] = places.split(max(1, _NUMBERS // max(1, places[0].numel())))
    return parts


def _highest(places: Tensor) -> tuple[Tensor, Tensor]:
    """(n, C) twice: the highest numbers of (n, places, C), and the first place of each."""
    highest = places.amax(1, keepdim=True)
    count = places.shape[1]
    # of the highest places, the first has the largest weight; this takes a third of the time of `max(1)`
    exact = torch.float32 if count < 2**24 else torch.float64
    weights = torch.arange(count, 0, -1, dtype=exact)[:, None]
    first_weights = torch.eq(places, highest, out=torch.empty(places.shape, dtype=exact)).mul_(weights).amax(1)
    return highest[:, 0], count - first_weights.long()


class Question(ABC):
    """Abstract: something to be found out about a network and a data set.

    A subclass is a frozen dataclass whose fields are its options. Its functions are pure. A part of a survey stores the
    state of its samples, and the states of all parts are merged in the order of the samples.

    Example:
        >>> @dataclass(frozen=True)
        ... class Total(Question):
        ...     layer: str
        ...     @property
        ...     def layers(self):
        ...         return (self.layer,)
        ...     def update(self, state, batch):
        ...         return self.merge(state, {"sum": batch.record[self.layer].double().flatten(1).sum()})
        ...     def merge(self, a, b):
        ...         return {"sum": a["sum"] + b["sum"]} if a and b else a or b
        ...     def finish(self, state):
        ...         return state["sum"].item()
    """

    runs: ClassVar[bool] = False
    """Whether the question runs the network itself, as `Batch.flat`, on `Batch.x`."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that the question reads, by any name; by default the output."""
        return (OUTPUT,)

    def zero(self) -> State:
        """The state before the first sample."""
        return {}

    @abstractmethod
    def update(self, state: State, batch: Batch) -> State:
        """The state after another batch. The given state does not change."""

    @abstractmethod
    def merge(self, a: State, b: State) -> State:
        """The state of the samples of both. Those of `a` come first. Either may have seen no sample."""

    @abstractmethod
    def finish(self, state: State) -> Any:
        """The answer."""
