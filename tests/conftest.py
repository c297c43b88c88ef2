"""One thread: on tensors this small several only wait for each other, the more so on a machine with other work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.browser import launched

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser for all tests of pages, because Playwright runs once in a process."""
    yield from launched()
