"""Full gradients: an objective as the sum of the contributions of the input and of each bias, without remainder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from netlens.attribution._derivatives import directional_derivative, missing_derivative
from netlens.attribution.activations import activations_of
from netlens.attribution.cam._live import Live, live_values
from netlens.attribution.engine import gradients_of
from netlens.flat import FlatModel
from netlens.flat.layers import Add, Slot
from netlens.flat.operations import Trait, name_of, operation_of
from netlens.flat.running import Step
from netlens.objectives import Objective

_GIVES_TUPLES = ("chunk", "split", "tensor_split", "unbind")  # a tuple has no gradient
_WITH_BIAS = (_ConvNd, nn.Linear, nn.BatchNorm2d)


def full_gradients(flat: FlatModel, x: Tensor, objective: Objective) -> Iterator[tuple[str, Tensor]]:
    """The contribution of the input, and then of the bias of each layer that has one: pairs of key and values (N, ...).

    The values have the shape of the activation at the key. All of them together sum to the objective if it is linear in
    the activations that it reads, as a score is. The bias of a layer is its output less its derivative along its
    inputs. For a convolution it is the bias; for a batch norm, shift - scale * mean / deviation; for a smooth layer,
    such as GELU or softmax, the intercept of its tangent.

    A layer has a contribution only if it carries a gradient from the input and gives one tensor of real numbers. A
    layer that gives several tensors, or complex numbers, counts as one layer with the layers that read it.

    Args:
        flat: The network.
        x: The samples (N, ...), of the type and on the device of the network.
        objective: What to explain, one number per sample.

    Example:
        >>> from netlens import open_network
        >>> from netlens.objectives import logit
        >>> flat, x = open_network().double(), torch.rand(1, 3, 64, 64, dtype=torch.float64)
        >>> contributions = dict(full_gradients(flat, x, logit(3)))
        >>> total = sum(values.sum() for values in contributions.values())
        >>> list(contributions)[:2], torch.allclose(total, flat(x)[0, 3])
        (['input', 'stem.1'], True)

    Srinivas and Fleuret 2019, https://arxiv.org/abs/1905.00780
    """
    live = live_values(flat, x, objective)
    biased = _biased(live)
    activations, gradients = gradients_of(flat, x, objective, [flat.inputs[0], *(step.key for step in biased)])
    yield flat.inputs[0], activations[0] * gradients[0]
    read = dict.fromkeys(
        key for step in biased if not _gives_bias(step.layer) for key in live.sources(step, fixed=True)
    )
    with torch.no_grad():
        inputs = activations_of(flat, x, list(read)) if read else {}
        for step, activation, gradient in zip(biased, activations[1:], gradients[1:], strict=True):
            yield step.key, gradient * _bias(flat, step, activation, inputs, live)


def full_points(flat: FlatModel, x: Tensor, objective: Objective) -> list[str]:
    """The keys at which `full_gradients` reads gradients, the input first. Methods may share a run that reads them."""
    return [flat.inputs[0], *(step.key for step in _biased(live_values(flat, x, objective)))]


def _biased(live: Live) -> list[Step]:
    return [step for step in live.leading if step.key in live.real and _has_bias(step, live)]


def _has_bias(step: Step, live: Live) -> bool:
    layer = step.layer
    if isinstance(layer, (_ConvNd, nn.Linear)):
        return layer.bias is not None
    if any(_has_bias(producer, live) for producer in live.producers(step)):
        return True
    if name_of(layer) in _GIVES_TUPLES:
        return False
    if not operation_of(layer).has(Trait.HOMOGENEOUS):
        return True
    adds_a_number = isinstance(layer, Add) and not all(isinstance(arg, Slot) for arg in layer.args)
    return adds_a_number or not (live.keys | live.neutral).issuperset(step.reads)


def _gives_bias(layer: nn.Module) -> bool:
    """Whether the weights of a layer give its bias, so that no derivative is needed."""
    return isinstance(layer, _WITH_BIAS) and getattr(layer, "running_mean", layer.weight) is not None


def _bias(flat: FlatModel, step: Step, activation: Tensor, inputs: Mapping[str, Any], live: Live) -> Tensor:
    """The bias of a layer: the value at zero of the linear map that equals the layer near its inputs."""
    layer = step.layer
    if isinstance(layer, nn.Linear):
        return layer.bias
    if isinstance(layer, _ConvNd):
        return layer.bias.view(-1, *[1] * (activation.ndim - 2))  # type: ignore[union-attr]
    if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
        scale = (layer.running_var + layer.eps).rsqrt()
        scale = scale if layer.weight is None else scale * layer.weight
        shift = -scale * layer.running_mean
        return (shift if layer.bias is None else shift + layer.bias).view(-1, *[1] * (activation.ndim - 2))
    bias = activation - _along_inputs(flat, step, inputs, live).reshape(activation.shape)
    return bias.masked_fill(activation.isinf(), 0)  # a mask sets scores to -inf, which no gradient passes


def _along_inputs(flat: FlatModel, step: Step, inputs: Mapping[str, Any], live: Live) -> Tensor:
    """The derivative of the layer along its inputs, for those inputs that carry a gradient from the image."""
    sources = live.sources(step)

    def run(*tensors: Tensor) -> Tensor:
        output: Tensor = live.value(step, {**inputs, **dict(zip(sources, tensors, strict=True))})
        return output

    primals = [inputs[key] for key in sources]
    # where a mask sets a score to -inf, the score does not depend on the image
    along = [value.masked_fill(value.isinf(), 0) if bool(value.isinf().any()) else value for value in primals]
    try:
        return directional_derivative(run, primals, along)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        layers = (step, *live.producers(step))
        raise missing_derivative(
            flat, step.key, layers[-1].layer, "FullGrad takes the derivative along a direction"
        ) from error
