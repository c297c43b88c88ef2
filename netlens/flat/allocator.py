"""The memory of the CPU: a run reuses the memory that earlier runs have freed, instead of new pages of the system."""

from __future__ import annotations

from functools import cache

import torch

LARGEST = 2**25 - 2**16
"""Bytes, just below the largest block size that glibc adapts to."""


@cache
def keep_freed_memory() -> None:
    """Make the C library keep freed memory for later runs.

    glibc maps a new block for each large tensor and unmaps it afterwards, so that the system clears the pages each
    time. On small networks this takes as long as the layers. When such a block is freed, glibc adapts: it keeps blocks
    up to that size from then on. So this function takes one block of the largest size and frees it. It changes no
    setting and does not touch the block. It has no effect on other C libraries.
    """
    torch.empty(LARGEST, dtype=torch.uint8, device="cpu")
