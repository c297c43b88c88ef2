"""One thread: on tensors this small several only wait for each other, the more so on a machine with other work."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.browser import launched

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser for all tests of pages, because Playwright runs once in a process."""
    yield from launched()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches this process and those that it starts, also behind a shell that lets its programs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def seed_of_each_test() -> None:
    """A test draws the same numbers alone and among others, also where a peer draws from the global generators."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def threads_of_one_test() -> Iterator[None]:
    """A test that leaves more threads behind fails, because it would make all later tests slow."""
    yield
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert threads == 1, f"the test leaves torch with {threads} threads; set them back"
