"""Layers whose single call consists of many known pieces: rules run on a network of these pieces.

The layer itself stays one layer, with its name and its numbers. Only the backward run passes through the pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat.bound import Bound
from netlens.flat.layers import Call, Wrapper, fill
from netlens.flat.memo import Memo
from netlens.flat.meter import meters, unmetered
from netlens.flat.model import FlatModel
from netlens.flat.operations import innermost
from netlens.flat.rules import Rule, Rules, vjp
from netlens.rules import recurrent
from netlens.rules.calls import tensors

KEPT = 8
"""The number of sequence lengths whose networks of pieces stay in memory, for each layer."""


def has_pieces(layer: nn.Module) -> bool:
    """Whether the pieces of a layer are known."""
    return recurrent.is_recurrent(innermost(layer))


def pieces_of(layer: nn.Module, inputs: Sequence[Tensor]) -> tuple[FlatModel, dict[str, Tensor]]:
    """The network of the pieces of a layer, and the values that it reads if the layer reads these tensors.

    It shares the weights of the layer, so it follows their changes.
    """
    inner, args, kwargs = _call(layer, inputs)
    values = recurrent.given(inner, args, kwargs)
    weights = tuple((weight.data_ptr(), weight.dtype, weight.device) for weight in recurrent.weights_of(inner))
    form = recurrent.form(inner, values)

    def write() -> FlatModel:
        return FlatModel.from_nn_Module(recurrent.written(inner, form), inputs=list(values))

    return _NETWORKS.of(inner, (form, weights), write), values


def through_pieces(
    view: FlatModel, values: dict[str, Tensor], inputs: Sequence[Tensor], gradient: Any
) -> Sequence[Tensor | None]:
    """The gradients at `inputs`, from which `values` come, by the rules of a view of the network of pieces."""
    with torch.enable_grad():
        output = view.program.assemble(run(view, values, view.program.outputs))
    return vjp(output, inputs, gradient)


def run(network: FlatModel, values: dict[str, Tensor], wanted: Sequence[str]) -> dict[str, Any]:
    """The values at `wanted` in a network of pieces. A meter gets all values at once, because there are many."""
    keys = [step.key for step in network.program.steps if not step.hidden] if meters() else wanted
    with unmetered():
        found = network.program.run(values, list(dict.fromkeys((*keys, *wanted))))
    for meter in meters():
        meter.note(None, pytree.tree_leaves(found))
    return {key: found[key] for key in wanted}


def by_pieces(rules: Callable[[FlatModel], Rules], name: str = "pieces") -> Rule:
    """The rule of a layer with known pieces. Each piece follows the rules that `rules` makes for their network."""

    views: Memo[FlatModel, FlatModel] = Memo()

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Any, gradient: Any) -> Sequence[Tensor | None]:
        network, values = pieces_of(layer, inputs)
        view = views.of(network, None, lambda: network.with_rules(rules(network)))
        return through_pieces(view, values, inputs, gradient)

    return Rule(backward, graph=False, name=name, several=True)


# a network of pieces takes longer to make than to run
_NETWORKS: Memo[nn.Module, FlatModel] = Memo(most=KEPT)


def _call(layer: nn.Module, inputs: Sequence[Tensor]) -> tuple[nn.Module, Sequence[Any], dict[str, Any]]:
    """The innermost layer and its arguments, if the layer is called with `inputs`."""
    args: Sequence[Any] = inputs
    kwargs: dict[str, Any] = {}
    while isinstance(layer, Wrapper):
        if isinstance(layer, Bound):
            args = layer.reads(tensors(args))
        elif isinstance(layer, Call):
            args, kwargs = fill(layer.args, args), fill(layer.kwargs, args)
        layer = layer.inner
    return layer, args, kwargs
