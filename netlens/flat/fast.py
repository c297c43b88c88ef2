"""The fast twin of a flat model, for what weights need no gradient for: batch norm folded, channels last."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from netlens.flat.folding import foldable, foldings, rebuilt
from netlens.flat.rules import Ruled
from netlens.flat.taps import tapped_visit

if TYPE_CHECKING:
    from netlens.flat.model import FlatModel

Stamp = tuple[tuple[tuple[int, int], ...], tuple[float, ...]]


class _Twin(NamedTuple):
    stamp: Stamp | None
    keep: frozenset[str]
    flat: FlatModel


_TWINS: WeakKeyDictionary[FlatModel, _Twin] = WeakKeyDictionary()


def fast(flat: FlatModel, keep: Collection[str] = ()) -> FlatModel:
    """A flat model that computes the same to rounding in less time.

    It is `flat` itself while hooks listen to it, and where layers follow rules, which may ask for their very weights;
    give the twin the rules instead.

    keep: keys whose activations somebody reads; a convolution among them is not folded, as its key would then hold what
    the batch norm gives. The twin has weights of its own. The last one is kept as long as the flat model, and made anew
    when the network's weights have changed.
    """
    if tapped_visit(flat) is not None or any(isinstance(step.layer, Ruled) for step in flat.program.steps):
        return flat
    # most keys hinder no folding, so that most layers are served by one twin
    kept = frozenset(keep) & foldable(flat.program)
    stamp = _stamp((*flat.parameters(), *flat.buffers()))
    made = _TWINS.get(flat)
    if made is None or stamp is None or (made.stamp, made.keep) != (stamp, kept):
        made = _TWINS[flat] = _Twin(stamp, kept, _made(flat, kept))
    return made.flat


def channels_last(x: Tensor) -> Tensor:
    """The same values, in memory as the twin reads them fastest."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _made(flat: FlatModel, keep: Collection[str]) -> FlatModel:
    layers = foldings(flat.program, keep)
    steps = []
    for step in flat.program.steps:
        layer = layers.get(step.key, step.layer)
        if type(layer) is nn.Conv2d:
            layer = _channels_last(layer)
        steps.append(replace(step, layer=layer))
    return flat.edited(replace(flat.program, steps=tuple(steps)))


def _channels_last(layer: nn.Conv2d) -> nn.Conv2d:
    weight = layer.weight.detach()
    if weight.is_contiguous(memory_format=torch.channels_last) or layer._forward_pre_hooks:
        return layer
    bias = None if layer.bias is None else layer.bias.detach()
    return rebuilt(layer, weight.contiguous(memory_format=torch.channels_last), bias)


def _stamp(tensors: Iterable[Tensor]) -> Stamp | None:
    """What differs once a weight has changed; None where torch does not count changes, as in inference mode."""
    tensors = list(tensors)
    if any(tensor.is_inference() for tensor in tensors):
        return None
    # changes through `weight.data` are not counted; the sums, one pass over the weights, see them
    return tuple((each.data_ptr(), each._version) for each in tensors), tuple(_sums(tensors))


def _sums(tensors: Sequence[Tensor]) -> Iterator[float]:
    """Sums of all values, each times a number of its place: they see values that only changed places, too."""
    small: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        if tensor.numel() > 4096:
            yield _sum(tensor.flatten(1) if tensor.ndim > 1 else tensor[None])
        else:
            small.setdefault((tensor.device, tensor.dtype), []).append(tensor.detach().reshape(-1))
    for alike in small.values():  # one sum for all of them, as most layers have several
        yield _sum(torch.cat(alike)[None])


def _sum(rows: Tensor) -> float:
    rows = rows.detach()
    if rows.is_complex():
        rows = torch.view_as_real(rows).flatten(1)
    if rows.dtype not in (torch.float32, torch.float64):
        rows = rows.double()
    with torch.autocast(rows.device.type, enabled=False):
        return (rows @ _places(rows.shape[1]).to(rows) @ _places(len(rows)).to(rows)).item()


@lru_cache(maxsize=256)
def _places(count: int) -> Tensor:
    return torch.sin(torch.arange(1, count + 1, dtype=torch.float64))  # no two alike
