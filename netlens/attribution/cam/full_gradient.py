"""Full gradients: an objective as a sum of what the input and what each bias contributes, without remainder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from netlens.attribution.engine import activations_of, gradients_of
from netlens.flat import FlatModel
from netlens.flat.layers import Add, Apply, Concatenate, Mean, Permute, Reshape, Select, Slot, is_kind
from netlens.flat.model import OUTPUT
from netlens.flat.program import Step
from netlens.objectives import Objective

# f(t z) = t f(z) for t > 0: these add nothing of their own to what they are given
_HOMOGENEOUS = (
    *(nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(nn.Flatten, nn.Dropout, nn.Dropout2d, nn.Identity, nn.ZeroPad2d, nn.ReflectionPad2d, nn.Upsample),
    *(Add, Concatenate, Mean, Permute, Reshape, Select),
)
_TAKES_APART = ("chunk", "split", "tensor_split", "unbind")  # into a tuple, which has no gradient of its own
_KNOWN = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d)


def full_gradients(flat: FlatModel, x: Tensor, objective: Objective) -> Iterator[tuple[str, Tensor]]:
    """What the input (first), and then the bias of each layer that has one, contributes: key and values (N, ...).

    The values have the shape of the activation at the key, and all of them sum to the objective, if it is linear in the
    activations that it reads, such as a score. The bias of a layer is its output less its derivative along its
    inputs: the bias of a convolution; shift - scale * mean / deviation of a batch norm; and of a smooth layer, such as
    GELU or softmax, the implicit one that its tangent has.
    """
    from_input = flat.program.reached(flat.inputs)
    biased = _biased(flat, objective, from_input)
    points = full_points(flat, objective)
    activations, gradients = gradients_of(flat, x, objective, points)
    yield points[0], activations[0] * gradients[0]
    read = dict.fromkeys(key for step in biased if not _is_known(step.layer) for key in step.reads)
    with torch.no_grad():
        inputs = activations_of(flat, x, list(read)) if read else {}
        for step, activation, gradient in zip(biased, activations[1:], gradients[1:], strict=True):
            yield step.key, gradient * _bias(step, activation, inputs, from_input)


def full_points(flat: FlatModel, objective: Objective) -> list[str]:
    """The keys that have a part in it, the input's first; within a recording with gradients there, it runs nothing."""
    return [flat.inputs[0], *(step.key for step in _biased(flat, objective, flat.program.reached(flat.inputs)))]


def _biased(flat: FlatModel, objective: Objective, from_input: set[str]) -> list[Step]:
    return [step for step in _leading_to(flat, objective, from_input) if _has_bias(step, from_input)]


def _leading_to(flat: FlatModel, objective: Objective, from_input: set[str]) -> list[Step]:
    """The layers whose activations depend on the input, and on which the objective depends."""
    needed = set(flat.keys_of(objective.layers))
    if OUTPUT in needed:
        needed.update(flat.program.outputs)
    found = []
    for step in reversed(flat.program.steps):
        if step.key in needed:
            needed.update(step.reads)
            if step.key in from_input and not step.hidden:
                found.append(step)
    return found[::-1]


def _has_bias(step: Step, from_input: set[str]) -> bool:
    layer = step.layer
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        return layer.bias is not None
    if isinstance(layer, Apply) and getattr(layer.function, "__name__", "") in _TAKES_APART:
        return False
    if not is_kind(layer, _HOMOGENEOUS):
        return True
    adds_a_number = isinstance(layer, Add) and not all(isinstance(arg, Slot) for arg in layer.args)
    return adds_a_number or not from_input.issuperset(step.reads)


def _is_known(layer: nn.Module) -> bool:
    """Whether its weights say its bias."""
    return isinstance(layer, _KNOWN) and getattr(layer, "running_mean", layer.weight) is not None


def _bias(step: Step, activation: Tensor, inputs: Mapping[str, Any], from_input: set[str]) -> Tensor:
    """What the layer's output would be, were its inputs zero and it the linear map that it is near them."""
    layer = step.layer
    if isinstance(layer, nn.Linear):
        return layer.bias
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        return layer.bias[:, None, None]  # type: ignore[index]
    if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
        scale = (layer.running_var + layer.eps).rsqrt()
        scale = scale if layer.weight is None else scale * layer.weight
        shift = -scale * layer.running_mean
        return (shift if layer.bias is None else shift + layer.bias)[:, None, None]
    return activation - _along_inputs(step, inputs, from_input).reshape(activation.shape)


def _along_inputs(step: Step, inputs: Mapping[str, Any], from_input: set[str]) -> Tensor:
    """The derivative of the layer along those of its inputs that depend on the image."""
    values = [inputs[key] for key in step.reads]
    real = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.is_floating_point()]

    def run(*tensors: Tensor) -> Tensor:
        return step.layer(*(tensors[real.index(i)] if i in real else value for i, value in enumerate(values)))

    if not real:
        return torch.zeros_like(step.layer(*values))
    primals = tuple(values[i] for i in real)
    tangents = tuple(values[i] if step.reads[i] in from_input else torch.zeros_like(values[i]) for i in real)
    return torch.func.jvp(run, primals, tangents)[1]
