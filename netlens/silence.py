"""Silence for warnings of other libraries that are of no use to a person."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_ONE_AT_A_TIME = Lock()


@contextmanager
def silenced(category: type[Warning]) -> Iterator[None]:
    """Do not show warnings of this category within the block.

    Filters of warnings belong to the whole process, so threads enter such blocks one at a time. Otherwise a thread
    could restore the filters of another one.

    Example:
        >>> with silenced(FutureWarning):
        ...     warnings.warn("old", FutureWarning)
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield
