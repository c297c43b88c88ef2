"""The memory of the CPU: tensors that come and go in every run should not be paid for page by page each time."""

from __future__ import annotations

from functools import cache

import torch

LARGEST = 2**25 - 2**16
"""Bytes; just below the largest block that the C library learns from."""


@cache
def keep_freed_memory() -> None:
    """Let what one run has freed serve the next.

    glibc maps a large block of its own for each large tensor and unmaps it in the end, so that the system clears its
    pages again each time: on small networks, as much work as the layers. From the first such block that is freed it
    learns to keep blocks up to that size, so one of the largest that it learns from is taken and freed at once. Nothing
    is set, none of it is touched, and other C libraries do not mind.
    """
    torch.empty(LARGEST, dtype=torch.uint8, device="cpu")
