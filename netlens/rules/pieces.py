"""Layers that consist of many known pieces, such as recurrent layers: rules run on a network of these pieces.

In the forward run, the layer stays one layer, with its name and its output. Only the backward run uses the pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat import FlatModel
from netlens.flat.layers import Bound, Call, Wrapper, fill
from netlens.flat.memory import meters, unmetered
from netlens.flat.operations import innermost
from netlens.flat.rules import Rule, Rules, vjp
from netlens.memo import Memo
from netlens.rules import _recurrent as recurrent
from netlens.rules._calls import tensors

MOST_NETWORKS = 8
"""The number of networks of pieces that stay in memory for each layer. Each sequence length needs a network."""


def has_pieces(layer: nn.Module) -> bool:
    """Whether netlens knows the pieces of a layer."""
    return recurrent.is_recurrent(innermost(layer))


def pieces_of(layer: nn.Module, inputs: Sequence[Tensor]) -> tuple[FlatModel, dict[str, Tensor]]:
    """The network of the pieces of a layer, and the inputs of this network if the layer reads the tensors `inputs`.

    The network shares the weights of the layer. So a change of the weights in place changes both.
    """
    inner, args, kwargs = _call(layer, inputs)
    values = recurrent.call_tensors(inner, args, kwargs)
    weights = tuple((weight.data_ptr(), weight.dtype, weight.device) for weight in recurrent.weights_of(inner))
    form = recurrent.form(inner, values)

    def write() -> FlatModel:
        return FlatModel.from_nn_Module(recurrent.written(inner, form), inputs=list(values))

    return _NETWORKS.of(inner, (form, weights), write), values


def through_pieces(
    view: FlatModel, values: dict[str, Tensor], inputs: Sequence[Tensor], gradient: Any
) -> Sequence[Tensor | None]:
    """The gradients at `inputs`, by the rules of `view`, a network of pieces.

    `values` are the inputs of this network. They are computed from `inputs`.
    """
    with torch.enable_grad():
        output = view.program.assemble(run_pieces(view, values, view.program.outputs))
    return vjp(output, inputs, gradient)


def run_pieces(network: FlatModel, values: dict[str, Tensor], keys: Sequence[str]) -> dict[str, Any]:
    """The values at `keys` in a network of pieces. To a `Meter`, the values of all pieces are in memory at once."""
    recorded_keys = [step.key for step in network.program.steps if not step.hidden] if meters() else keys
    with unmetered():
        values_by_key = network.program.run(values, list(dict.fromkeys((*recorded_keys, *keys))))
    for meter in meters():
        meter.note(None, pytree.tree_leaves(values_by_key))
    return {key: values_by_key[key] for key in keys}


def by_pieces(rules: Callable[[FlatModel], Rules], name: str = "pieces") -> Rule:
    """The rule of a layer with known pieces. `rules` makes the rules for the network of pieces."""

    views: Memo[FlatModel, FlatModel] = Memo()

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Any, gradient: Any) -> Sequence[Tensor | None]:
        network, values = pieces_of(layer, inputs)
        view = views.of(network, None, lambda: network.with_rules(rules(network)))
        return through_pieces(view, values, inputs, gradient)

    return Rule(backward, graph=False, name=name, several=True)


# a network of pieces takes longer to make than to run
_NETWORKS: Memo[nn.Module, FlatModel] = Memo(most=MOST_NETWORKS)


def _call(layer: nn.Module, inputs: Sequence[Tensor]) -> tuple[nn.Module, Sequence[Any], dict[str, Any]]:
    """The innermost layer, and the arguments that it gets if `layer` is called with `inputs`."""
    args: Sequence[Any] = inputs
    kwargs: dict[str, Any] = {}
    while isinstance(layer, Wrapper):
        if isinstance(layer, Bound):
            args = layer.reads(tensors(args))
        elif isinstance(layer, Call):
            args, kwargs = fill(layer.args, args), fill(layer.kwargs, args)
        layer = layer.inner
    return layer, args, kwargs
