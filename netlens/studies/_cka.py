"""Linear CKA: how similar two representations of the same samples are, whatever the directions of their features."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear_cka(a: Tensor, b: Tensor) -> float:
    """Linear centered kernel alignment of the features of n samples, by the unbiased estimator.

    CKA = h(K, L) / √(h(K, K) h(L, L)), where K = a aᵀ and L = b bᵀ with zeros in their diagonals, and

    h(K, L) = (tr KL + 1ᵀK1 1ᵀL1 / ((n − 1)(n − 2)) − 2 1ᵀKL1 / (n − 2)) / (n (n − 3)).

    It is 1 for features that are equal up to a rotation and one scale, and about 0 for independent ones, also where
    there are more features than samples, where the usual estimator comes close to 1.

    Args:
        a: (n, p), at least 4 samples.
        b: (n, q): other features of the same samples.

    Returns:
        The similarity; NaN if there are fewer than 4 samples, or if one of the representations is constant and they
        differ.

    Example:
        >>> x = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1], [3, 1]])
        >>> round(linear_cka(x, 2 * x.flip(1)), 12)
        1.0

    Kornblith et al. 2019, https://arxiv.org/abs/1905.00414; Nguyen et al. 2021, https://arxiv.org/abs/2010.15327
    """
    if len(a) < 4:
        return math.nan
    if a.shape == b.shape and torch.equal(a, b):
        return 1.0
    k, l = (_gram(features) for features in (a, b))  # noqa: E741 - the letters of the formula
    product = float(_hsic(k, k) * _hsic(l, l))
    return float(_hsic(k, l)) / math.sqrt(product) if product > 0 else math.nan


def _gram(features: Tensor) -> Tensor:
    """The products of all pairs of samples, in float64."""
    exact = features.double()
    exact = exact - exact.mean(0)  # changes nothing but the rounding
    length = exact.norm()
    exact = exact / length if length > 0 else exact
    return (exact @ exact.T).fill_diagonal_(0)


def _hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    n = len(k)
    one_k, one_l = k.sum(0), l.sum(0)
    pairs = one_k.sum() * one_l.sum() / ((n - 1) * (n - 2))
    return ((k * l).sum() + pairs - 2 * (one_k @ one_l) / (n - 2)) / (n * (n - 3))
