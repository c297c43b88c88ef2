"""The exact distance of optimal transport between sets of numbers of any size and with any weights."""

from __future__ import annotations

import torch
from torch import Tensor


def sorted_values(values: Tensor, weights: Tensor | None) -> Tensor:
    """(M, 2, K, P): the numbers of K sets in order, and the share of the whole weight up to each number.

    Args:
        values: (M, K, P), K sets of P numbers for each of M samples.
        weights: (P,), the weights of the positions in every set; None for equal weights.
    """
    ordered, places = values.sort(-1)
    if weights is None:
        reach = torch.arange(1, values.shape[-1] + 1, device=values.device).to(values) / values.shape[-1]
        reach = reach.expand_as(values)
    else:
        reach = weights[places].cumsum(-1)
        reach = reach / reach[..., -1:]
    return torch.stack([ordered, reach.detach()], 1)


def transport(mine: Tensor, theirs: Tensor) -> Tensor:
    """(N,): the squared 2-Wasserstein distance, averaged over the K sets: ∫ (F⁻¹(u) − G⁻¹(u))² du.

    The cheapest transport on a line keeps the order, so the distance is that of the quantiles F⁻¹ and G⁻¹. They are
    constant between the shares of weight at which one of them changes, so the integral is a sum.

    Args:
        mine: (N, 2, K, P), what `sorted_values` returns.
        theirs: (1 or N, 2, K, Q), what `sorted_values` returns.
    """
    theirs = theirs.expand(len(mine), -1, -1, -1)
    (values, reach), (other, their_reach) = mine.unbind(1), theirs.unbind(1)
    if torch.equal(reach, their_reach):
        widths = reach.diff(prepend=torch.zeros_like(reach[..., :1]))
        return ((values - other).square() * widths).sum(-1).mean(1)
    ends = torch.cat([reach, their_reach], -1).sort(-1).values
    widths = ends.diff(prepend=torch.zeros_like(ends[..., :1]))
    middles = ends - widths / 2
    difference = _at(values, reach, middles) - _at(other, their_reach, middles)
    return (difference.square() * widths).sum(-1).mean(1)


def _at(values: Tensor, reach: Tensor, shares: Tensor) -> Tensor:
    """The quantiles at the shares: the first value up to which the weight reaches the share."""
    places = torch.searchsorted(reach.contiguous(), shares.contiguous()).clamp(max=reach.shape[-1] - 1)
    return values.gather(-1, places)
