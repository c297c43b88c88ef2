"""Engines: they say in which processes parts are made. The parts do not depend on the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from netlens.survey._job import Job
from netlens.survey._parts import Place


class Engine(ABC):
    """Abstract: where parts are made. An engine is used within its `with` block."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    @property
    def shows(self) -> bool:
        """Whether this process is the one that shows the progress."""
        return True

    def share(self, places: Sequence[Place]) -> Sequence[Place]:
        """Those of all parts that this process must see to."""
        return places

    @abstractmethod
    def make(self, job: Job, places: Sequence[Place], on_written: Callable[[Place], None]) -> None:
        """Make the parts of these places.

        Args:
            job: What to do.
            places: The files of the parts.
            on_written: Called in this process when a part is written.

        Raises:
            NetLensError: A process ended before its work, or the job cannot be sent to one.
        """

    def meet(self) -> None:
        """Wait until all parts are there, also those of other processes."""
        return
