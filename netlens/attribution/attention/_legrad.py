"""LeGrad: the positive gradients of the attention of each layer, for the output computed from its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from netlens.attribution._backward import differentiated, evaluated
from netlens.attribution.activations import activations_of
from netlens.attribution.attention._maps import attention_maps, by_head
from netlens.attribution.attention._method import AttentionMethod
from netlens.attribution.attention._tokens import Tokens
from netlens.attribution.method import register
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT
from netlens.flat.operations import innermost
from netlens.flat.running import differentiating
from netlens.objectives import Objective, Record


@register
@dataclass(frozen=True)
class LeGrad(AttentionMethod):
    """The positive gradient of the attention maps, averaged over heads, queries and layers.

    `values` (N, 1, h, w) are the mean over layers, heads and queries of max(d y / d A, 0), on the grid of tokens. For
    the map A of a layer, y is the objective if the output of its block skips all later blocks and directly enters the
    layers after the last block (norm, pooling, head). A layer is left out if the output of its block has another shape
    than that of the last block (earlier stages of Swin). With respect to a layer, only the attention after it counts.
    The last step of the paper, min-max, is left to the heatmap.

    Bousselham et al. 2024, https://arxiv.org/abs/2404.03214
    """

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        ends = block_ends(flat, attention_maps(flat, x=x))
        last = list(ends.values())[-1]
        after_last = flat.program.reached([last])
        if any(key not in after_last for key in flat.keys_of(objective.layers) if key != OUTPUT):
            raise NotApplicable(f"{objective} of {flat.name} does not come after {last!r}, the output of its blocks.")
        keys = [key for key in attention_maps(flat, wrt, x) if key in ends]
        # one run records the values that all blocks need
        fetches = [name for key in keys for name in (key, ends[key], *flat.frontier(key))]
        activations = activations_of(flat, x, list(dict.fromkeys([*fetches, last])))
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
        """The gradient at the attention map `key` if `end`, its block's output, replaces that of the last block."""
        with differentiating():
            point = activations[key].detach().requires_grad_()
            frontier = {name: activations[name] for name in flat.frontier(key)}
            tokens = flat.run(frontier | {key: point}, [end])[end]
            outputs = flat.run({last: tokens}, flat.keys_of(objective.layers))
            value = evaluated(objective, Record(flat, outputs), n)
            return by_head(key, differentiated(flat, objective, value, [key], [point])[0], n)


def block_ends(flat: FlatModel, keys: list[str]) -> dict[str, str]:
    """The key of the output of the block of each attention map, for blocks whose output can replace the last one.

    The output of a block is the last value before the next attention that is a cut of the network by itself: all later
    layers depend on it alone. In the last block, it lies as many layers after the attention as in the previous block,
    which has the same structure. A block that ends with another type of layer, such as one before a merging of patches,
    is left out.
    """
    layers = list(flat.layers)
    index_of = {key: i for i, key in enumerate(layers)}

    def first_cut(keys_between: Iterable[str]) -> str | None:
        return next((end for end in keys_between if flat.frontier(end) == (end,)), None)

    ends = {key: first_cut(layers[index_of[following] - 1 : index_of[key] : -1]) for key, following in pairwise(keys)}
    final = keys[-1]
    previous_end = ends.get(keys[-2]) if len(keys) > 1 else None
    if previous_end is not None:
        end = layers[min(index_of[final] + index_of[previous_end] - index_of[keys[-2]], len(layers) - 1)]
        if flat.frontier(end) == (end,) and _same_type(flat, end, previous_end):
            similar = {key: value for key, value in ends.items() if value is not None and _same_type(flat, value, end)}
            return {**similar, final: end}
    last_end = first_cut(layers[index_of[final] + 1 :])
    if last_end is None:
        raise NotApplicable(
            f"no layer after {final!r} of {flat.name} alone determines the output, so its last block has no end; "
            "choose AttentionMap or a gradient method."
        )
    return {final: last_end}


def _same_type(flat: FlatModel, first: str, second: str) -> bool:
    return type(innermost(flat.layers[first])) is type(innermost(flat.layers[second]))
