"""Samples: what a survey asks about, numbered, wherever they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

NO_LABEL = -1
MOST_BYTES = 2**28
"""The largest picture within another file: as many bytes as the most pixels take that a picture may have."""


class Sample(NamedTuple):
    """What a network is asked about.

    Attributes:
        image: A picture in any form, or a preprocessed tensor (C, H, W).
        label: The index of its class; -1 if there is none.
    """

    image: Any
    label: int


class Data(ABC):
    """Abstract: numbered samples. A subclass can be sent to another process."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """The name of a sample, for people."""

    @abstractmethod
    def load(self, index: int) -> Sample:
        """The sample. Raise an error of netlens if it cannot be read."""

    @abstractmethod
    def identity(self, start: int, stop: int) -> Any:
        """What tells samples from others of the same names: plain values, for a fingerprint."""

    @property
    def content(self) -> Any:
        """What else tells this data from other data; None if nothing does."""
        return None


def state_of(path: Path) -> tuple[int, int] | tuple[()]:
    """The size and the time of change of a file; nothing if it is not there."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # a file that is not there is listed when it is read
        return ()
    return status.st_size, status.st_mtime_ns
