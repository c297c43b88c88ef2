"""Elementwise layers by finite differences: the slope between the reference and the input replaces the derivative.

If the two values are near each other, their difference has too few correct digits. The derivative half-way between them
then replaces the slope. The shape of the function says which values are near: those for which the rounding error of the
slope would be larger than the error of this derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat.operations import Curve, innermost, name_of, operation_of
from netlens.rules._calls import call, tensors, wide
from netlens.rules._path import along_path

Near = Callable[[Tensor, Tensor], Tensor]


def _never(x: Tensor, r: Tensor) -> Tensor:
    """The bound 0: no two different values are near.

    For functions that copy their input or are constant, whose slope is exact even for a small difference.
    """
    return torch.zeros_like(x)


def _cube_root(x: Tensor) -> float:
    """The cube root of the rounding error of the type of x."""
    return float(torch.finfo(x.dtype).eps ** (1 / 3))


def _relative_to_values(x: Tensor, r: Tensor) -> Tensor:
    """For functions that are smooth except at 0, such as powers. Two values with 0 between them are never near."""
    return _cube_root(x) * (x.abs() + r.abs()) / 2


def _relative_to_one(x: Tensor, r: Tensor) -> Tensor:
    """For smooth functions that bend at values around 1, such as a sigmoid."""
    return _cube_root(x) * ((x + r).abs() / 2).clamp(min=1)


def _between_kinks(x: Tensor, r: Tensor) -> Tensor:
    """For functions with kinks. If a kink lies between two values, the derivative in the middle is wrong.

    So the bound is small. At a kink, the slope jumps.
    """
    root: float = torch.finfo(x.dtype).eps ** (1 / 2)
    return root * ((x + r).abs() / 2).clamp(min=1)


_NEAR: dict[Curve, Near] = {
    Curve.COPY: _never,
    Curve.SCALED: _relative_to_values,
    Curve.UNIT: _relative_to_one,
    Curve.KINKED: _between_kinks,
}


def secant(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
) -> Sequence[Tensor | None]:
    """The gradient times (f(x) - f(r)) / (x - r), for each element.

    If another input changes too, or the input is broadcast, the multipliers are those of `along_path`.
    """
    reference_tensors = tensors(reference)
    index = _changing(inputs, reference_tensors)
    # several tensors change, or a tensor is broadcast against another
    if index is None or inputs[index].shape != gradient.shape:
        return along_path(layer, inputs, reference, gradient)
    x, r = (wide(layer, value) for value in (inputs[index], reference_tensors[index]))
    if x.is_complex():
        return _of_complex(layer, inputs, reference, gradient)

    def value(point: Tensor) -> Tensor:
        output: Tensor = call(layer, reference, [*inputs[:index], point, *inputs[index + 1 :]])
        return output

    change = x - r
    curve = operation_of(layer).curve
    assert curve is not None
    near = (x == r) | (change.abs() <= _NEAR[curve](x, r))
    slope = (value(x) - value(r)) / change.masked_fill(near, 1)
    if near.any():
        middle = torch.where(near, torch.where(x == r, x, (x + r) / 2), x)
        slope = torch.where(near, _derivative(value, middle), slope)
        if not slope.sum().isfinite():
            # if an element does not change, its derivative may be infinite (a root at 0) and counts as 0
            slope = torch.where((x == r) & ~slope.isfinite(), 0, slope)
    multipliers: list[Tensor | None] = [None] * len(inputs)
    multipliers[index] = (gradient * slope).to(inputs[index].dtype)
    return multipliers


def _changing(inputs: Sequence[Tensor], reference_tensors: Sequence[Tensor]) -> int | None:
    """The index of the tensor that requires a gradient. None if several do, or if another tensor changes."""
    differentiated = [i for i, value in enumerate(inputs) if value.requires_grad]
    unchanged = (
        torch.equal(x, r)
        for i, (x, r) in enumerate(zip(inputs, reference_tensors, strict=True))
        if i not in differentiated
    )
    return differentiated[0] if len(differentiated) == 1 and all(unchanged) else None


def _of_complex(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
) -> Sequence[Tensor | None]:
    """Complex inputs: |z| changes by the real part of (z + r)* dz / (|z| + |r|). Other functions use `along_path`."""
    if name_of(innermost(layer)) != "abs":
        return along_path(layer, inputs, reference, gradient)
    z, z_reference = inputs[0], tensors(reference)[0]
    size = z.abs() + z_reference.abs()
    return [gradient * torch.where(size == 0, 0, (z + z_reference) / size)]


def _derivative(function: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    with torch.enable_grad():
        point = point.detach().requires_grad_()
        value = function(point)
        return torch.autograd.grad(value.sum(), point)[0] if value.requires_grad else torch.zeros_like(point)


def log_mean(a: Tensor, b: Tensor) -> Tensor:
    """The logarithmic mean of e^a and e^b: the slope (e^a - e^b) / (a - b), without a loss of digits."""
    gap = (a - b).abs()
    rise = -torch.expm1(-gap) / gap
    return torch.maximum(a, b).exp() * torch.where(a == b, 1, rise)  # a mask makes both -inf: e^-inf is 0


def exponential(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
) -> Sequence[Tensor]:
    """The secant of e^x, and of e^x - 1."""
    x, r = (wide(layer, value) for value in (inputs[0], *tensors(reference)))
    return ((gradient * log_mean(x, r)).to(inputs[0].dtype),)
