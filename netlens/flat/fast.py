"""The fast twin of a flat model, for what weights need no gradient for: batch norm folded, channels last."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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

BLOCK = 4096
"""How many weights are summed at a time: few enough that the places of theirs stay at hand."""

Stamp = tuple[tuple[tuple[int, int], ...], tuple[float, ...]]


class _Twin(NamedTuple):
    flat: FlatModel
    keep: frozenset[str]
    copied: tuple[nn.Module, ...]  # the network's layers whose weights the twin has of its own; all others are shared
    stamp: Stamp | None  # of these weights, when they were copied


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
    made = _TWINS.get(flat)
    if made is None or made.keep != kept or made.stamp is None or made.stamp != _stamp(made.copied):
        made = _TWINS[flat] = _made(flat, kept)
    return made.flat


def channels_last(x: Tensor) -> Tensor:
    """The same values, in memory as the twin reads them fastest."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _made(flat: FlatModel, keep: frozenset[str]) -> _Twin:
    layers = foldings(flat.program, keep)
    steps, copied = [], []
    for step in flat.program.steps:
        layer = layers.get(step.key, step.layer)
        if type(layer) is nn.Conv2d:
            layer = _channels_last(layer)
        if layer is not step.layer:
            copied.append(step.layer)
        steps.append(replace(step, layer=layer))
    twin = flat.edited(replace(flat.program, steps=tuple(steps)))
    return _Twin(twin, keep, tuple(copied), _stamp(copied))


def _channels_last(layer: nn.Conv2d) -> nn.Conv2d:
    weight = layer.weight.detach()
    if weight.is_contiguous(memory_format=torch.channels_last) or layer._forward_pre_hooks:
        return layer
    bias = None if layer.bias is None else layer.bias.detach()
    return rebuilt(layer, weight.contiguous(memory_format=torch.channels_last), bias)


def _stamp(layers: Iterable[nn.Module]) -> Stamp | None:
    """What differs once a weight has changed; None where torch does not count changes, as in inference mode."""
    held = (tensor for layer in layers for tensor in (*layer._parameters.values(), *layer._buffers.values()))
    tensors = [tensor for tensor in held if tensor is not None]
    if any(tensor.is_inference() for tensor in tensors):
        return None
    # changes through `weight.data` are not counted; the sums, one pass over the weights, see them
    sums = _sums([tensor for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()])
    return tuple((each.data_ptr(), each._version) for each in tensors), sums


@torch.no_grad()
def _sums(tensors: Sequence[Tensor]) -> tuple[float, ...]:
    """Sums of all values, each times a number of its place: they see values that only changed places, too."""
    alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        alike.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    found: list[float] = []
    for (device, _), some in alike.items():
        sums, rest = [], []
        with torch.autocast(device.type, enabled=False):
            for tensor in some:
                values = _real(tensor).reshape(-1)
                whole = len(values) // BLOCK * BLOCK
                if whole:
                    sums.append(_sum(values[:whole].view(-1, BLOCK)))
                if whole < len(values):
                    rest.append(values[whole:] if whole else values)
            if rest:  # one sum for all of them, as most layers have several small tensors
                sums.append(_sum(torch.cat(rest)[None]))
            found += torch.stack(sums).tolist()
    return tuple(found)


def _real(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.double()


def _sum(rows: Tensor) -> Tensor:
    height, width = (_places(count, rows.dtype, rows.device) for count in rows.shape)
    return rows @ width @ height


@lru_cache(maxsize=256)
def _places(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.sin(torch.arange(1, count + 1, dtype=torch.float64)).to(device, dtype)  # no two alike
