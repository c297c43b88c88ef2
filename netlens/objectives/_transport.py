"""The exact optimal transport distance between two sets of numbers, of any sizes and with any weights."""

from __future__ import annotations

import torch
from torch import Tensor


def sorted_values(values: Tensor, weights: Tensor | None) -> Tensor:
    """(M, 2, K, P): the numbers of each set in ascending order, and the cumulative weight up to each number.

    Cumulative weights are divided by the total weight, so that the last one is 1.

    Args:
        values: (M, K, P), K sets of P numbers for each of M samples.
        weights: (P,), the weights of the positions, the same for all sets. None for equal weights.
    """
    ordered, order = values.sort(-1)
    if weights is None:
        shares = torch.arange(1, values.shape[-1] + 1, device=values.device).to(values) / values.shape[-1]
        shares = shares.expand_as(values)
    else:
        shares = weights[order].cumsum(-1)
        shares = shares / shares[..., -1:]
    return torch.stack([ordered, shares.detach()], 1)


def transport(a: Tensor, b: Tensor) -> Tensor:
    """(N,): the squared 2-Wasserstein distance, averaged over the K sets: ∫ (F⁻¹(u) − G⁻¹(u))² du.

    On a line, the cheapest transport keeps the order. So the distance is that of the quantile functions F⁻¹ and G⁻¹.
    These are step functions, so the integral is a sum.

    Args:
        a: (N, 2, K, P), as `sorted_values` returns it.
        b: (1 or N, 2, K, Q), as `sorted_values` returns it.
    """
    b = b.expand(len(a), -1, -1, -1)
    (a_values, a_shares), (b_values, b_shares) = a.unbind(1), b.unbind(1)
    if torch.equal(a_shares, b_shares):
        widths = a_shares.diff(prepend=torch.zeros_like(a_shares[..., :1]))
        return ((a_values - b_values).square() * widths).sum(-1).mean(1)
    ends = torch.cat([a_shares, b_shares], -1).sort(-1).values
    widths = ends.diff(prepend=torch.zeros_like(ends[..., :1]))
    middles = ends - widths / 2
    difference = _quantiles(a_values, a_shares, middles) - _quantiles(b_values, b_shares, middles)
    return (difference.square() * widths).sum(-1).mean(1)


def _quantiles(values: Tensor, cumulative: Tensor, levels: Tensor) -> Tensor:
    """The quantiles at `levels`: for each level, the first value whose cumulative weight reaches it."""
    indices = torch.searchsorted(cumulative.contiguous(), levels.contiguous()).clamp(max=cumulative.shape[-1] - 1)
    return values.gather(-1, indices)
