"""Store: what was made or uploaded, by a key, in a bounded amount of memory."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Store(Generic[V]):
    """Values by key. The oldest values go when the sum of their sizes is above `most`; the newest always stays.

    Args:
        most: The largest sum of sizes.
        size: The size of a value; by default each counts 1.

    Example:
        >>> store = Store(most=2)
        >>> for name in "abc":
        ...     store.put(name, name.upper())
        >>> [store.get(name) for name in "abc"]
        [None, 'B', 'C']
    """

    def __init__(self, most: int, size: Callable[[V], int] = lambda value: 1) -> None:
        self._most, self._size = most, size
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self._sum = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> V | None:
        """The value of a key, which is now the newest; None if the store has none, or no longer."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Hashable, value: V) -> None:
        """Keep a value."""
        with self._lock:
            if key in self._values:
                self._sum -= self._size(self._values.pop(key))
            self._values[key] = value
            self._sum += self._size(value)
            while self._sum > self._most and len(self._values) > 1:
                self._sum -= self._size(self._values.popitem(last=False)[1])

    def get_or_make(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of a key; if there is none, the value that `make` makes."""
        value = self.get(key)
        if value is None:
            value = make()
            self.put(key, value)
        return value


def digest(*parts: object) -> str:
    """A short text that stands for some bytes or texts, and that nobody can guess without them.

    >>> digest("scene 0", b"grad_cam") == digest("scene 0", b"grad_cam")
    True
    """
    whole = hashlib.blake2b(digest_size=12)
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        whole.update(len(data).to_bytes(8, "little") + data)
    return whole.hexdigest()
