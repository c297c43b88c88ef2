"""Attention over channels: softmaxes whose rows and columns are channels, so they say nothing about positions.

The code of channel attention (XCiT's cross-covariance attention; parts of EdgeNeXt and DaViT) looks like that of any
attention. Only the dimension of the values along which it sums differs. To find it, the channels of the activations of
one image are numbered, and the numbers follow the values through reshapes and permutations.

El-Nouby et al. 2021, https://arxiv.org/abs/2106.09681
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from netlens.flat import FlatModel
from netlens.flat.layers import Function, MatMul
from netlens.flat.operations import Trait, is_kind, name_of, operation_of
from netlens.flat.running import Step
from netlens.memo import Memo

# the softmaxes of a network that weigh channels
_WEIGHING: Memo[FlatModel, set[str]] = Memo()


def weighing_channels(
    flat: FlatModel, x: Tensor | None, softmaxes: Sequence[str], passes: Callable[[nn.Module], bool]
) -> set[str]:
    """The softmaxes that weigh channels. A run of the first image of x (n, ...) shows them, once per network.

    `passes` says which layers may stand between a softmax and its product. Without x, the result of an earlier run
    counts.
    """
    if x is None:
        return _WEIGHING.answer(flat) or set()
    images = x
    return _WEIGHING.of(
        flat, None, lambda: over_channels(flat, images, {key: products(flat, key, passes) for key in softmaxes})
    )


class Product(NamedTuple):
    """A product of an attention map with values, and the dimension of the values along which the product sums."""

    values: str
    dim: int


def products(flat: FlatModel, key: str, passes: Callable[[nn.Module], bool]) -> list[Product]:
    """The products of the map at `key` with values, directly or behind layers that pass the map on."""
    pairs: list[Product] = []
    for step in flat.program.steps:
        if key not in step.reads:
            continue
        if passes(step.layer):
            pairs += products(flat, step.key, passes)
        else:
            pairs += _product(step, key)
    return pairs


def _product(step: Step, key: str) -> list[Product]:
    """The values with which a step multiplies the map at `key`, if the form of the step is known."""
    if name_of(step.layer) != "einsum":
        return [Product(step.reads[-1], -2)] if step.reads[-1] != key else []
    assert isinstance(step.layer, Function)
    terms = str(step.layer.args[0]).replace(" ", "").replace("...", "").partition("->")[0].split(",")
    if len(terms) != 2 or len(step.reads) != 2 or step.reads[0] == step.reads[1]:
        return []
    index = step.reads.index(key)
    summed, value_term = terms[index][-1:], terms[1 - index]
    if not summed or summed not in value_term:
        return []
    return [Product(step.reads[1 - index], value_term.index(summed) - len(value_term))]


def over_channels(flat: FlatModel, x: Tensor, products_of: dict[str, list[Product]]) -> set[str]:
    """The maps whose products sum along channels. A run of the first image of x (n, ...) shows this.

    If nothing shows along which dimension a product sums, the map counts as a map of tokens.
    """
    dims: dict[str, set[int]] = {}
    for key, dim in (product for group in products_of.values() for product in group):
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
    return {key for key, group in products_of.items() if group and channels.issuperset(group)}


def _numbers(step: Step, values: dict[str, Any], numbers: dict[str, Any], sizes: set[str]) -> Any:
    """The number of the channel at each position of the output of a step, or None if it is unknown."""
    layer, value = step.layer, values[step.key]
    with_numbers = [key for key in step.reads if isinstance(numbers[key], Tensor)]
    # a layer reads sizes unchanged; a value that follows from constants alone has no known channels
    if _moves(layer) and all(key in sizes or numbers[key] is not None for key in step.reads):
        return layer(*(values[key] if key in sizes else numbers[key] for key in step.reads))
    if not isinstance(value, Tensor):
        return None
    if operation_of(layer).has(Trait.WEIGHS) and operation_of(layer).has(Trait.BY_PLACE):
        return _numbered(value, 1)
    by_row = operation_of(layer).has(Trait.CHANNELS_LAST)
    if by_row and (operation_of(layer).has(Trait.WEIGHS) or not with_numbers):
        # if the channels are not along the last dimension, the layer mixes tokens, as in an MLP-mixer
        mixes = not with_numbers or _varies(numbers[with_numbers[0]], -1)
        return _numbered(value, -1) if mixes else _stretched(numbers[with_numbers[0]], value)
    # a product has the channels of its last factor
    candidates = reversed(with_numbers) if is_kind(layer, MatMul) else with_numbers
    stretched = (_stretched(numbers[key], value) for key in candidates)
    return next((tensor for tensor in stretched if tensor is not None), None)


def _moves(layer: nn.Module) -> bool:
    return operation_of(layer).has(Trait.MOVES)


def _numbered(value: Tensor, dim: int) -> Tensor:
    """Numbers in the shape of a value that count along one dimension and are constant along all others."""
    shape = [1] * value.ndim
    shape[dim] = -1
    return torch.arange(value.shape[dim], dtype=torch.float32).view(shape).expand(value.shape)


def _stretched(numbers: Tensor, value: Tensor) -> Tensor | None:
    """The numbers, expanded to the shape of `value`; None if the channels do not lie along the same dimension there."""
    if numbers.shape == value.shape:
        return numbers
    if numbers.ndim != value.ndim or 0 in numbers.shape:
        return None
    along = [dim for dim in range(numbers.ndim) if _varies(numbers, dim)]
    if any(numbers.shape[dim] != value.shape[dim] for dim in along):
        return None
    reduced = numbers[tuple(slice(None) if dim in along else slice(0, 1) for dim in range(numbers.ndim))]
    return reduced.expand(value.shape)


def _varies(numbers: Any, dim: int) -> bool:
    """Whether the number of the channel changes along a dimension."""
    if not isinstance(numbers, Tensor) or numbers.ndim < abs(dim):
        return False
    return bool((numbers != numbers.narrow(dim, 0, 1)).any()) if numbers.shape[dim] > 1 else False
