"""Keeping the colors of the content: the style recolored before, or only the luminance taken after."""

from __future__ import annotations

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.visualization.params.color import gray

COLORS = ("style", "luminance", "match", "histogram")
"""The choices of colors: the style's, or the content's in one of three ways."""

_LEAST = 1e-6  # variance, of colors that hardly vary


def recolored(style: Tensor, content: Tensor, color: str) -> Tensor:
    """The style (1, C, H, W) with the colors of the content where the content's colors are to stay."""
    if color == "style":
        return style
    if color == "match":
        return matched_moments(style, content).clamp(0, 1)
    if color == "histogram":
        return matched_histogram(style, content)
    if color == "luminance":
        return matched_moments(gray(style), gray(content)).clamp(0, 1)
    raise NetLensError(f"color is one of {', '.join(COLORS)}, not {color!r}.")


def matched_moments(style: Tensor, content: Tensor) -> Tensor:
    """The style with the mean and the covariance of the content's colors, by the linear map that moves them least.

    Gatys et al. 2016, https://arxiv.org/abs/1606.05897; Monge's map between Gaussians keeps hues as near as can be.
    """
    (mean, cov), (other_mean, other_cov) = _moments(style), _moments(content)
    root, inverse = _power(cov, 0.5), _power(cov, -0.5)
    move = inverse @ _power(root @ other_cov @ root, 0.5) @ inverse
    pixels = style[0].flatten(1)
    return (move @ (pixels - mean[:, None]) + other_mean[:, None]).view_as(style)


def matched_histogram(style: Tensor, content: Tensor) -> Tensor:
    """The style with the content's distribution of values in each channel; equal values stay equal."""
    mine, other = style[0].flatten(1), content[0].flatten(1)
    ranks = mine.argsort(dim=1, stable=True).argsort(dim=1)
    shares = (ranks.double() + 0.5) / mine.shape[1] * other.shape[1] - 0.5
    low = shares.floor().long().clamp(0, other.shape[1] - 1)
    high = (low + 1).clamp(max=other.shape[1] - 1)
    ordered = other.sort(1).values
    part = (shares - low).clamp(0, 1).to(ordered)
    values = ordered.gather(1, low) * (1 - part) + ordered.gather(1, high) * part
    return torch.stack([_levelled(*one) for one in zip(values, mine, strict=True)]).view_as(style)


def _levelled(values: Tensor, levels: Tensor) -> Tensor:
    """Values (n,), each the mean of those with the same level."""
    _, places, counts = levels.unique(return_inverse=True, return_counts=True)
    means: Tensor = (values.new_zeros(len(counts)).index_add_(0, places, values) / counts)[places]
    return means


def with_chroma_of(pictures: Tensor, content: Tensor) -> Tensor:
    """The luminance of the pictures (N, C, H, W) with the chroma of the content (1, 3, H, W), exactly.

    Where a luminance is too bright or too dark for its chroma to be shown, it is the nearest that is not.
    """
    chroma = content - gray(content)
    low, high = -chroma.amin(1, keepdim=True), 1 - chroma.amax(1, keepdim=True)
    return torch.minimum(torch.maximum(gray(pictures), low), high) + chroma


def _moments(pictures: Tensor) -> tuple[Tensor, Tensor]:
    pixels = pictures[0].flatten(1)
    mean = pixels.mean(1)
    centered = pixels - mean[:, None]
    return mean, centered @ centered.T / pixels.shape[1]


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    floor = _LEAST if exponent < 0 else 0.0
    power: Tensor = vectors @ torch.diag(values.clamp(min=floor) ** exponent) @ vectors.T
    return power
