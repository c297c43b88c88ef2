"""Formulas: recognize the usual layer that a function equals, by values and gradients at probe inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat.layers import LogSumExp, OfUnitSize, QuickGELU, Standardized

Run = Callable[[Tensor], Tensor | None]
"""A function of one tensor. It returns None if it cannot run on a tensor of this shape."""

TOLERANCE = 1e-7
"""The relative tolerance. It allows for constants in float32 or with ten digits; two layer types differ by more."""

_FIXED: tuple[Callable[[], nn.Module], ...] = (
    *(nn.ReLU, nn.ReLU6, nn.GELU, lambda: nn.GELU("tanh"), nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid),
    *(nn.Tanh, nn.SELU, nn.LogSigmoid, nn.Softsign, nn.Tanhshrink),
)
_FAR = 1e4  # the last two probes are -_FAR and _FAR


@lru_cache(maxsize=1)
def _probes() -> Tensor:
    """Probe inputs (4, 4, 2, 2): numbers of both signs, some small, some near the usual kinks, some large.

    No probe is at a kink, so that derivatives are unique.
    """
    near = [0.0137 + 0.3041 * i for i in range(27)] + [1e-4, 1.0, 12.7, 25.3]
    numbers = [*near, *(-number for number in near), -_FAR, _FAR]
    return torch.tensor(numbers, dtype=torch.float64, device="cpu").view(4, 4, 2, 2)


@lru_cache(maxsize=1)
def _values() -> Tensor:
    """The values of the fixed layers at the probes, (layers, 64)."""
    with torch.no_grad():
        return torch.stack([make()(_probes()).flatten() for make in _FIXED])


def elementwise(run: Run) -> nn.Module | None:
    """The usual elementwise layer with the same values and derivatives as a function; None if there is none."""
    pairs = ((x, _value(run, x)) for x in _shapes(_probes()))
    x, value = next((pair for pair in pairs if pair[1] is not None), (_probes(), None))
    if value is None or value.shape != x.shape or not value.is_floating_point():
        return None
    outputs, inputs = value.flatten(), x.flatten()
    if outputs[:-2].isfinite().all():
        for layer in chain(_fixed(outputs), _parametric(outputs, inputs)):
            if _agree(layer(x), value) and _gradients_agree(layer, run, x):
                return layer
    return None


def _fixed(outputs: Tensor) -> Iterator[nn.Module]:
    """The layers without parameters whose outputs at the probes are `outputs`."""
    differs = (_values() - outputs).abs() > TOLERANCE * (1 + _values().abs())
    refuted = (differs & outputs.isfinite()).any(1).tolist()
    return (make() for make, wrong in zip(_FIXED, refuted, strict=True) if not wrong)


def _parametric(outputs: Tensor, inputs: Tensor) -> Iterator[nn.Module]:
    """The layers with one parameter. The output at a single probe shows which value the parameter must have."""
    index_of_one, index_of_minus_one = (int((inputs == sign).nonzero()[0]) for sign in (1, -1))
    at_one, at_minus_one, low, high = (float(outputs[i]) for i in (index_of_one, index_of_minus_one, -2, -1))
    keeps_one = abs(at_one - 1) < TOLERANCE
    if keeps_one and 0 < -at_minus_one < 1:
        yield nn.LeakyReLU(-at_minus_one)
    if -_FAR / 2 < low < high < _FAR / 2:
        yield nn.Hardtanh(low, high)
    if keeps_one and low < 0 and math.isfinite(low):
        yield nn.ELU(-low)
        yield nn.CELU(-low)
    if 0 < at_one < 1 and at_one != 0.5:
        yield QuickGELU(math.log(at_one / (1 - at_one)))
    difference = at_one - at_minus_one
    if math.isfinite(difference) and abs(difference - 1) < TOLERANCE and at_minus_one > 0:
        yield from _softplus(at_minus_one)  # because softplus(x) - softplus(-x) = x


def _softplus(at_minus_one: float) -> Iterator[nn.Module]:
    """The softplus whose output at -1 is this value. The output decreases with beta, so Newton's method finds beta."""
    beta = 1.0
    for _ in range(50):
        value = math.log1p(math.exp(-beta)) / beta
        slope = -value / beta - 1 / (beta * (1 + math.exp(beta)))
        beta = max(beta - (value - at_minus_one) / slope, beta / 4)
        if beta > 100:
            return
    yield nn.Softplus(beta)


