"""Layers: the pure modules of a program that are no modules of the network itself.

A call of a function becomes a `Function` (`Add`, `MatMul`, `Reshape`, ...), a parameter that the network reads becomes
a `Constant`, a part that could not be unrolled an `Opaque`. A `Wrapper` runs another layer in its own way.
"""

from netlens.flat.layers._attention import CausalScores, MaskedScores, MaskedSoftmax, RepeatedHeads
from netlens.flat.layers._autocast import Autocast
from netlens.flat.layers._bound import Bound
from netlens.flat.layers._calls import (
    Add,
    Apply,
    Call,
    Clamp,
    ClampFromZero,
    Concatenate,
    Constant,
    Divide,
    Function,
    MatMul,
    Mean,
    Multiply,
    Permute,
    Piece,
    Reshape,
    Select,
    Slot,
    Subtract,
    Wrapper,
    fill,
)
from netlens.flat.layers._computed import CONVOLUTIONS, TRANSPOSED, Computed, Recipe, computed, evaluated
from netlens.flat.layers._normalize import Normalize
from netlens.flat.layers._opaque import Opaque
from netlens.flat.layers._part import Part
from netlens.flat.layers._views import Again, Scatter
from netlens.flat.layers._written import LogSumExp, OfUnitSize, QuickGELU, Standardized, Written, from_rows, to_rows

__all__ = [
    "CONVOLUTIONS",
    "TRANSPOSED",
    "Add",
    "Again",
    "Apply",
    "Autocast",
    "Bound",
    "Call",
    "CausalScores",
    "Clamp",
    "ClampFromZero",
    "Computed",
    "Concatenate",
    "Constant",
    "Divide",
    "Function",
    "LogSumExp",
    "MaskedScores",
    "MaskedSoftmax",
    "MatMul",
    "Mean",
    "Multiply",
    "Normalize",
    "OfUnitSize",
    "Opaque",
    "Part",
    "Permute",
    "Piece",
    "QuickGELU",
    "Recipe",
    "RepeatedHeads",
    "Reshape",
    "Scatter",
    "Select",
    "Slot",
    "Standardized",
    "Subtract",
    "Wrapper",
    "Written",
    "computed",
    "evaluated",
    "fill",
    "from_rows",
    "to_rows",
]
