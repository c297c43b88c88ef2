"""LeGrad: the positive gradients of each layer's attention, of what that layer alone would have answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from netlens.attribution.attention.maps import attention_maps, by_head
from netlens.attribution.attention.method import AttentionMethod
from netlens.attribution.attention.tokens import Tokens
from netlens.attribution.engine import activations_of, differentiated, evaluated
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
    """The positive gradient of each layer's attention map, averaged over heads, asking tokens and layers.

    The gradient at a layer is that of the objective on the layer's own tokens: its block's output goes straight to what
    follows the last block (norm, pooling, head). Layers whose output has another shape than the last block's (earlier
    stages of Swin) have no such answer and are left out. With respect to a layer, only the attention after it counts.
    The paper's last step, min-max, is left to the heat map.

    Bousselham et al. 2024, https://arxiv.org/abs/2404.03214
    """

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        ends = block_ends(flat, attention_maps(flat, x=x))
        last = list(ends.values())[-1]
        after = flat.program.reached([last])
        if any(key not in after for key in flat.keys_of(objective.layers) if key != OUTPUT):
            raise NotApplicable(f"{objective} of {flat.name} does not come after {last!r}, the output of its blocks.")
        keys = [key for key in attention_maps(flat, wrt, x) if key in ends]
        # all that the blocks go on from is recorded in one run
        wanted = [name for key in keys for name in (key, ends[key], *flat.frontier(key))]
        known = activations_of(flat, x, list(dict.fromkeys([*wanted, last])))
        layers = []
        for key in keys:
            if known[ends[key]].shape != known[last].shape:
                continue
            gradient = self._gradient(flat, known, objective, key, ends[key], last, len(x))
            seen = gradient.clamp(min=0).mean((2, 3))
            layers.append(Tokens.of(flat, x, key, *gradient.shape[1::3]).laid_out(seen))
        return torch.stack(layers).mean(0)

    def _gradient(
        self, flat: FlatModel, known: Mapping[str, Tensor], objective: Objective, key: str, own: str, last: str, n: int
    ) -> Tensor:
        """The gradient at the attention map `key` if its block's output `own` stood in the place of the last's."""
        with differentiating():
            point = known[key].detach().requires_grad_()
            tokens = flat.run({name: known[name] for name in flat.frontier(key)} | {key: point}, [own])[own]
            answer = flat.run({last: tokens}, flat.keys_of(objective.layers))
            value = evaluated(objective, Record(flat, answer), n)
            return by_head(key, differentiated(flat, objective, value, [key], [point])[0], n)


def block_ends(flat: FlatModel, keys: list[str]) -> dict[str, str]:
    """For the attention maps whose block's output could stand in the place of the last block's: that output's key.

    A block's output is the last value before the next attention that alone carries everything on. The last block's
    is as many layers behind its attention as in the block before, which is made like it. (What ends with another type
    of layer, as before a merging of patches, is no block like the last.)
    """
    layers = list(flat.layers)
    place = {key: i for i, key in enumerate(layers)}

    def alone(between: Iterable[str]) -> str | None:
        return next((end for end in between if flat.frontier(end) == (end,)), None)

    ends = {key: alone(layers[place[following] - 1 : place[key] : -1]) for key, following in pairwise(keys)}
    final = keys[-1]
    before = ends.get(keys[-2]) if len(keys) > 1 else None
    if before is not None:
        end = layers[min(place[final] + place[before] - place[keys[-2]], len(layers) - 1)]
        if flat.frontier(end) == (end,) and _same_type(flat, end, before):
            like = {key: found for key, found in ends.items() if found is not None and _same_type(flat, found, end)}
            return {**like, final: end}
    only = alone(layers[place[final] + 1 :])
    if only is None:
        raise NotApplicable(f"nothing after {final!r} of {flat.name} carries all that its output depends on.")
    return {final: only}


def _same_type(flat: FlatModel, one: str, other: str) -> bool:
    return type(innermost(flat.layers[one])) is type(innermost(flat.layers[other]))
