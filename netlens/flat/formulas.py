"""Formulas: which known layer a function computes, found by its values at probes and not by how it is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat.written import LogSumExp, OfUnitSize, QuickGELU, Standardized

Run = Callable[[Tensor], Tensor | None]
"""A function of one tensor; None where it takes no tensor of this shape."""

TOLERANCE = 1e-7
"""Relative: networks write constants in float32, or with ten digits; the kinds themselves are further apart."""

_FIXED: tuple[Callable[[], nn.Module], ...] = (
    *(nn.ReLU, nn.ReLU6, nn.GELU, lambda: nn.GELU("tanh"), nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid),
    *(nn.Tanh, nn.SELU, nn.LogSigmoid, nn.Softsign, nn.Tanhshrink),
)
_FAR = 1e4  # the last two probes are -_FAR and _FAR


@lru_cache(maxsize=1)
def _probes() -> Tensor:
    """(64,) numbers of both signs, small, near the usual kinks (which they miss: a derivative is unique), and large."""
    near = [0.0137 + 0.3041 * i for i in range(27)] + [1e-4, 1.0, 12.7, 25.3]
    numbers = [*near, *(-number for number in near), -_FAR, _FAR]
    return torch.tensor(numbers, dtype=torch.float64, device="cpu").view(4, 4, 2, 2)


@lru_cache(maxsize=1)
def _values() -> Tensor:
    """What the fixed kinds give at the probes, (kinds, 64)."""
    with torch.no_grad():
        return torch.stack([make()(_probes()).flatten() for make in _FIXED])


def elementwise(run: Run) -> nn.Module | None:
    """The elementwise layer that a function computes, in value and in derivative; None if it is none that is known."""
    seen = ((x, _seen(run, x)) for x in _shapes(_probes()))
    x, found = next((pair for pair in seen if pair[1] is not None), (_probes(), None))
    if found is None or found.shape != x.shape or not found.is_floating_point():
        return None
    places, numbers = found.flatten(), x.flatten()
    if places[:-2].isfinite().all():
        for known in chain(_fixed(places), _with_a_number(places, numbers)):
            if _same(known(x), found) and _same_slope(known, run, x):
                return known
    return None


def _fixed(places: Tensor) -> Iterator[nn.Module]:
    away = (_values() - places).abs() > TOLERANCE * (1 + _values().abs())
    unlike = (away & places.isfinite()).any(1).tolist()
    return (make() for make, other in zip(_FIXED, unlike, strict=True) if not other)


def _with_a_number(places: Tensor, numbers: Tensor) -> Iterator[nn.Module]:
    """The kinds that have a parameter, at the one value of it that a single probe allows."""
    one, minus_one = (int((numbers == sign).nonzero()[0]) for sign in (1, -1))
    up, down, low, high = (float(places[i]) for i in (one, minus_one, -2, -1))
    steady = abs(up - 1) < TOLERANCE
    if steady and 0 < -down < 1:
        yield nn.LeakyReLU(-down)
    if -_FAR / 2 < low < high < _FAR / 2:
        yield nn.Hardtanh(low, high)
    if steady and low < 0 and math.isfinite(low):
        yield nn.ELU(-low)
        yield nn.CELU(-low)
    if 0 < up < 1 and up != 0.5:
        yield QuickGELU(math.log(up / (1 - up)))
    if math.isfinite(up - down) and abs(up - down - 1) < TOLERANCE and down > 0:  # as softplus(x) - softplus(-x) = x
        yield from _softplus(down)


def _softplus(down: float) -> Iterator[nn.Module]:
    """The softplus that is `down` at -1: its steepness by Newton's method, on which it depends monotonously."""
    beta = 1.0
    for _ in range(50):
        value = math.log1p(math.exp(-beta)) / beta
        slope = -value / beta - 1 / (beta * (1 + math.exp(beta)))
        beta = max(beta - (value - down) / slope, beta / 4)
        if beta > 100:
            return
    yield nn.Softplus(beta)


def _same_slope(known: nn.Module, run: Run, x: Tensor) -> bool:
    """Whether the gradients agree, too: `x + (f(x) - x).detach()` has the values of f, but not its gradient."""
    slopes = []
    for function in (known, run):
        with torch.enable_grad():
            point = x.detach().clone().requires_grad_()
            value = function(point)
        if value is None or not value.requires_grad:
            return False
        weights = torch.arange(1, value.numel() + 1, dtype=value.dtype).cos().view(value.shape)
        slopes.append(torch.autograd.grad(value, point, weights)[0])
    return _same(slopes[0], slopes[1])


def reduction(run: Run, dims: Collection[tuple[int, ...]], numbers: Collection[float]) -> nn.Module | None:
    """The softmax, logarithm of sums, or norm over some of these dimensions that a function computes, or None.

    numbers: those in the formula, among which an epsilon is.
    """
    samples = [(x, found) for x in _samples() if (found := _seen(run, x)) is not None]
    if not samples or not all(found.is_floating_point() for _, found in samples):
        return None
    epsilons = [*dict.fromkeys(number for number in numbers if 0 < number < 1), 0.0]
    for over in dims:
        if all(-x.ndim <= dim < x.ndim for x, _ in samples for dim in over):
            for known in _reductions(over, epsilons):
                if all(_alike(known, x, found) for x, found in samples) and _same_slope(known, run, samples[0][0]):
                    return known
    return None


def _reductions(over: tuple[int, ...], epsilons: Sequence[float]) -> Iterator[nn.Module]:
    if len(over) == 1:
        yield from (nn.Softmax(*over), nn.LogSoftmax(*over), LogSumExp(*over), LogSumExp(*over, keepdim=False))
    for eps in epsilons:
        yield from (Standardized(over, eps), OfUnitSize(over, eps))


def _alike(known: nn.Module, x: Tensor, found: Tensor) -> bool:
    value = known(x)
    return value.shape == found.shape and _same(value, found)


@lru_cache(maxsize=1)
def _samples() -> tuple[Tensor, ...]:
    """Random tensors of 4, 3 and 2 dimensions, each of a size that an epsilon changes and of one that it does not."""
    generator = torch.Generator("cpu").manual_seed(0)
    shapes = ((2, 3, 4, 5), (2, 3, 4), (2, 6))
    options: Any = {"generator": generator, "dtype": torch.float64, "device": "cpu"}
    normal = [torch.randn(shape, **options) for shape in shapes]
    return tuple(scale * (x + 0.3) for x in normal for scale in (1.0, 1e-4))


def _shapes(x: Tensor) -> Iterator[Tensor]:
    """The same numbers in 4, 3 and 2 dimensions, for a function that asks for some of them."""
    yield from (x, x.flatten(2), x.flatten(1))


def _seen(run: Run, x: Tensor) -> Tensor | None:
    with torch.no_grad():
        return run(x)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether they agree where both are finite, nearly everywhere: a formula may overflow at the far probes."""
    finite = one.isfinite() & other.isfinite()
    if finite.sum() < 0.9 * finite.numel():  # as a root of numbers of both signs, which says nothing
        return False
    return bool(((one - other).abs() <= TOLERANCE * (1 + one.abs())).logical_or_(~finite).all())
