"""What a question about a data set is: a state that starts empty, takes batches in, joins others and is finished."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT
from netlens.objectives import Record
from netlens.preprocessing import Preprocessing

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

    def __len__(self) -> int:
        return len(self.samples)

    def maps(self, layer: str) -> Tensor:
        """(N, C, h, w), on the CPU: the activation of a layer as maps. A vector of features has one position.

        Raises:
            NotApplicable: The activation has no layout over the image.
        """
        if layer not in self._maps:  # several questions may read them
            self._maps[layer] = self.record.maps(layer).cpu().contiguous()
        return self._maps[layer]


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
