"""LeGrad: the positive gradients of each layer's attention, of what that layer alone would have answered."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from netlens.attribution.attention.maps import attention_maps, by_head
from netlens.attribution.attention.method import AttentionMethod
from netlens.attribution.attention.tokens import Tokens
from netlens.attribution.engine import activations_of, differentiated, differentiating, evaluated
from netlens.attribution.method import register
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.model import OUTPUT
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
        outputs = block_outputs(flat, x, attention_maps(flat))
        last = list(outputs.values())[-1]
        after = flat.program.reached([last])
        read = flat.keys_of(objective.layers)
        if any(key not in after for key in read if key != OUTPUT):
            raise NotApplicable(f"{objective} of {flat.name} does not come after {last!r}, the output of its blocks.")
        layers = []
        for key in attention_maps(flat, wrt):
            if key not in outputs:
                continue
            gradient = by_head(key, self._gradient(flat, x, objective, key, outputs[key], last), len(x))
            seen = gradient.clamp(min=0).mean((2, 3))
            layers.append(Tokens.of(flat, x, key, *gradient.shape[1::3]).laid_out(seen))
        return torch.stack(layers).mean(0)

    def _gradient(self, flat: FlatModel, x: Tensor, objective: Objective, key: str, own: str, last: str) -> Tensor:
        """The gradient at the attention map `key` if its block's output `own` stood in the place of the last's."""
        known = activations_of(flat, x, list(dict.fromkeys((*flat.frontier(key), key))))
        with differentiating():
            point = known[key].detach().requires_grad_()
            tokens = flat.run({**known, key: point}, [own])[own]
            answer = flat.run({last: tokens}, flat.keys_of(objective.layers))
            value = evaluated(objective, Record(flat, answer), len(x))
            return differentiated(flat, objective, value, [key], [point])[0]


def block_outputs(flat: FlatModel, x: Tensor, keys: list[str]) -> dict[str, str]:
    """For the attention maps whose block's output could stand in the place of the last block's: that output's key.

    A block's output is the last value before the next attention that alone carries everything on. The last block's
    is as many steps behind its attention as in the block before, which has the same layers.
    """
    steps = list(flat.layers)
    place = {key: i for i, key in enumerate(steps)}
    ends = {}
    for key, following in pairwise(keys):
        between = steps[place[key] + 1 : place[following]]
        alone = next((end for end in reversed(between) if flat.frontier(end) == (end,)), None)
        if alone is not None:
            ends[key] = alone
    final = keys[-1]
    if len(keys) < 2 or keys[-2] not in ends:
        return {final: _next_alone(flat, steps[place[final] + 1 :], final)}
    far = place[ends[keys[-2]]] - place[keys[-2]]
    ends[final] = steps[min(place[final] + far, len(steps) - 1)]
    if flat.frontier(ends[final]) != (ends[final],) or _kind(flat, ends[final]) != _kind(flat, ends[keys[-2]]):
        return {final: _next_alone(flat, steps[place[final] + 1 :], final)}
    shapes = {key: value.shape for key, value in activations_of(flat, x, list(ends.values())).items()}

    def like_the_last(end: str) -> bool:
        # between stages it is a merging of patches, which no block of the last stage ends with
        return shapes[end] == shapes[ends[final]] and _kind(flat, end) == _kind(flat, ends[final])

    return {key: end for key, end in ends.items() if like_the_last(end)}


def _kind(flat: FlatModel, key: str) -> type:
    return type(flat.layers[key])


def _next_alone(flat: FlatModel, following: list[str], key: str) -> str:
    """The first value behind an attention map that alone carries everything on."""
    for end in following:
        if flat.frontier(end) == (end,):
            return end
    raise NotApplicable(f"nothing after {key!r} of {flat.name} carries all that the output depends on.")