def _gradients_agree(layer: nn.Module, run: Run, x: Tensor) -> bool:
    """Whether the gradients are equal: `x + (f(x) - x).detach()` has the values of f, but not the gradient."""
    gradients = []
    for function in (layer, run):
        with torch.enable_grad():
            point = x.detach().clone().requires_grad_()
            value = function(point)
        if value is None or not value.requires_grad:
            return False
        weights = torch.arange(1, value.numel() + 1, dtype=value.dtype).cos().view(value.shape)
        gradients.append(torch.autograd.grad(value, point, weights)[0])
    return _agree(gradients[0], gradients[1])


def reduction(run: Run, dims: Collection[tuple[int, ...]], numbers: Collection[float]) -> nn.Module | None:
    """The softmax, log-softmax, logarithm of a sum of exponentials, or norm that equals a function; None if none does.

    Args:
        run: The function.
        dims: Candidates for the dimensions of the reduction.
        numbers: The numbers of the formula, as candidates for an epsilon.
    """
    samples = [(x, value) for x in _samples() if (value := _value(run, x)) is not None]
    if not samples or not all(value.is_floating_point() for _, value in samples):
        return None
    epsilons = [*dict.fromkeys(number for number in numbers if 0 < number < 1), 0.0]
    for candidate in dims:
        if all(-x.ndim <= dim < x.ndim for x, _ in samples for dim in candidate):
            for layer in _reductions(candidate, epsilons):
                equal = all(_has_value(layer, x, value) for x, value in samples)
                if equal and _gradients_agree(layer, run, samples[0][0]):
                    return layer
    return None


def _reductions(dims: tuple[int, ...], epsilons: Sequence[float]) -> Iterator[nn.Module]:
    if len(dims) == 1:
        yield from (nn.Softmax(*dims), nn.LogSoftmax(*dims), LogSumExp(*dims), LogSumExp(*dims, keepdim=False))
    for eps in epsilons:
        yield from (Standardized(dims, eps), OfUnitSize(dims, eps))


def _has_value(layer: nn.Module, x: Tensor, value: Tensor) -> bool:
    output = layer(x)
    return output.shape == value.shape and _agree(output, value)


@lru_cache(maxsize=1)
def _samples() -> tuple[Tensor, ...]:
    """Random tensors with 4, 3 and 2 dimensions. Some have small values, so that an epsilon changes the output."""
    generator = torch.Generator("cpu").manual_seed(0)
    shapes = ((2, 3, 4, 5), (2, 3, 4), (2, 6))
    options: Any = {"generator": generator, "dtype": torch.float64, "device": "cpu"}
    normal = [torch.randn(shape, **options) for shape in shapes]
    return tuple(scale * (x + 0.3) for x in normal for scale in (1.0, 1e-4))


def _shapes(x: Tensor) -> Iterator[Tensor]:
    """The same numbers in 4, 3 and 2 dimensions, because a function may require a number of dimensions."""
    yield from (x, x.flatten(2), x.flatten(1))


def _value(run: Run, x: Tensor) -> Tensor | None:
    with torch.no_grad():
        return run(x)


def _agree(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors agree where both are finite. Up to 10 % of the values may be infinite or NaN."""
    finite = a.isfinite() & b.isfinite()
    if finite.sum() < 0.9 * finite.numel():  # too few values to compare, as for a square root of negative probes
        return False
    return bool(((a - b).abs() <= TOLERANCE * (1 + a.abs())).logical_or_(~finite).all())
