"""The layout of an input: which dimensions are positions in space and time, and which one is the channel.

The operations that read the input tell this: a convolution slides over its last dimensions, a linear layer mixes the
last one. What lies between the input and these operations (views, permutations, a loop over frames) is run on an input
of which one slice is changed. The parts of the value that change show where the slice went.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from netlens.flat._unrolled import Unrolled
from netlens.flat.layers import Opaque
from netlens.flat.operations import Trait, has_known_forward, innermost, is_ours, name_of, operation_of
from netlens.flat.running import Step
from netlens.memo import Memo

_LINEAR = (nn.Linear, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.TransformerEncoderLayer)
_LINEAR_NAMES = {"linear", "matmul", "bmm", "scaled_dot_product_attention", "multi_head_attention_forward"}
_BY_POSITION = Trait.ELEMENTWISE | Trait.PER_CHANNEL | Trait.KEEPS
_CHANGED = 1e-3  # values that change by less than this share of the largest change are not part of a slice


@dataclass(frozen=True)
class Layout:
    """Which dimensions of an input hold what. The samples lie in dimension 0.

    Args:
        positions: The dimensions of time and space, in their order: one of a signal, two of an image, three of a volume
            or of a clip. A vector has its entries as positions.
        channel: The dimension of the channels; None if there is none.
        time: The dimension along which the network reads frame after frame; None if no operation shows one.
    """

    positions: tuple[int, ...]
    channel: int | None = None
    time: int | None = None

    @property
    def rank(self) -> int:
        """The number of dimensions of positions."""
        return len(self.positions)


def rank_of(flat: Unrolled, name: str | None = None) -> int | None:
    """The number of dimensions over which the first convolution slides that reads an input; None if none reads it.

    Pooling layers and norms of a known number of dimensions count where there is no convolution.

    Args:
        flat: The flat model.
        name: The key of the input; None for the first one.
    """
    first = _first_of_maps(flat, flat.inputs[0] if name is None else name)
    return None if first is None else first[1]


def layout_of(flat: Unrolled, feeds: Mapping[str, Any], name: str | None = None) -> Layout:
    """The layout of an input, from the operations that read it.

    Where they do not tell, as in a network of linear layers behind a flatten, an input of four dimensions is an image
    (N, C, H, W), one of five a volume (N, C, D, H, W), and any other a sequence along dimension 1.

    Args:
        flat: The flat model.
        feeds: The inputs of the network by key, (N, ...) each.
        name: The key of the input; None for the first one.

    Example:
        >>> from netlens.flat import FlatModel
        >>> flat = FlatModel.from_nn_Module(nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU()))
        >>> layout_of(flat, {"input": torch.zeros(1, 2, 50)})
        Layout(positions=(2,), channel=1, time=None)
    """
    key = flat.inputs[0] if name is None else name
    shapes = tuple((other, _kind(value)) for other, value in feeds.items())
    return _LAYOUTS.of(flat, (key, shapes), lambda: _layout(flat, feeds, key))


_LAYOUTS: Memo[Unrolled, Layout] = Memo()


def _kind(value: Any) -> Any:
    return (value.shape[1:], value.dtype) if isinstance(value, Tensor) else type(value)


def ndim_of(flat: Unrolled) -> int | None:
    """The number of dimensions of a batch, if a convolution reads the input as it is; else None."""
    first = _first_of_maps(flat, flat.inputs[0])
    if first is None or not (first[0] == flat.inputs[0] or _keeps_shape(flat, flat.inputs[0], first[0])):
        return None
    return first[1] + 2


def is_sequence(flat: Unrolled, x: Tensor) -> bool:
    """Whether a batch x (N, T, D) is one of sequences: a recurrent or linear layer reads it, and no convolution."""
    if x.ndim != 3 or _first_of_maps(flat, flat.inputs[0]) is not None:
        return False
    readers, _ = _readers(flat, flat.inputs[0])
    if not readers:
        return False
    feeds = {flat.inputs[0]: x}
    return _of_rows(x.shape, _where(flat, feeds, flat.inputs[0], readers[0][1])) is not None


def _layout(flat: Unrolled, feeds: Mapping[str, Any], key: str) -> Layout:
    value = feeds[key]
    if not value.is_floating_point():
        return _by_convention(value.ndim)
    first, layout = _first_of_maps(flat, key), None
    readers, _ = _readers(flat, key)
    if first is not None:
        layout = _of_maps(value.shape, _where(flat, feeds, key, first[0]), first[1])
    elif readers and value.ndim != 4:  # a linear layer may mix the channels of (N, H, W, C), or the rows of an image
        layout = _of_rows(value.shape, _where(flat, feeds, key, readers[0][1]))
    return _by_convention(value.ndim) if layout is None else layout


def _by_convention(ndim: int) -> Layout:
    if ndim > 3:
        return Layout(tuple(range(2, ndim)), 1)
    return Layout((1,), 2 if ndim == 3 else None)


def _of_maps(shape: Sequence[int], where: list[set[int]] | None, rank: int) -> Layout | None:
    """The layout of an input whose dimensions lie in those of the maps that a convolution of this rank reads."""
    if where is None or len(where) < rank + 1:
        return None
    if len(where) == len(shape) == rank + 2 and all(dims <= {place} for place, dims in enumerate(where)):
        return Layout(tuple(range(2, len(shape))), 1)  # no dimension moved; one with a mean or of size 1 does not show
    inner = where[len(where) - rank :]
    space = [dim for dims in inner for dim in sorted(dims)]
    space = list(dict.fromkeys(space))
    channels = sorted(where[len(where) - rank - 1] - set(space)) if len(where) > rank + 1 else []
    left = [dim for dim in range(1, len(shape)) if dim not in (*space, *channels)]
    # a dimension of size 1 leaves no trace: sides that are missing lie right before the channels or at the end
    for dim in reversed(left):
        if len(space) < rank and shape[dim] == 1 and dim > min(channels, default=1):
            space.append(dim)
    left = [dim for dim in left if dim not in space]
    if not space:
        return None
    if not channels and left:
        before = [dim for dim in left if dim < min(space)]
        channels = [before[-1] if before else left[-1]]
    channel = channels[0] if channels else None
    times = [dim for dim in left if dim != channel]
    return Layout(tuple(sorted((*space, *times, *channels[1:]))), channel, times[0] if times else None)


def _of_rows(shape: Sequence[int], where: list[set[int]] | None) -> Layout | None:
    """The layout of an input that a layer reads which mixes the last dimension, such as a linear or recurrent layer."""
    if where is None:
        return None
    places = set().union(*where[:-1])
    mixed = where[-1] - places
    selected = {dim for dim in range(1, len(shape)) if dim not in places | mixed and shape[dim] > 1}
    if len(mixed) > 1 or not (places or selected):
        return None  # flattened
    channel = next(iter(mixed), None)
    one = [dim for dim in range(1, len(shape)) if shape[dim] == 1 and dim not in places | selected]
    channel = one[-1] if channel is None and one else channel
    times = sorted(selected) if channel is not None or len(selected) == 1 else []
    recurrent = times[0] if times else min(places) if len(places) == 1 else None
    return Layout(tuple(sorted(places | selected)), channel, recurrent)


Reader = tuple[Step, str]  # a layer, and the key that it reads


def _first_of_maps(flat: Unrolled, name: str) -> tuple[str, int] | None:
    """The key that the first convolution reads, else the first pool or norm of maps; and over how many dimensions."""
    for layers in _readers(flat, name):
        for step, source in layers:
            rank = _rank(step.layer)
            if rank is not None:
                return source, rank
    return None


def _readers(flat: Unrolled, name: str) -> tuple[list[Reader], list[Reader]]:
    """The layers that first mix the values of an input, and the pools and norms of maps before them."""
    before, readers, pools = {name}, [], []
    for step in flat.program.steps:
        source = next((key for key in step.reads if key in before), None)
        if source is None or step.hidden:
            continue
        if _mixes(step.layer):
            readers.append((step, source))
            continue
        if _named_rank(step.layer) is not None:
            pools.append((step, source))
        before.add(step.key)
    return readers, pools


def _mixes(layer: nn.Module) -> bool:
    inner = innermost(layer)
    return isinstance(inner, (_ConvNd, Opaque, *_LINEAR)) or _is_convolution(layer) or name_of(inner) in _LINEAR_NAMES


def _is_convolution(layer: nn.Module) -> bool:
    return name_of(innermost(layer)).startswith("conv") and _named_rank(layer) is not None


def _rank(layer: nn.Module) -> int | None:
    """The number of dimensions over which a layer works; for an opaque part, those of its first convolution."""
    inner = innermost(layer)
    if isinstance(inner, _ConvNd):
        return inner.weight.ndim - 2
    if isinstance(inner, Opaque):
        return next((part.weight.ndim - 2 for part in inner.modules() if isinstance(part, _ConvNd)), None)
    return _named_rank(layer)


def _named_rank(layer: nn.Module) -> int | None:
    """The number of dimensions that the name of a layer or function of torch says, such as 2 of `max_pool2d`."""
    inner = innermost(layer)
    name = name_of(inner)
    if not is_ours(inner.function if name else type(inner)):
        return None
    match = re.search(r"(Norm)?([123])d$", name if name else type(inner).__name__)
    # a norm of maps has numbers for each entry of dimension 1, and these need not be channels of an image
    return None if match is None or (match[1] and match[2] == "2") else int(match[2])


def _where(flat: Unrolled, feeds: Mapping[str, Any], key: str, source: str) -> list[set[int]] | None:
    """For each dimension of the value at `source`, the dimensions of the input `key` that lie along it.

    None if that value is no tensor.
    """
    if source == key or _keeps_shape(flat, key, source):
        return [{dim} - {0} for dim in range(feeds[key].ndim)]
    one = {name: value[:1] if isinstance(value, Tensor) and value.ndim else value for name, value in feeds.items()}

    def run(x: Tensor) -> Any:
        return flat.program.run({**one, key: x}, [source])[source]

    x = one[key].detach()
    step = float(x.max() - x.min()) + 1.0
    with torch.no_grad():
        base = run(x)
        if not isinstance(base, Tensor):
            return None
        where: list[set[int]] = [set() for _ in range(base.ndim)]
        for dim in range(1, x.ndim):
            if x.shape[dim] == 1:
                continue
            changed = [_changed(base, run(_raised(x, dim, index, step))) for index in (0, x.shape[dim] - 1)]
            if not all(bool(part.any()) for part in changed):
                continue  # a frame that this layer does not read
            for place in range(base.ndim):
                others = [other for other in range(base.ndim) if other != place]
                first, last = (part.any(others) if others else part for part in changed)
                if not torch.equal(first, last):
                    where[place].add(dim)
    return where


def _keeps_shape(flat: Unrolled, key: str, source: str) -> bool:
    """Whether only operations position by position lie between an input and the key `source`; then no run is needed."""
    alike = {key}
    for step in flat.program.steps:
        if alike.isdisjoint(step.reads) or step.hidden:
            continue
        if len(step.reads) == 1 and operation_of(step.layer).has(_BY_POSITION) and has_known_forward(step.layer):
            alike.add(step.key)
        if step.key == source:
            break
    return source in alike


def _raised(x: Tensor, dim: int, index: int, step: float) -> Tensor:
    raised = x.clone()
    raised.select(dim, index).add_(step)
    return raised


def _changed(before: Tensor, after: Tensor) -> Tensor:
    change = (after - before).abs()
    return change > _CHANGED * change.max() if change.numel() else change > 0
