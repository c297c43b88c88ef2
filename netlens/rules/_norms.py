"""Layers that divide by a norm: layer, group, instance and RMS norm, `normalize`, and batch norm by the batch.

Such a layer subtracts the mean, which is linear. Then it divides the values by their size, the root of a mean of
squares. The multipliers of quotients, roots and squares have closed forms, so no small difference is divided by
another.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat.layers import Function, OfUnitSize, Standardized, from_rows, to_rows
from netlens.flat.operations import innermost
from netlens.rules._calls import arguments, tensors
from netlens.rules._path import along_path
from netlens.rules._quadrature import mean_gradient

_FORMS: dict[type[nn.Module], str] = {
    nn.LayerNorm: "layer_norm",
    nn.RMSNorm: "rms_norm",
    nn.GroupNorm: "group_norm",
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), "instance_norm"),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), "batch_norm"),
    Standardized: "standardized",
    OfUnitSize: "of_unit_size",
}
NORMS: tuple[type[nn.Module], ...] = tuple(_FORMS)
NAMES = (*dict.fromkeys(_FORMS.values()), "normalize")


def norm(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
) -> Sequence[Tensor | None]:
    """The multipliers of a norm. With running statistics, a norm is linear, and its multipliers are its gradient."""
    inner: Any = innermost(layer)
    if not isinstance(inner, Function):
        form = next(form for kind, form in _FORMS.items() if isinstance(inner, kind))
        return (_multipliers(form, vars(inner) | inner._parameters, inputs[0], tensors(reference)[0], gradient),)
    if not inspect.isfunction(inner.function) or any(value.requires_grad for value in inputs[1:]):
        return along_path(layer, inputs, reference, gradient)
    options = arguments(layer, reference, inputs)
    if not options.get("training", options.get("use_input_stats", True)):
        return mean_gradient(layer, inputs, reference, gradient, nodes=1)
    if options["input"] is not inputs[0] or options.get("p", 2) != 2:
        return along_path(layer, inputs, reference, gradient)
    multipliers = _multipliers(inner.function.__name__, options, inputs[0], tensors(reference)[0], gradient)
    return [multipliers, *[None] * (len(inputs) - 1)]


def _multipliers(form: str, options: Mapping[str, Any], x: Tensor, r: Tensor, gradient: Tensor) -> Tensor:
    if options.get("weight") is not None:
        last_dims = form in ("layer_norm", "rms_norm")
        gradient = gradient * (options["weight"] if last_dims else options["weight"].view(-1, *[1] * (x.ndim - 2)))
    x_rows, r_rows, gradient = (_rows(form, options, value) for value in (x, r, gradient))
    if form == "normalize":
        multipliers = _of_unit_length(x_rows, r_rows, gradient, options["eps"])
        return multipliers.movedim(-1, options["dim"]).to(x.dtype)
    eps = torch.finfo(x.dtype).eps if options["eps"] is None else options["eps"]
    multipliers = _standardized(x_rows, r_rows, gradient, eps, centered=form not in ("rms_norm", "of_unit_size"))
    if "dims" in options:
        return from_rows(multipliers, x, options["dims"]).to(x.dtype)
    if form == "batch_norm":
        return multipliers.view(x.transpose(0, 1).shape).transpose(0, 1).to(x.dtype)
    return multipliers.view(x.shape).to(x.dtype)


def _rows(form: str, options: Mapping[str, Any], value: Tensor) -> Tensor:
    """The values as rows (..., D), where the D values of a row share one size."""
    if form == "normalize":
        return value.movedim(options["dim"], -1)
    if "dims" in options:
        return to_rows(value, options["dims"])
    if form == "batch_norm":  # all samples of a batch share one size
        return value.transpose(0, 1).flatten(1)
    if form == "instance_norm":
        return value.flatten(2)
    if form == "group_norm":
        return value.reshape(len(value), options["num_groups"], -1)
    return value.flatten(-len(options["normalized_shape"]))


def _standardized(x: Tensor, r: Tensor, gradient: Tensor, eps: float, centered: bool = True) -> Tensor:
    """The multipliers of (x - mean) / sqrt(variance + eps) over the last dimension."""
    x, r = x.to(gradient), r.to(gradient)
    if centered:
        x, r = x - x.mean(-1, keepdim=True), r - r.mean(-1, keepdim=True)
    x_size, r_size = ((value.square().mean(-1, keepdim=True) + eps).sqrt() for value in (x, r))
    multipliers = _divided_by_size(x, r, x_size, r_size, 1 / (x_size + r_size) / x.shape[-1], gradient)
    return multipliers - multipliers.mean(-1, keepdim=True) if centered else multipliers


def _of_unit_length(x: Tensor, r: Tensor, gradient: Tensor, eps: float) -> Tensor:
    """The multipliers of x / max(length, eps) over the last dimension."""
    x, r = x.to(gradient), r.to(gradient)
    x_size, r_size = (value.square().sum(-1, keepdim=True).sqrt().clamp(min=eps) for value in (x, r))
    rise = x.square().sum(-1, keepdim=True) - r.square().sum(-1, keepdim=True)
    short = (x_size <= eps) | (r_size <= eps)  # the size is eps there, and does not grow with the length
    slope = torch.where(short & (rise != 0), (x_size - r_size) / rise, torch.where(short, 0, 1 / (x_size + r_size)))
    return _divided_by_size(x, r, x_size, r_size, slope, gradient)


def _divided_by_size(x: Tensor, r: Tensor, x_size: Tensor, r_size: Tensor, slope: Tensor, gradient: Tensor) -> Tensor:
    """The multipliers of y = x / s, where s is the size. `slope` is the change of s per change of the sum of x².

    y changes by (2 dx - (y + y') ds) / (s + s'). No term is large, even if one of the two sizes is small.
    """
    mean = (gradient * (x / x_size + r / r_size)).sum(-1, keepdim=True)
    return (2 * gradient - mean * slope * (x + r)) / (x_size + r_size)
