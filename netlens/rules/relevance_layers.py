"""The role of a layer for relevance: it passes relevance on, rearranges it, multiplies activations, or mixes them."""

from __future__ import annotations

from typing import Any

from torch import nn

from netlens.flat.layers import Function, Piece
from netlens.flat.operations import UNKNOWN, Relevance, innermost, is_view, operation_of
from netlens.rules._relevance_weights import has_weights
from netlens.rules.pieces import has_pieces


def role_of(layer: nn.Module) -> Relevance:
    """The role of a layer for relevance, by its type. For a call of a function, by the name of the function.

    The `Piece` modules of adapters (windows, masks) only arrange values. An unknown module mixes them.
    """
    inner: Any = innermost(layer)
    if has_weights(layer):  # `layer`, not `inner`: a layer that reads further arguments cannot run with other weights
        return Relevance.WEIGHTS
    if has_pieces(inner):
        return Relevance.COMPOSED
    if getattr(inner, "running_mean", None) is not None:  # any type that has running statistics, such as a batch norm
        return Relevance.MIXES
    if isinstance(inner, Function) and inner.function is getattr and inner.args[1] == "data":
        return Relevance.COPIES
    row = operation_of(inner)
    if row is not UNKNOWN:
        return row.relevance
    arranges = is_view(inner) or (isinstance(inner, Piece) and not isinstance(inner, Function))
    return Relevance.ARRANGES if arranges else Relevance.MIXES
