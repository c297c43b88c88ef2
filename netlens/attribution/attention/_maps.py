"""The attention maps of a network. The graph shows them, so no network needs to be known by name."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from netlens.attribution._rows import per_sample, real_tensor
from netlens.attribution.attention._channels import weighing_channels
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.layers import Function, MatMul, Reshape, Slot
from netlens.flat.opacity import about_opaque
from netlens.flat.operations import Trait, is_kind, name_of, operation_of
from netlens.flat.running import Step


def attention_maps(flat: FlatModel, wrt: str | None = None, x: Tensor | None = None) -> list[str]:
    """The keys of all attention maps, in order: softmaxes whose output is the first factor of a matrix product.

    Attention over channels does not count. A run of the first image of `x` shows which maps are such, once per network;
    before that run, they are included.

    Args:
        flat: The network.
        wrt: The key of a layer. Only maps after this layer, and the layer itself, count. None: all maps.
        x: A batch (n, ...) for the run.

    Raises:
        NotApplicable: There are no such maps.
    """
    readers: dict[str, list[Step]] = {}
    for step in flat.program.steps:
        for key in step.reads:
            readers.setdefault(key, []).append(step)

    def mixes(key: str) -> bool:
        """Whether the value at `key` is the first factor of a matrix product, in any spelling."""
        return any(_weighs(step, key) or (_passes(step.layer) and mixes(step.key)) for step in readers.get(key, ()))

    maps = [key for key, layer in flat.layers.items() if _is_softmax(layer) and mixes(key)]
    if not maps:
        fused = [key for key, layer in flat.layers.items() if name_of(layer) == "scaled_dot_product_attention"]
        why = (
            f": {fused[0]!r} is fused; build the network with eager attention, which computes the maps" if fused else ""
        )
        raise NotApplicable(
            f"{flat.name} has no attention maps (a softmax that multiplies values){why}."
            + about_opaque(flat, "no attention is seen in them")
        )
    channels = weighing_channels(flat, x, maps, _passes)
    if channels.issuperset(maps):
        raise NotApplicable(
            f"{flat.name} has attention over channels only ({maps[-1]!r} weighs channels, not tokens), which has no "
            "grid of tokens; take a gradient method, such as Saliency, or a class activation map."
        )
    maps = [key for key in maps if key not in channels]
    after = set(maps) if wrt is None else flat.program.reached([wrt])
    if after.isdisjoint(maps):
        raise NotApplicable(f"no attention of {flat.name} comes after {wrt!r}; the last is {maps[-1]!r}.")
    return [key for key in maps if key in after]


def by_head(key: str, value: object, n: int) -> Tensor:
    """An attention map, or its gradient, as (n, windows, heads, queries, keys). A map without windows has one."""
    maps = per_sample(key, real_tensor(key, value), n)
    if maps.ndim == 3:
        maps = maps[:, None]  # the map of a single head has no dimension of heads
    if maps.ndim == 4:
        maps = maps[:, None]
    if maps.ndim != 5 or maps.shape[-1] != maps.shape[-2]:
        raise NotApplicable(f"{key!r} gives {tuple(maps.shape)}, which is no attention between tokens.")
    return maps


def _is_softmax(layer: nn.Module) -> bool:
    return operation_of(layer).has(Trait.SOFTMAX)


def _weighs(step: Step, key: str) -> bool:
    """Whether a step is a product whose first factor is the value at `key`, summed along its last dimension."""
    if name_of(step.layer) == "einsum":
        return any(step.reads[index] == key for index in _summed(step.layer))  # type: ignore[arg-type]
    return (is_kind(step.layer, MatMul) or name_of(step.layer) == "baddbmm") and step.reads[0] == key


def _summed(layer: Function) -> Iterator[int]:
    """The inputs of an einsum that are rows of weights: their last dimension is summed, the one before kept."""
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
    """Whether a layer may stand between the softmax and the product because it keeps the meaning of the map."""
    return operation_of(layer).has(Trait.KEEPS) or is_kind(layer, Reshape)
