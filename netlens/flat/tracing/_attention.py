"""Fused attention in pieces: scores, their softmax, and the values that the softmax weighs."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from netlens.flat import layers
from netlens.flat.layers import Apply, MatMul, Multiply, Permute, Slot

_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
_TRANSPOSED = (Slot(0), -2, -1)


class Part(NamedTuple):
    """A piece of a call.

    Attributes:
        name: Its name within the call.
        layer: The layer.
        reads: What it reads: nodes of the trace, and the names of earlier pieces.
        hidden: Whether it computes a number.
    """

    name: str
    layer: nn.Module
    reads: tuple[fx.Node | str, ...]
    hidden: bool = False


def parts_of_attention(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Part] | None:
    """The pieces of `F.scaled_dot_product_attention`, as those of `nn.MultiheadAttention`. The last is the output.

    None if it drops weights at random, or if its options are traced values.
    """
    arguments = {**dict(zip(_NAMES, args, strict=False)), **kwargs}
    query, key, value, mask = arguments["query"], arguments["key"], arguments["value"], arguments.get("attn_mask")
    tensors = [query, key, value, *([] if mask is None else [mask])]
    options = [arguments.get(name, 0) for name in ("dropout_p", "is_causal", "enable_gqa")]
    if not all(isinstance(tensor, fx.Node) for tensor in tensors) or any(isinstance(o, fx.Node) for o in options):
        return None
    dropout, causal, shares_heads = options
    if dropout:
        return None
    parts = []
    if shares_heads:
        parts += [Part("repeated_keys", layers.RepeatedHeads(), (key, query))]
        parts += [Part("repeated_values", layers.RepeatedHeads(), (value, query))]
        key, value = "repeated_keys", "repeated_values"
    parts += _scaled(query, arguments.get("scale"))
    parts += [
        Part("transposed", Permute(Tensor.transpose, _TRANSPOSED, {}), (key,)),
        Part("scores", _product(), ("scaled", "transposed")),
    ]
    if causal:
        parts.append(Part("causal", layers.CausalScores(), (parts[-1].name,)))
    if mask is not None:
        parts.append(Part("masked", layers.MaskedScores(), (parts[-1].name, mask)))
    softmax = nn.Softmax(-1) if mask is None else layers.MaskedSoftmax(-1)
    parts.append(Part("softmax", softmax.eval(), (parts[-1].name,)))
    return [*parts, Part("mixed", _product(), ("softmax", value))]


def _scaled(query: fx.Node, scale: Any) -> list[Part]:
    """The queries times `scale`; if it is None, times one over the root of their length."""
    if isinstance(scale, (int, float)):
        return [Part("scaled", Multiply(operator.mul, (Slot(0), scale), {}), (query,))]
    sizes: list[Part] = []
    if scale is None:
        sizes = [
            Part("length", Apply(Tensor.size, (Slot(0), -1), {}), (query,), hidden=True),
            Part("scale", Apply(operator.pow, (Slot(0), -0.5), {}), ("length",), hidden=True),
        ]
    factor = "scale" if scale is None else scale
    return [*sizes, Part("scaled", Multiply(operator.mul, (Slot(0), Slot(1)), {}), (query, factor))]


def _product() -> MatMul:
    return MatMul(torch.matmul, (Slot(0), Slot(1)), {})
