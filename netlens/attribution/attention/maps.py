"""Where a network's attention maps are: found from the graph, so that no network needs to be known by name."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from netlens.attribution.attention.channels import weighing_channels
from netlens.attribution.engine import per_sample, real_tensor
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.layers import Function, MatMul, Reshape, Slot
from netlens.flat.operations import is_kind, name_of, operation_of
from netlens.flat.step import Step
from netlens.flat.traits import Trait


def attention_maps(flat: FlatModel, wrt: str | None = None, x: Tensor | None = None) -> list[str]:
    """The keys of all attention maps, in order: softmaxes whose output is the first factor of a matrix product.

    With `wrt` only those that come after it, itself included. Attention over channels is not among them: a run of the
    first image of x (n, ...) tells it apart, once for each network; until then it is. Raises `NotApplicable` where
    there are none.
    """
    readers: dict[str, list[Step]] = {}
    for step in flat.program.steps:
        for key in step.reads:
            readers.setdefault(key, []).append(step)

    def mixes(key: str) -> bool:
        """Whether the value at `key` is the first factor of a matrix product, however that is spelled."""
        return any(_weighs(step, key) or (_passes(step.layer) and mixes(step.key)) for step in readers.get(key, ()))

    found = [key for key, layer in flat.layers.items() if _is_softmax(layer) and mixes(key)]
    if not found:
        fused = [key for key, layer in flat.layers.items() if name_of(layer) == "scaled_dot_product_attention"]
        why = (
            f": {fused[0]!r} is fused; build the network with eager attention, which computes the maps" if fused else ""
        )
        raise NotApplicable(f"{flat.name} has no attention maps (a softmax that multiplies values){why}.")
    channels = weighing_channels(flat, x, found, _passes)
    if channels.issuperset(found):
        raise NotApplicable(
            f"{flat.name} has attention over channels only ({found[-1]!r} weighs channels, not tokens), and none of it "
            "lies on a grid of tokens; take a gradient method, such as Saliency, or a class activation map."
        )
    found = [key for key in found if key not in channels]
    after = set(found) if wrt is None else flat.program.reached([wrt])
    if after.isdisjoint(found):
        raise NotApplicable(f"no attention of {flat.name} comes after {wrt!r}; the last is {found[-1]!r}.")
    return [key for key in found if key in after]


def by_head(key: str, value: object, n: int) -> Tensor:
    """An attention map, or its gradient, as (n, windows, heads, queries, keys); without windows there is one."""
    maps = per_sample(key, real_tensor(key, value), n)
    if maps.ndim == 3:
        maps = maps[:, None]  # one head, whose dimension was left out
    if maps.ndim == 4:
        maps = maps[:, None]
    if maps.ndim != 5 or maps.shape[-1] != maps.shape[-2]:
        raise NotApplicable(f"{key!r} gives {tuple(maps.shape)}, which is no attention of tokens to one another.")
    return maps


def _is_softmax(layer: nn.Module) -> bool:
    return operation_of(layer).has(Trait.SOFTMAX)


def _weighs(step: Step, key: str) -> bool:
    """Whether a step is a product that sums along the last dimension of the value at `key`, its first factor."""
    if name_of(step.layer) == "einsum":
        return any(step.reads[index] == key for index in _summed(step.layer))  # type: ignore[arg-type]
    return (is_kind(step.layer, MatMul) or name_of(step.layer) == "baddbmm") and step.reads[0] == key


def _summed(layer: Function) -> Iterator[int]:
    """Which inputs an einsum sums along their last dimension, while it keeps the one before: rows of weights."""
    equation = layer.args[0]
    if not isinstance(equation, str):
        return
    terms, arrow, result = equation.replace(" ", "").replace("...", "").partition("->")
    if not arrow:
        result = "".join(letter for letter in terms if terms.count(letter) == 1)
    for term, arg in zip(terms.split(","), layer.args[1:], strict=False):
        if isinstance(arg, Slot) and len(term) > 1 and term[-1] not in result and term[-2] in result:
            yield arg.index


def _passes(layer: nn.Module) -> bool:
    """Whether a layer may stand between the softmax and the product without changing what the map says."""
    return operation_of(layer).has(Trait.KEEPS) or is_kind(layer, Reshape)
