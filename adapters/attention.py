"""`nn.MultiheadAttention` in pieces: queries, keys, values, scores and their softmax become layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netlens.flat.adapter import rewrite
from netlens.flat.layers import MatMul, Piece, Slot


def product() -> MatMul:
    """A layer that multiplies two activations as matrices."""
    return MatMul(torch.matmul, (Slot(0), Slot(1)), {})


def linear_rows(weight: Tensor, bias: Tensor | None, start: int, stop: int) -> nn.Linear:
    """Rows `start` to `stop` of a linear layer, as a `Linear` that shares the storage."""
    linear = nn.Linear(weight.shape[1], stop - start, bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach()[start:stop], requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach()[start:stop], requires_grad=False)
    return linear


class Masked(Piece):
    """Scores under a mask: a boolean mask sets scores to -inf where it is True, and a float mask is added."""

    linear = True

    def forward(self, scores: Tensor, mask: Tensor) -> Tensor:
        if mask.ndim == 3 and scores.ndim == 4:  # (N * heads, L, S)
            mask = mask.view(scores.shape)
        return scores.masked_fill(mask, float("-inf")) if mask.dtype == torch.bool else scores + mask


class PaddingMasked(Piece):
    """Scores (N, heads, L, S) under a mask (N, S) of the keys that are padding."""

    linear = True

    def forward(self, scores: Tensor, mask: Tensor) -> Tensor:
        mask = mask[..., None, None, :]
        return scores.masked_fill(mask, float("-inf")) if mask.dtype == torch.bool else scores + mask


class BatchSwapped(Piece):
    """Swaps batch and time: from (L, N, C) to (N, L, C), or back. A single sequence (L, C) stays unchanged."""

    linear = True

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1) if x.ndim == 3 else x


class Attention(nn.Module):
    """`nn.MultiheadAttention` as pieces: query, key, value, scores, softmax, mixed, out_proj."""

    def __init__(self, source: nn.MultiheadAttention) -> None:
        super().__init__()
        size = source.embed_dim
        bias = source.in_proj_bias
        if source._qkv_same_embed_dim:
            weights = [source.in_proj_weight[i * size : (i + 1) * size] for i in range(3)]
        else:
            weights = [source.q_proj_weight, source.k_proj_weight, source.v_proj_weight]
        biases = [bias[i * size : (i + 1) * size] if bias is not None else None for i in range(3)]
        projections = [linear_rows(w, b, 0, size) for w, b in zip(weights, biases, strict=True)]
        self.query, self.key, self.value = projections
        self.scores = product()
        self.masked = Masked()
        self.padding_masked = PaddingMasked()
        self.softmax = nn.Softmax(-1)
        self.mixed = product()
        self.out_proj = source.out_proj
        self.heads = (source.num_heads, size // source.num_heads)
        self.batch_first = source.batch_first
        self.swap = BatchSwapped()

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,  # only a hint about attn_mask
    ) -> tuple[Tensor, Tensor | None]:
        if not self.batch_first:
            query, key, value = (self.swap(x) for x in (query, key, value))
        q = self._split(self.query(query)) * self.heads[1] ** -0.5
        k, v = self._split(self.key(key)), self._split(self.value(value))
        scores = self.scores(q, k.transpose(-2, -1))
        if attn_mask is not None:
            scores = self.masked(scores, attn_mask)
        if key_padding_mask is not None:
            scores = self.padding_masked(scores, key_padding_mask)
        weights = self.softmax(scores)
        mixed = self.mixed(weights, v).transpose(-3, -2).flatten(-2)
        output = self.out_proj(mixed)
        if not self.batch_first:
            output = self.swap(output)
        if not need_weights:
            return output, None
        return output, weights.mean(-3) if average_attn_weights else weights

    def _split(self, x: Tensor) -> Tensor:
        by_head: Tensor = x.unflatten(-1, self.heads).transpose(-3, -2)
        return by_head


@rewrite("torch.nn.modules.activation.MultiheadAttention")
def multihead_attention(module: nn.MultiheadAttention) -> nn.Module | None:
    """The module in pieces; None if it adds keys (`add_bias_kv`, `add_zero_attn`), so that it stays one layer."""
    if module.bias_k is not None or module.add_zero_attn:
        return None
    return Attention(module)
