"""Slices: the rows of a result that an index or a slice selects."""

from __future__ import annotations


def slice_of(index: int | slice, n: int, what: str) -> slice:
    """An index as a slice of one row; a negative index counts from the end. A slice is returned unchanged.

    Raises:
        IndexError: none of the n rows has the index; `what` names the rows.

    Example:
        >>> slice_of(-1, 3, "samples")
        slice(2, 3, None)
    """
    if isinstance(index, slice):
        return index
    if not -n <= index < n:
        raise IndexError(f"there are {n} {what}, so index {index} is out of range.")
    return slice(index % n, index % n + 1)
