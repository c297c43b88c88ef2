"""The role of a layer for relevance: it passes relevance on, rearranges it, multiplies activations, or mixes them."""

from __future__ import annotations

from typing import Any

from torch import nn

from netlens.flat.layers import Function, Piece
from netlens.flat.operations import UNKNOWN, Relevance, innermost, is_view, operation_of
from netlens.rules._relevance_weights import has_weights
from netlens.rules.pieces import has_pieces


def role_of(layer: nn.Module) -> Relevance:
    """The role of a layer for relevance, by its type or, for calls, by the name of its function.

    Pieces that adapters write (windows, masks) only arrange. An unknown module mixes.
    """
    inner: Any = innermost(layer)
    if has_weights(layer):  # a layer that is called with more than its input cannot run with other weights
        return Relevance.WEIGHTS
    if has_pieces(inner):
        return Relevance.COMPOSED
    if getattr(inner, "running_mean", None) is not None:  # a layer of any type with its own mean and deviation
        return Relevance.MIXES
    if isinstance(inner, Function) and inner.function is getattr and inner.args[1] == "data":
        return Relevance.COPIES
    row = operation_of(inner)
    if row is not UNKNOWN:
        return row.relevance
    arranges = is_view(inner) or (isinstance(inner, Piece) and not isinstance(inner, Function))
    return Relevance.ARRANGES if arranges else Relevance.MIXES
