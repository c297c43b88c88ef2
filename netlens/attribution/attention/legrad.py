"""LeGrad: the positive gradients of the attention of each layer, for the answer of that layer alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from netlens.attribution.activations import activations_of
from netlens.attribution.attention.maps import attention_maps, by_head
from netlens.attribution.attention.method import AttentionMethod
from netlens.attribution.attention.tokens import Tokens
from netlens.attribution.backward import differentiated, evaluated
from netlens.attribution.method import register
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.model import OUTPUT
from netlens.flat.modes import differentiating
from netlens.flat.operations import innermost
from netlens.objectives import Objective, Record


@register
@dataclass(frozen=True)
class LeGrad(AttentionMethod):
    """The positive gradient of the attention maps, averaged over heads, queries and layers.

    `values` (N, 1, h, w) are the mean over layers, heads and queries of max(d y / d A, 0), on the grid of tokens. For
    the map A of a layer, y is the objective of the output of its block, which skips all later blocks and enters what
    follows the last block (norm, pooling, head). A layer is left out if the output of its block has another shape than
    that of the last block (earlier stages of Swin). With respect to a layer, only the attention after it counts. The
    last step of the paper, min-max, is left to the heat map.

    Bousselham et al. 2024, https://arxiv.org/abs/2404.03214
    """

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        ends = block_ends(flat, attention_maps(flat, x=x))
        last = list(ends.values())[-1]
        after = flat.program.reached([last])
        if any(key not in after for key in flat.keys_of(objective.layers) if key != OUTPUT):
            raise NotApplicable(f"{objective} of {flat.name} does not come after {last!r}, the output of its blocks.")
        keys = [key for key in attention_maps(flat, wrt, x) if key in ends]
        # one run records the values that all blocks need
        wanted = [name for key in keys for name in (key, ends[key], *flat.frontier(key))]
        activations = activations_of(flat, x, list(dict.fromkeys([*wanted, last])))
        layers = []
        for key in keys:
            if activations[ends[key]].shape != activations[last].shape:
                continue
            gradient = self._gradient(flat, activations, objective, key, ends[key], last, len(x))
            relevance = gradient.clamp(min=0).mean((2, 3))
            layers.append(Tokens.of(flat, x, key, *gradient.shape[1::3]).laid_out(relevance))
        return torch.stack(layers).mean(0)

    def _gradient(
        self,
        flat: FlatModel,
        activations: Mapping[str, Tensor],
        objective: Objective,
        key: str,
        end: str,
        last: str,
        n: int,
    ) -> Tensor:
        """The gradient at the attention map `key` if the output `end` of its block replaces that of the last block."""
        with differentiating():
            point = activations[key].detach().requires_grad_()
            frontier = {name: activations[name] for name in flat.frontier(key)}
            tokens = flat.run(frontier | {key: point}, [end])[end]
            answer = flat.run({last: tokens}, flat.keys_of(objective.layers))
            value = evaluated(objective, Record(flat, answer), n)
            return by_head(key, differentiated(flat, objective, value, [key], [point])[0], n)


def block_ends(flat: FlatModel, keys: list[str]) -> dict[str, str]:
    """The key of the output of the block of each attention map, for blocks whose output can replace the last one.

    The output of a block is the last value before the next attention on which alone all later layers depend. In the
    last block, it lies as many layers behind the attention as in the block before, which has the same structure. A
    block that ends with another type of layer, as before a merging of patches, is left out.
    """
    layers = list(flat.layers)
    place = {key: i for i, key in enumerate(layers)}

    def alone(keys_between: Iterable[str]) -> str | None:
        return next((end for end in keys_between if flat.frontier(end) == (end,)), None)

    ends = {key: alone(layers[place[following] - 1 : place[key] : -1]) for key, following in pairwise(keys)}
    final = keys[-1]
    before = ends.get(keys[-2]) if len(keys) > 1 else None
    if before is not None:
        end = layers[min(place[final] + place[before] - place[keys[-2]], len(layers) - 1)]
        if flat.frontier(end) == (end,) and _same_type(flat, end, before):
            alike = {key: other for key, other in ends.items() if other is not None and _same_type(flat, other, end)}
            return {**alike, final: end}
    only = alone(layers[place[final] + 1 :])
    if only is None:
        raise NotApplicable(
            f"no layer after {final!r} of {flat.name} alone determines the output, so its last block has no end; "
            "take AttentionMap or a gradient method."
        )
    return {final: only}


def _same_type(flat: FlatModel, one: str, other: str) -> bool:
    return type(innermost(flat.layers[one])) is type(innermost(flat.layers[other]))
