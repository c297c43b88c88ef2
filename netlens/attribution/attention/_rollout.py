"""Rollouts: attention followed through all layers, from the class token back to the patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from netlens.attribution.attention._maps import attention_maps, by_head
from netlens.attribution.attention._method import AttentionMethod, attention_at, chained
from netlens.attribution.attention._tokens import Tokens
from netlens.attribution.engine import gradients_of
from netlens.attribution.method import register
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option

Fusion = Literal["mean", "max", "min"]


@register
@dataclass(frozen=True)
class AttentionRollout(AttentionMethod):
    """The product of the attention of all layers, whatever the objective.

    `values` (N, 1, h, w) are one row of the product over layers of (A + 1) / 2 on the grid of tokens: that of the class
    token, or the mean of all rows. A is the attention of a layer, with its heads fused by `fusion`. The identity stands
    for the skip connection. The share `discard_ratio` of each fused map, its smallest attention, becomes 0, and the
    rows are scaled to a sum of 1. With respect to a layer, only the attention after it counts. The method needs a
    network with attention among all tokens, and the same tokens in all layers.

    Abnar and Zuidema 2020, https://arxiv.org/abs/2005.00928
    """

    fusion: Fusion = option("mean", help="How the heads of a layer become one map.")
    discard_ratio: float = option(
        0.0, least=0, below=1, help="The share of each fused map, its smallest attention, that becomes 0."
    )
    reads_objective = False
    needs = "global attention"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        keys = attention_maps(flat, wrt, x)
        rollout = None
        for attention in chained(flat, keys, attention_at(flat, x, keys)):
            step = self.step(attention)
            rollout = step if rollout is None else step @ rollout
        assert rollout is not None
        tokens = Tokens.of(flat, x, keys[0], 1, rollout.shape[-1])
        return tokens.laid_out(tokens.queried(rollout[:, None]))

    def step(self, attention: Tensor) -> Tensor:
        """(n, T, T): the share of each token in the new value of each token, from attention (n, heads, T, T)."""
        fused = attention.mean(1) if self.fusion == "mean" else getattr(attention, f"a{self.fusion}")(1)
        smallest = int(self.discard_ratio * fused[0].numel())
        if smallest > 0:
            places = fused.flatten(1).topk(smallest, largest=False).indices
            fused = fused.flatten(1).scatter(1, places, 0.0).view_as(fused)
        mixed = fused + torch.eye(fused.shape[-1]).to(fused)
        return mixed / mixed.sum(-1, keepdim=True)


@register
@dataclass(frozen=True)
class GradientRollout(AttentionMethod):
    """The relevance of tokens, carried through all layers by attention times its gradient, where that is positive.

    `values` (N, 1, h, w) are one row of R on the grid of tokens: that of the class token, or the mean of all rows. R
    starts as the identity. Each layer adds E_heads[max(gradient * A, 0)] R to it, where A is its attention. With
    respect to a layer, only the attention after it counts. The method needs a network with attention among all tokens,
    and the same tokens in all layers.

    Chefer et al. 2021, https://arxiv.org/abs/2103.15679
    """

    needs = "global attention"

    def points(self, flat: FlatModel, x: Tensor, wrt: str) -> tuple[str, ...]:
        return tuple(attention_maps(flat, wrt, x))

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        keys = attention_maps(flat, wrt, x)
        activations, gradients = (
            chained(flat, keys, [by_head(key, value, len(x)) for key, value in zip(keys, values, strict=True)])
            for values in gradients_of(flat, x, objective, keys)
        )
        relevance = torch.eye(activations[0].shape[-1]).to(activations[0])
        for attention, gradient in zip(activations, gradients, strict=True):
            relevance = relevance + (attention * gradient).clamp(min=0).mean(1) @ relevance
        tokens = Tokens.of(flat, x, keys[0], 1, relevance.shape[-1])
        return tokens.laid_out(tokens.queried(relevance[:, None]))
