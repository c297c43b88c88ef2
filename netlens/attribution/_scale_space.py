"""Scale space: an image under a Gaussian blur of any width, and its derivative with respect to the width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class ScaleSpace:
    """Final: images (N, C, H, W) under a Gaussian blur of standard deviation sigma pixels, mirrored at the borders.

    The blur works on the cosine transform of each axis. It scales a cosine of w radians per pixel by
    exp(-(sigma w)^2 / 2). So no kernel is cut off, a blur of 0 gives the image itself, and the derivative with respect
    to sigma is exact. The blur keeps the mean. For a sigma above about 1, it equals the sampled Gaussian kernel.

    Args:
        images: The images, or signals, volumes or clips, (N, ...).
        dims: The dimensions that are blurred; None for the last two.
    """

    def __init__(self, images: Tensor, dims: Sequence[int] | None = None) -> None:
        self.dims = (images.ndim - 2, images.ndim - 1) if dims is None else tuple(dims)
        self.cosines: list[Tensor] = []
        self.squared = images.new_zeros(())
        for dim in self.dims:
            cosines, frequencies = _cosines(images.shape[dim], images)
            self.cosines.append(cosines)
            self.squared = self.squared + frequencies.square().view([-1 if d == dim else 1 for d in range(images.ndim)])
        with torch.autocast(images.device.type, enabled=False):
            self.spectrum = images
            for dim, cosines in zip(self.dims, self.cosines, strict=True):
                self.spectrum = _along(self.spectrum, cosines, dim)

    def blurred(self, samples: list[int], sigma: Tensor) -> Tensor:
        """(n, ...): these samples, each under the blur of its own sigma (n,)."""
        return self._image(self.spectrum[samples] * self._decay(sigma))

    def change(self, samples: list[int], sigma: Tensor) -> Tensor:
        """(n, ...): the derivative of `blurred` with respect to sigma."""
        slope = -self._each(sigma) * self.squared * self._decay(sigma)
        return self._image(self.spectrum[samples] * slope)

    def _each(self, sigma: Tensor) -> Tensor:
        return sigma.view(-1, *[1] * (self.spectrum.ndim - 1))

    def _decay(self, sigma: Tensor) -> Tensor:
        return torch.exp(-self._each(sigma).square() * self.squared / 2)

    def _image(self, spectrum: Tensor) -> Tensor:
        with torch.autocast(spectrum.device.type, enabled=False):
            for dim, cosines in zip(self.dims, self.cosines, strict=True):
                spectrum = _along(spectrum, cosines.T, dim)
            return spectrum


def _along(values: Tensor, matrix: Tensor, dim: int) -> Tensor:
    """The product of a matrix with the values along one dimension."""
    if dim == values.ndim - 1:
        return values @ matrix.T
    if dim == values.ndim - 2:
        return matrix @ values
    return (matrix @ values.movedim(dim, -2)).movedim(-2, dim)


def _cosines(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The orthonormal cosines (DCT-II) of an axis as rows, and their frequencies in radians per pixel."""
    frequencies = torch.pi * torch.arange(size, dtype=torch.float64) / size
    basis = torch.cos(frequencies[:, None] * (torch.arange(size, dtype=torch.float64) + 0.5))
    basis /= basis.norm(dim=1, keepdim=True)
    return basis.to(like), frequencies.to(like)
