"""Selections: layers whose outputs are some of their inputs, chosen by rank, from a maximum to a complete sort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat.layers import Function
from netlens.flat.operations import innermost, name_of
from netlens.rules._calls import call, tensors
from netlens.rules._path import along_path

_DIM = {"sort": 1, "msort": 1, "topk": 2, "kthvalue": 2, "median": 1, "max": 1, "min": 1}
"""The place of the argument that is the dimension."""
SELECTIONS = tuple(_DIM)
_PAIRS = 2**24
"""The number of pairs of an output and an input that are compared together."""


def selection(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any
) -> Sequence[Tensor | None]:
    """The multipliers of `sort`, `topk`, `kthvalue`, `median`, `max` and `min` of one tensor."""
    if len(inputs) != 1 or inputs[0].ndim == 0:
        return along_path(layer, inputs, reference, gradient)
    gradient = gradient if isinstance(gradient, Tensor) else gradient[0]
    if gradient is None:  # only the indices are read
        return [None]
    x, r, dim = inputs[0], tensors(reference)[0], _dim(layer)
    if dim is None:  # of all values at once
        whole = x.shape
        x, r, dim = x.flatten(), r.flatten(), 0
        (out, here), (before, there) = (_of_all(layer, value) for value in (x, r))
        return [by_rank(x, r, out, before, here, there, gradient.view(1)).view(whole)]
    bare = name_of(innermost(layer)) == "msort"
    after, then = (value.sort(0) if bare else call(layer, reference, [value]) for value in (x, r))
    parts = (after[0], then[0], after[1], then[1], gradient)
    last = [part.movedim(dim, -1) if part.ndim == x.ndim else part.unsqueeze(-1) for part in parts]
    return [by_rank(x.movedim(dim, -1), r.movedim(dim, -1), *last).movedim(-1, dim)]


def _dim(layer: nn.Module) -> int | None:
    """The dimension along which a selection works. None for all values together."""
    inner = innermost(layer)
    assert isinstance(inner, Function)
    name = name_of(inner)
    place = _DIM[name]
    if name == "msort":
        return 0
    if name == "sort" and len(inner.args) > 2:  # sort(x, stable, dim) has its keywords by position, too
        place = next(i for i, arg in enumerate(inner.args) if i and not isinstance(arg, bool))
    given = inner.args[place] if len(inner.args) > place and not isinstance(inner.args[place], bool) else None
    for keyword in ("dim", "axis"):
        given = inner.kwargs.get(keyword, given)
    return given if given is not None or name in ("median", "max", "min") else -1


def _of_all(layer: nn.Module, values: Tensor) -> tuple[Tensor, Tensor]:
    name = name_of(innermost(layer))
    found: Any = getattr(torch, name)(values, 0, keepdim=True)
    return found.values, found.indices


def by_rank(x: Tensor, r: Tensor, out: Tensor, before: Tensor, here: Tensor, there: Tensor, gradient: Tensor) -> Tensor:
    """The multipliers at x (..., places), from values of one rank each (..., k) and their places in x and in r.

    A place crosses if its value goes from at most `before` in r to at least `out` in x. A rise goes to the place `here`
    if that crosses; else to `there` if that crosses; else in equal parts to all places that cross. By counting ranks,
    at least one place crosses. A fall goes the other way round, first to `there`. So no multiplier exceeds the
    gradient.
    """
    found = torch.zeros_like(x, dtype=gradient.dtype)
    rise = torch.where(out == before, 0, out - before)  # of infinities
    up, left = rise > 0, rise != 0
    for place, mine in ((here, up), (there, ~up), (there, up), (here, ~up)):
        new, old = x.gather(-1, place), r.gather(-1, place)
        crosses = left & mine & _crosses(new, old, out, before, up)
        found.scatter_add_(-1, place, gradient * torch.where(crosses, rise / (new - old), 0))
        left = left & ~crosses
    # if neither the value nor its place changes, the derivative is the multiplier
    still = (out == before) & (x.gather(-1, here) == r.gather(-1, here))
    found.scatter_add_(-1, here, gradient * still)
    if left.any():
        size = max(1, _PAIRS // x.numel())
        for column in torch.where(left.reshape(-1, left.shape[-1]).any(0))[0].split(size):
            own = (part[..., column].unsqueeze(-1) for part in (out, before, up, left, gradient * rise))
            found += _among_all(x.unsqueeze(-2), r.unsqueeze(-2), *own).sum(-2)
    return found


def _crosses(new: Tensor, old: Tensor, out: Tensor, before: Tensor, up: Tensor) -> Tensor:
    """Whether a value passes both selected values in the direction of their change."""
    return torch.where(up, (old <= before) & (new >= out), (old >= before) & (new <= out))


def _among_all(x: Tensor, r: Tensor, out: Tensor, before: Tensor, up: Tensor, left: Tensor, share: Tensor) -> Tensor:
    crosses = left & _crosses(x, r, out, before, up)
    return torch.where(crosses, share / (crosses.sum(-1, keepdim=True) * (x - r)), 0)
