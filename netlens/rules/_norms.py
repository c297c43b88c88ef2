"""Layers that divide by a norm: layer, group, instance and RMS norm, batch norm by the batch, and normalized vectors.

Each layer centers, which is linear, and then divides the centered values by their size, the root of a mean of squares.
The slopes of quotients, roots and squares have closed forms, so no small difference is divided by another.
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
from netlens.rules._way import mean_gradient

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
    """The multipliers of a norm. A norm with recorded statistics is linear and keeps its gradient."""
    inner: Any = innermost(layer)
    if not isinstance(inner, Function):
        form = next(form for kind, form in _FORMS.items() if isinstance(inner, kind))
        return (_multipliers(form, vars(inner) | inner._parameters, inputs[0], tensors(reference)[0], gradient),)
    if not inspect.isfunction(inner.function) or any(value.requires_grad for value in inputs[1:]):
        return along_path(layer, inputs, reference, gradient)
    given = arguments(layer, reference, inputs)
    if not given.get("training", given.get("use_input_stats", True)):
        return mean_gradient(layer, inputs, reference, gradient, places=1)
    if given["input"] is not inputs[0] or given.get("p", 2) != 2:
        return along_path(layer, inputs, reference, gradient)
    found = _multipliers(inner.function.__name__, given, inputs[0], tensors(reference)[0], gradient)
    return [found, *[None] * (len(inputs) - 1)]


def _multipliers(form: str, given: Mapping[str, Any], x: Tensor, r: Tensor, gradient: Tensor) -> Tensor:
    if given.get("weight") is not None:
        own = form in ("layer_norm", "rms_norm")
        gradient = gradient * (given["weight"] if own else given["weight"].view(-1, *[1] * (x.ndim - 2)))
    x_rows, r_rows, gradient = (_rows(form, given, value) for value in (x, r, gradient))
    if form == "normalize":
        found = _of_unit_length(x_rows, r_rows, gradient, given["eps"])
        return found.movedim(-1, given["dim"]).to(x.dtype)
    eps = torch.finfo(x.dtype).eps if given["eps"] is None else given["eps"]
    found = _standardized(x_rows, r_rows, gradient, eps, centered=form not in ("rms_norm", "of_unit_size"))
    if "dims" in given:
        return from_rows(found, x, given["dims"]).to(x.dtype)
    if form == "batch_norm":
        return found.view(x.transpose(0, 1).shape).transpose(0, 1).to(x.dtype)
    return found.view(x.shape).to(x.dtype)


def _rows(form: str, given: Mapping[str, Any], value: Tensor) -> Tensor:
    """The values as rows (..., D), where the D values of a row share one size."""
    if form == "normalize":
        return value.movedim(given["dim"], -1)
    if "dims" in given:
        return to_rows(value, given["dims"])
    if form == "batch_norm":  # by the batch: all samples share one size
        return value.transpose(0, 1).flatten(1)
    if form == "instance_norm":
        return value.flatten(2)
    if form == "group_norm":
        return value.reshape(len(value), given["num_groups"], -1)
    return value.flatten(-len(given["normalized_shape"]))


def _standardized(x: Tensor, r: Tensor, gradient: Tensor, eps: float, centered: bool = True) -> Tensor:
    """The multipliers of (x - mean) / sqrt(variance + eps) over the last dimension."""
    x, r = x.to(gradient), r.to(gradient)
    if centered:
        x, r = x - x.mean(-1, keepdim=True), r - r.mean(-1, keepdim=True)
    size, before = ((value.square().mean(-1, keepdim=True) + eps).sqrt() for value in (x, r))
    found = _over_size(x, r, size, before, 1 / (size + before) / x.shape[-1], gradient)
    return found - found.mean(-1, keepdim=True) if centered else found


def _of_unit_length(x: Tensor, r: Tensor, gradient: Tensor, eps: float) -> Tensor:
    """The multipliers of x / max(length, eps) over the last dimension."""
    x, r = x.to(gradient), r.to(gradient)
    size, before = (value.square().sum(-1, keepdim=True).sqrt().clamp(min=eps) for value in (x, r))
    rise = x.square().sum(-1, keepdim=True) - r.square().sum(-1, keepdim=True)
    short = (size <= eps) | (before <= eps)  # here the slope of the clamp counts, too
    slope = torch.where(short & (rise != 0), (size - before) / rise, torch.where(short, 0, 1 / (size + before)))
    return _over_size(x, r, size, before, slope, gradient)


def _over_size(x: Tensor, r: Tensor, size: Tensor, before: Tensor, slope: Tensor, gradient: Tensor) -> Tensor:
    """The multipliers of x / size, from the slope of the size over the sum of the squares of x.

    y = x / s changes by (2 dx - (y + y') ds) / (s + s'). No term of it is large, however small one of the sizes is.
    """
    mean = (gradient * (x / size + r / before)).sum(-1, keepdim=True)
    return (2 * gradient - mean * slope * (x + r)) / (size + before)
