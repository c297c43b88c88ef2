"""A job: everything that a process needs to make parts, and how it makes one."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from netlens.errors import ImageError, NetLensError, NonFiniteError, NotApplicable
from netlens.fast import arranged
from netlens.fast.chunks import out_of_memory
from netlens.finite import all_finite, first_bad
from netlens.flat import FlatModel
from netlens.flat.intake import weight_of
from netlens.objectives import Record
from netlens.preprocessing import Preprocessing, as_batch
from netlens.survey._parts import Part, Place, Unreadable
from netlens.survey._question import Batch, Question, State
from netlens.survey._samples import Data
from netlens.survey._settings import Settings

BATCH = 32
"""How many samples run together. It is no option, because the last digits of an activation depend on it."""
DECODERS = 2
"""Threads that read pictures while the network runs."""


@dataclass(frozen=True)
class Loaded:
    """A sample as the network takes it: (C, H, W)."""

    index: int
    x: Tensor
    label: int


class Group(NamedTuple):
    """Samples of one shard, up to number `stop`. They run together if they have one size."""

    place: Place
    stop: int
    samples: list[Future[Loaded | Unreadable]]


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that a process needs to make parts.

    Args:
        network: The fast version, on weights of its own.
        preprocessing: How a picture becomes an input.
        channels: The number of channels of an input.
        questions: The questions.
        keys: The exact keys of the layers that they read.
        data: The samples.
        shard: The number of samples of a part.
        settings: The settings of torch.
        whole: The network as it is, if a question runs it.
    """

    network: FlatModel
    preprocessing: Preprocessing
    channels: int
    questions: tuple[Question, ...]
    keys: tuple[str, ...]
    data: Data
    shard: int
    settings: Settings
    whole: FlatModel | None = None

    def write_parts(self, places: Iterator[Place]) -> Generator[Place, None, None]:
        """Make and write the parts of these places, and yield each place whose part is written."""
        with closing(self.make_parts(places)) as parts:
            for place, part in parts:
                place.write(part)
                yield place

    def make_parts(self, places: Iterator[Place]) -> Generator[tuple[Place, Part], None, None]:
        """Make the parts of these places, and yield each with its place.

        While the network runs on some samples, threads read the next ones, also those of the next part.
        """
        pool = ThreadPoolExecutor(DECODERS, "netlens-survey")
        try:
            states, unreadable = self._nothing()
            for group in self._groups(places, pool):
                states = self._updated(states, group, unreadable)
                if group.stop == min((group.place.shard + 1) * self.shard, len(self.data)):
                    yield group.place, Part(tuple(states), tuple(unreadable))
                    states, unreadable = self._nothing()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def load(self, index: int) -> Loaded | Unreadable:
        """One sample, or why it cannot be read."""
        try:
            image, label = self.data.load(index)
            return Loaded(index, as_batch(image, self.preprocessing, self.channels)[0], label)
        except (ImageError, NonFiniteError) as error:
            return Unreadable(index, self.data.name(index), str(error))

    def _groups(self, places: Iterator[Place], pool: ThreadPoolExecutor) -> Iterator[Group]:
        """The samples in order. While a group is in use, threads read the next one."""
        coming: deque[Group] = deque()
        for place in places:
            first, end = place.shard * self.shard, min((place.shard + 1) * self.shard, len(self.data))
            for start in range(first, end, BATCH):
                stop = min(start + BATCH, end)
                coming.append(Group(place, stop, [pool.submit(self.load, i) for i in range(start, stop)]))
                if len(coming) > 1:
                    yield coming.popleft()
        yield from coming

    def _nothing(self) -> tuple[list[State], list[Unreadable]]:
        return [question.zero() for question in self.questions], []

    def _updated(self, states: list[State], group: Group, unreadable: list[Unreadable]) -> list[State]:
        """The states after the samples of a group. Those that cannot be read are appended to `unreadable`."""
        by_shape: dict[torch.Size, list[Loaded]] = {}
        for future in group.samples:
            sample = future.result()
            if isinstance(sample, Unreadable):
                unreadable.append(sample)
            else:
                by_shape.setdefault(sample.x.shape, []).append(sample)
        for samples in by_shape.values():
            batch = self._batch(samples)
            states = [q.update(state, batch) for q, state in zip(self.questions, states, strict=True)]
        return states

    def _batch(self, samples: list[Loaded]) -> Batch:
        weight = weight_of(self.network, torch.empty(0))
        x = arranged(torch.stack([sample.x for sample in samples]).to(weight), self.network)
        try:
            values = self.network.record(x, layers=self.keys)
        except RuntimeError as error:
            if isinstance(error, NetLensError):
                raise
            if out_of_memory(error):
                raise NetLensError(
                    f"there is not enough memory to run {len(samples)} samples together; give a smaller shard=."
                ) from error
            raise NotApplicable(
                f"{self.network.name} cannot run on inputs of shape {tuple(x.shape[1:])} "
                f"({' '.join(str(error).split())[:160]}); give a preprocessing= with its size."
            ) from error
        for key, value in values.items():
            if isinstance(value, Tensor) and not all_finite(value):
                name = self.data.name(samples[first_bad(value, len(samples))].index)
                raise NonFiniteError(f"layer {key!r} of {self.network.name} holds NaN or Inf for {name}.")
        indices = torch.tensor([sample.index for sample in samples])
        labels = torch.tensor([sample.label for sample in samples])
        names = tuple(self.data.name(sample.index) for sample in samples)
        size = (x.shape[-2], x.shape[-1])
        return Batch(Record(self.network, values), indices, labels, size, x, names, self.preprocessing, self.whole)
