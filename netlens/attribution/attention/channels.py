"""Attention over channels: softmaxes whose rows and columns are channels, so that they say nothing of places.

Channel attention (XCiT's cross-covariance attention; in part EdgeNeXt and DaViT) is written as any other attention is.
What differs is along which dimension of the values it sums. So the channels of one image's activations are numbered,
and the numbers follow the values through reshapes and permutations.

El-Nouby et al. 2021, https://arxiv.org/abs/2106.09681
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from netlens.flat import FlatModel
from netlens.flat.layers import Function, MatMul
from netlens.flat.memo import Memo
from netlens.flat.operations import is_kind, name_of, operation_of
from netlens.flat.step import Step
from netlens.flat.traits import Trait

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


# of each network, the softmaxes that were found to weigh channels
_FOUND: Memo[FlatModel, set[str]] = Memo()


def weighing_channels(
    flat: FlatModel, x: Tensor | None, softmaxes: Sequence[str], passes: Callable[[nn.Module], bool]
) -> set[str]:
    """Those of the softmaxes that weigh channels, told by a run of the first image of x (n, ...), once.

    passes: which layers may stand between a softmax and its product. Without x, what was found before.
    """
    if x is not None and flat not in _FOUND:
        _FOUND[flat] = over_channels(flat, x, {key: products(flat, key, passes) for key in softmaxes})
    return _FOUND.get(flat, set())


class Product(NamedTuple):
    """A product of an attention map with values, and the dimension of these along which it sums."""

    values: str
    dim: int


def products(flat: FlatModel, key: str, passes: Callable[[nn.Module], bool]) -> list[Product]:
    """The products that the map at `key` takes part in, be it through layers that pass it on."""
    found = []
    for step in flat.program.steps:
        if key not in step.reads:
            continue
        if passes(step.layer):
            found += products(flat, step.key, passes)
        else:
            found += _product(step, key)
    return found


def _product(step: Step, key: str) -> list[Product]:
    """The values with which a step multiplies the map at `key`, where it is known how."""
    if name_of(step.layer) != "einsum":
        return [Product(step.reads[-1], -2)] if step.reads[-1] != key else []
    assert isinstance(step.layer, Function)
    terms = str(step.layer.args[0]).replace(" ", "").replace("...", "").partition("->")[0].split(",")
    if len(terms) != 2 or len(step.reads) != 2 or step.reads[0] == step.reads[1]:
        return []
    own = step.reads.index(key)
    summed, others = terms[own][-1:], terms[1 - own]
    return [Product(step.reads[1 - own], others.index(summed) - len(others))] if summed and summed in others else []


def over_channels(flat: FlatModel, x: Tensor, found: dict[str, list[Product]]) -> set[str]:
    """Those of the maps, each with its products, that sum along channels, by a run of the first image of x (n, ...).

    Where nothing says what is summed along, they are taken for maps of tokens.
    """
    dims: dict[str, set[int]] = {}
    for key, dim in (product for some in found.values() for product in some):
        dims.setdefault(key, set()).add(dim)
    if not dims:
        return set()
    (image,) = flat.inputs
    sizes = {step.key for step in flat.program.steps if step.hidden}
    values: dict[str, Any] = {image: x[:1]}
    numbers: dict[str, Any] = {image: _numbered(x[:1], 1) if x.ndim == 4 else None}
    channels: set[Product] = set()
    with torch.no_grad():
        for step, dead in flat.program.schedule([image], tuple(dims)):
            values[step.key] = step.layer(*(values[key] for key in step.reads))
            numbers[step.key] = None if step.hidden else _numbers(step, values, numbers, sizes)
            for dim in dims.get(step.key, ()):
                if _varies(numbers[step.key], dim):
                    channels.add(Product(step.key, dim))
            for key in dead:
                del values[key], numbers[key]
    return {key for key, some in found.items() if some and channels.issuperset(some)}


def _numbers(step: Step, values: dict[str, Any], numbers: dict[str, Any], sizes: set[str]) -> Any:
    """The number of the channel at each place of what a step gives, as far as that is known."""
    layer, value = step.layer, values[step.key]
    known = [key for key in step.reads if isinstance(numbers[key], Tensor)]
    # sizes are read as they are; what is computed from constants alone has no channels of which anything is known
    if _moves(layer) and all(key in sizes or numbers[key] is not None for key in step.reads):
        return layer(*(values[key] if key in sizes else numbers[key] for key in step.reads))
    if not isinstance(value, Tensor):
        return None
    if is_kind(layer, _CONVOLUTIONS) or name_of(layer) in ("conv1d", "conv2d", "conv3d"):
        return _numbered(value, 1)
    linear = is_kind(layer, nn.Linear) or name_of(layer) == "linear"
    if linear or (not known and (is_kind(layer, nn.LayerNorm) or name_of(layer) == "layer_norm")):
        mixes = not known or _varies(numbers[known[0]], -1)  # or else it mixes tokens, as in an MLP-mixer
        return _numbered(value, -1) if mixes else _stretched(numbers[known[0]], value)
    # the last factor of a product has the channels that it gives
    candidates = reversed(known) if is_kind(layer, MatMul) else known
    return next((own for key in candidates if (own := _stretched(numbers[key], value)) is not None), None)


def _moves(layer: nn.Module) -> bool:
    return operation_of(layer).has(Trait.MOVES)


def _numbered(value: Tensor, dim: int) -> Tensor:
    """Numbers along one dimension, the same along all others."""
    shape = [1] * value.ndim
    shape[dim] = -1
    return torch.arange(value.shape[dim], dtype=torch.float32).view(shape).expand(value.shape)


def _stretched(numbers: Tensor, value: Tensor) -> Tensor | None:
    """The numbers in the shape of a value whose channels lie where they lay, whatever its other sizes."""
    if numbers.shape == value.shape:
        return numbers
    if numbers.ndim != value.ndim or 0 in numbers.shape:
        return None
    along = [dim for dim in range(numbers.ndim) if _varies(numbers, dim)]
    if any(numbers.shape[dim] != value.shape[dim] for dim in along):
        return None
    one = numbers[tuple(slice(None) if dim in along else slice(0, 1) for dim in range(numbers.ndim))]
    return one.expand(value.shape)


def _varies(numbers: Any, dim: int) -> bool:
    """Whether the number of the channel depends on where one is along a dimension."""
    if not isinstance(numbers, Tensor) or numbers.ndim < abs(dim):
        return False
    return bool((numbers != numbers.narrow(dim, 0, 1)).any()) if numbers.shape[dim] > 1 else False
