"""Elementwise layers by finite differences: the slope between the reference and the input replaces the derivative.

If both are so near that their difference has too few digits, the derivative half-way between them is used. The function
decides what is near: the rounding error of the slope is then no larger than the error of that derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat.operations import innermost, name_of, operation_of
from netlens.flat.traits import Curve
from netlens.rules.calls import call, tensors, wide
from netlens.rules.path import along_path

Near = Callable[[Tensor, Tensor], Tensor]


def _never(x: Tensor, r: Tensor) -> Tensor:
    """For functions that copy their input or are constant: even small differences are exact."""
    return torch.zeros_like(x)


def _cube_root(x: Tensor) -> float:
    """The cube root of the rounding of the type of x."""
    return float(torch.finfo(x.dtype).eps ** (1 / 3))


def _by_own_size(x: Tensor, r: Tensor) -> Tensor:
    """For functions that are smooth except at 0, such as powers. Values on both sides of 0 are never near."""
    return _cube_root(x) * (x.abs() + r.abs()) / 2


def _by_one(x: Tensor, r: Tensor) -> Tensor:
    """For smooth functions that bend around 1, such as a sigmoid."""
    return _cube_root(x) * ((x + r).abs() / 2).clamp(min=1)


def _between_kinks(x: Tensor, r: Tensor) -> Tensor:
    """For functions with kinks, where the derivative half-way across a kink means little."""
    root: float = torch.finfo(x.dtype).eps ** (1 / 2)
    return root * ((x + r).abs() / 2).clamp(min=1)


_NEAR: dict[Curve, Near] = {
    Curve.COPY: _never,
    Curve.SCALED: _by_own_size,
    Curve.UNIT: _by_one,
    Curve.KINKED: _between_kinks,
}


def secant(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
) -> Sequence[Tensor | None]:
    """The gradient times (f(x) - f(r)) / (x - r) for each element. Other tensors, such as weights, are constant."""
    others = tensors(reference)
    turn = _changing(inputs, others)
    if turn is None or inputs[turn].shape != gradient.shape:  # another tensor changes, or is broadcast against this one
        return along_path(layer, inputs, reference, gradient)
    x, r = (wide(layer, value) for value in (inputs[turn], others[turn]))
    if x.is_complex():
        return _of_complex(layer, inputs, reference, gradient)

    def value(at: Tensor) -> Tensor:
        output: Tensor = call(layer, reference, [*inputs[:turn], at, *inputs[turn + 1 :]])
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
            # an element that does not change may lack a slope, as a root at 0 does
            slope = torch.where((x == r) & ~slope.isfinite(), 0, slope)
    found: list[Tensor | None] = [None] * len(inputs)
    found[turn] = (gradient * slope).to(inputs[turn].dtype)
    return found


def _changing(inputs: Sequence[Tensor], others: Sequence[Tensor]) -> int | None:
    """The index of the tensor that changes. None if several change."""
    wanted = [i for i, value in enumerate(inputs) if value.requires_grad]
    same = (torch.equal(x, r) for i, (x, r) in enumerate(zip(inputs, others, strict=True)) if i not in wanted)
    return wanted[0] if len(wanted) == 1 and all(same) else None


def _of_complex(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
) -> Sequence[Tensor | None]:
    """|z| changes by the real part of (z + z')* dz / (|z| + |z'|). Other functions use `along_path`."""
    if name_of(innermost(layer)) != "abs":
        return along_path(layer, inputs, reference, gradient)
    z, before = inputs[0], tensors(reference)[0]
    size = z.abs() + before.abs()
    return [gradient * torch.where(size == 0, 0, (z + before) / size)]


def _derivative(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    with torch.enable_grad():
        point = at.detach().requires_grad_()
        value = function(point)
        return torch.autograd.grad(value.sum(), point)[0] if value.requires_grad else torch.zeros_like(at)


def log_mean(a: Tensor, b: Tensor) -> Tensor:
    """The slope of the exponential, (e^a - e^b) / (a - b), to the last digit: the logarithmic mean of e^a and e^b."""
    gap = (a - b).abs()
    rise = -torch.expm1(-gap) / gap
    return torch.maximum(a, b).exp() * torch.where(a == b, 1, rise)  # both -inf under a mask: e^-inf is 0


def exponential(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
) -> Sequence[Tensor]:
    """The secant of e^x, and of e^x - 1."""
    x, r = (wide(layer, value) for value in (inputs[0], *tensors(reference)))
    return ((gradient * log_mean(x, r)).to(inputs[0].dtype),)
