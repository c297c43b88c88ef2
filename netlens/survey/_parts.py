"""Parts: what the questions have found in one shard, as a file that exists whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from netlens.heatmaps import ResultError
from netlens.results import storage
from netlens.survey._question import State

_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Unreadable:
    """A sample that cannot be read.

    Attributes:
        sample: Its number in the data.
        name: Its name.
        reason: Why it cannot be read, and what to do.
    """

    sample: int
    name: str
    reason: str


@dataclass(frozen=True)
class Part:
    """What the questions have found in one shard.

    Args:
        states: The state of each question.
        unreadable: The samples that were left out.
    """

    states: tuple[State, ...]
    unreadable: tuple[Unreadable, ...]


@dataclass(frozen=True)
class Place:
    """The file of a part. Its name and its content say what the part was made from.

    Args:
        folder: The folder of all parts.
        shard: The number of the shard.
        fingerprint: That of everything that the part depends on.
    """

    folder: Path
    shard: int
    fingerprint: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.shard:06d}-{self.fingerprint[:40]}{_SUFFIX}"

    def write(self, part: Part) -> None:
        """Write the file, whole or not at all. The same part gives the same bytes."""
        self.write_bytes(self.pack(part))

    def write_bytes(self, octets: bytes) -> None:
        """Write the file with what `pack` gives, whole or not at all."""
        storage.write(self.path, octets)

    def pack(self, part: Part) -> bytes:
        """The bytes of the file."""
        unreadable = [[one.sample, one.name, one.reason] for one in part.unreadable]
        header = {"fingerprint": self.fingerprint, "unreadable": unreadable}
        return storage.pack(_SUFFIX, flattened(part.states), header)

    def read(self, questions: int) -> Part:
        """Read the file.

        Raises:
            ResultError: It is damaged, or holds a part of something else.
        """
        tensors, header = storage.unpack(self.path)
        with storage.readable(self.path):
            if header["fingerprint"] != self.fingerprint:
                raise ResultError(f"{self.path} was renamed: it is a part of another survey; delete it.")
            return Part(unflattened(tensors, questions), tuple(Unreadable(*row) for row in header["unreadable"]))


def flattened(states: Sequence[State]) -> dict[str, Tensor]:
    """The tensors of several states under one name each."""
    return {f"{i}.{name}": tensor for i, state in enumerate(states) for name, tensor in state.items()}


def unflattened(tensors: dict[str, Tensor], n: int) -> tuple[State, ...]:
    """The n states whose tensors `flattened` has named."""
    states: list[dict[str, Tensor]] = [{} for _ in range(n)]
    for name, tensor in tensors.items():
        index, _, rest = name.partition(".")
        states[int(index)][rest] = tensor
    return tuple(states)
