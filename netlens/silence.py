"""Warnings of other libraries that would tell a person nothing, silenced in a block."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_ONE_AT_A_TIME = Lock()


@contextmanager
def silenced(category: type[Warning]) -> Iterator[None]:
    """Within the block, warnings of this category are not shown.

    Filters belong to the whole process, so that threads wait for each other: two at once would leave theirs behind.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield
