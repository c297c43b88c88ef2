"""Scale space: an image under a Gaussian blur of any width, and its derivative with respect to the width."""

from __future__ import annotations

import torch
from torch import Tensor

from netlens.flat import FlatModel
from netlens.flat.grid import grid_of


def can_blur(flat: FlatModel, wrt: str, at: Tensor) -> bool:
    """Whether the activation `at` of the layer `wrt` is images or maps (N, C, h, w), which a blur needs."""
    return at.ndim == 4 and (wrt in flat.inputs or grid_of(flat, wrt, at).shape == at.shape)


class ScaleSpace:
    """Final: images (N, C, H, W) under a Gaussian blur of standard deviation sigma pixels, mirrored at the borders.

    The blur works on the cosine transform of each axis. It scales a cosine of w radians per pixel by
    exp(-(sigma w)^2 / 2). So no kernel is cut off, a blur of 0 gives the image itself, and the derivative with respect
    to sigma is exact. The blur keeps the mean. For a sigma above about 1, it equals the sampled Gaussian kernel.
    """

    def __init__(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        (self.rows, down), (self.columns, across) = _cosines(height, images), _cosines(width, images)
        self.squared = down[:, None].square() + across.square()
        with torch.autocast(images.device.type, enabled=False):
            self.spectrum = self.rows @ images @ self.columns.T

    def blurred(self, samples: list[int], sigma: Tensor) -> Tensor:
        """(n, C, H, W): these samples, each under the blur of its own sigma (n,)."""
        return self._image(self.spectrum[samples] * self._decay(sigma))

    def change(self, samples: list[int], sigma: Tensor) -> Tensor:
        """(n, C, H, W): the derivative of `blurred` with respect to sigma."""
        slope = -sigma.view(-1, 1, 1, 1) * self.squared * self._decay(sigma)
        return self._image(self.spectrum[samples] * slope)

    def _decay(self, sigma: Tensor) -> Tensor:
        return torch.exp(-sigma.view(-1, 1, 1, 1).square() * self.squared / 2)

    def _image(self, spectrum: Tensor) -> Tensor:
        with torch.autocast(spectrum.device.type, enabled=False):
            return self.rows.T @ spectrum @ self.columns


def _cosines(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The orthonormal cosines (DCT-II) of an axis as rows, and their frequencies in radians per pixel."""
    frequencies = torch.pi * torch.arange(size, dtype=torch.float64) / size
    basis = torch.cos(frequencies[:, None] * (torch.arange(size, dtype=torch.float64) + 0.5))
    basis /= basis.norm(dim=1, keepdim=True)
    return basis.to(like), frequencies.to(like)
