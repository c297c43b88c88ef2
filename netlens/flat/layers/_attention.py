"""The pieces of `F.scaled_dot_product_attention` that are no usual layers: masks of scores, and shared heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netlens.flat.layers._calls import Piece


class MaskedScores(Piece):
    """Scores under a mask: where a boolean mask is False, scores become -inf, and a float mask is added."""

    linear = True

    def forward(self, scores: Tensor, mask: Tensor) -> Tensor:
        return scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask


class CausalScores(Piece):
    """Scores (..., L, S) of queries and keys; those of later keys than the query become -inf."""

    linear = True

    def forward(self, scores: Tensor) -> Tensor:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return scores.masked_fill(later, float("-inf"))


class MaskedSoftmax(nn.Softmax):
    """A softmax that gives 0 for a query all of whose keys are masked, as torch's fused attention does."""

    def forward(self, input: Tensor) -> Tensor:
        empty = (input == float("-inf")).all(self.dim, keepdim=True)
        return super().forward(input.masked_fill(empty, 0)).masked_fill(empty, 0)


class RepeatedHeads(Piece):
    """The heads of keys or values (..., heads, S, C), each repeated for its queries (..., heads, L, C)."""

    linear = True

    def forward(self, heads: Tensor, queries: Tensor) -> Tensor:
        return heads.repeat_interleave(queries.shape[-3] // heads.shape[-3], -3)
