"""Rollouts: attention followed through all layers, from the class token back to the patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from netlens.attribution.attention.maps import attention_maps, by_head
from netlens.attribution.attention.method import AttentionMethod, attention_at, chained
from netlens.attribution.attention.tokens import Tokens
from netlens.attribution.engine import gradients_of
from netlens.attribution.method import register
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option

Fusion = Literal["mean", "max", "min"]


@register
@dataclass(frozen=True)
class AttentionRollout(AttentionMethod):
    """The product of all layers' attention, half of which a token pays to itself, whatever the objective.

    fusion: how the heads of a layer become one map. discard_ratio: which part of each fused map, its smallest
    attention, is set to 0. Rows are then brought back to a sum of 1. With respect to a layer, only the attention after
    it counts. For networks whose attention is among all tokens, the same in all layers.

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
        return tokens.laid_out(tokens.asked(rollout[:, None]))

    def step(self, attention: Tensor) -> Tensor:
        """(n, T, T): how much of each token's new value comes from each token, by attention (n, heads, T, T)."""
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
    """Relevance of tokens, carried through all layers by attention times its positive gradient (Chefer et al.).

    Each layer adds what its map, weighted by its gradient, kept where positive and averaged over heads, brings:
    R = R + E_heads[(gradient * A)+] R, from R = 1. With respect to a layer, only the attention after it counts. For
    networks whose attention is among all tokens, the same in all layers.

    Chefer et al. 2021, https://arxiv.org/abs/2103.15679
    """

    needs = "global attention"

    def points(self, flat: FlatModel, wrt: str) -> tuple[str, ...]:
        return tuple(attention_maps(flat, wrt))

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
        return tokens.laid_out(tokens.asked(relevance[:, None]))
