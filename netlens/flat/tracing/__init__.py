"""Tracing: from a network to a program of pure, named layers, which follows the network when it changes."""

from netlens.flat.tracing._example import AssumptionError, as_arguments, example_of
from netlens.flat.tracing._source import Source, unchanged
from netlens.flat.tracing._unroll import Unrolling, unroll

__all__ = ["AssumptionError", "Source", "Unrolling", "as_arguments", "example_of", "unchanged", "unroll"]
