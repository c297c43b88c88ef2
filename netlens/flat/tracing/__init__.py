"""Tracing: from a network to a program of pure, named layers, which follows the network when it changes."""

from netlens.flat.tracing._source import Source, unchanged
from netlens.flat.tracing._unroll import Unrolling, unroll

__all__ = ["Source", "Unrolling", "unchanged", "unroll"]
