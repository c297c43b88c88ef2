"""Style transfers with the colors of the content: the style is recolored first, or only its luminance is used."""

from __future__ import annotations

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.visualization.params.color import gray

COLORS = ("style", "luminance", "match", "histogram")
"""The choices of colors: those of the style, or those of the content, in one of three ways."""

_LEAST = 1e-6  # the lower bound of a variance, for colors that hardly vary


def recolored(style: Tensor, content: Tensor, color: str) -> Tensor:
    """The style (1, C, H, W), recolored as the choice `color` says."""
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
    """The style with the mean and the covariance of the content's colors, by the linear map that changes colors least.

    This map is Monge's optimal transport between two Gaussians, so hues change as little as possible.

    Gatys et al. 2016, https://arxiv.org/abs/1606.05897
    """
    (mean, cov), (other_mean, other_cov) = _moments(style), _moments(content)
    root, inverse = _power(cov, 0.5), _power(cov, -0.5)
    move = inverse @ _power(root @ other_cov @ root, 0.5) @ inverse
    pixels = style[0].flatten(1)
    return (move @ (pixels - mean[:, None]) + other_mean[:, None]).view_as(style)


def matched_histogram(style: Tensor, content: Tensor) -> Tensor:
    """The style with the distribution of the content in each channel. Equal values of the style stay equal."""
    style_values, content_values = style[0].flatten(1), content[0].flatten(1)
    ranks = style_values.argsort(dim=1, stable=True).argsort(dim=1)
    shares = (ranks.double() + 0.5) / style_values.shape[1] * content_values.shape[1] - 0.5
    low = shares.floor().long().clamp(0, content_values.shape[1] - 1)
    high = (low + 1).clamp(max=content_values.shape[1] - 1)
    ordered = content_values.sort(1).values
    fraction = (shares - low).clamp(0, 1).to(ordered)
    values = ordered.gather(1, low) * (1 - fraction) + ordered.gather(1, high) * fraction
    return torch.stack([_levelled(*pair) for pair in zip(values, style_values, strict=True)]).view_as(style)


def _levelled(values: Tensor, levels: Tensor) -> Tensor:
    """(n,): each value is replaced by the mean of all values with the same level."""
    _, places, counts = levels.unique(return_inverse=True, return_counts=True)
    means: Tensor = (values.new_zeros(len(counts)).index_add_(0, places, values) / counts)[places]
    return means


def with_chroma_of(pictures: Tensor, content: Tensor) -> Tensor:
    """The luminance of the pictures (N, C, H, W) with the chroma of the content (1, 3, H, W).

    If a pixel would leave [0, 1], its luminance is moved to the nearest one that is possible with this chroma.
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
