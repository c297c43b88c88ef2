"""Tracing: from a network to a program of pure, named layers, which follows the network when it changes."""

from netlens.flat.tracing._example import Assumption, AssumptionError
from netlens.flat.tracing._inputs import as_arguments, example_of, input_names
from netlens.flat.tracing._source import Source, kind_of, unchanged
from netlens.flat.tracing._unroll import Unrolling, unroll

__all__ = [
    "Assumption",
    "AssumptionError",
    "Source",
    "Unrolling",
    "as_arguments",
    "example_of",
    "input_names",
    "kind_of",
    "unchanged",
    "unroll",
]
