"""Spectra of real pictures, (h, w // 2 + 1), by an orthonormal FFT, so that spectra of different sizes compare."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def frequencies(extent: tuple[int, int], like: Tensor) -> Tensor:
    """(h, w // 2 + 1): the frequency of each wave in cycles per pixel, with the type and device of `like`."""
    return _frequencies(extent, like.real.dtype if like.is_complex() else like.dtype, like.device)


def falling(extent: tuple[int, int], like: Tensor) -> Tensor:
    """(h, w // 2 + 1): 1 / frequency, the strength of waves in photographs. The mean counts as the longest wave."""
    return 1 / frequencies(extent, like).clamp(min=1 / max(extent))


def of_picture(values: Tensor) -> Tensor:
    """The spectrum (..., h, w // 2 + 1) of a real picture (..., h, w)."""
    spectrum: Tensor = torch.fft.rfft2(values, norm="ortho")
    return spectrum


def to_picture(spectrum: Tensor, width: int) -> Tensor:
    """The real picture (..., h, width) of a spectrum. Imaginary parts that a real picture cannot have are ignored."""
    columns = torch.view_as_real(torch.fft.ifft(spectrum, dim=-2, norm="ortho"))
    # a real picture has no imaginary parts in these columns; FFT backends treat them in different ways
    counts = torch.ones(columns.shape[-2:], dtype=columns.dtype, device=columns.device)
    counts[_own_mirrors(width), 1] = 0
    picture: Tensor = torch.fft.irfft(torch.view_as_complex(columns * counts), n=width, dim=-1, norm="ortho")
    return picture


@lru_cache(maxsize=8)
def _frequencies(extent: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    # the cache is used in each step; a tensor that is made under inference_mode would not allow gradients
    with torch.inference_mode(False):
        vertical = torch.fft.fftfreq(extent[0], dtype=dtype, device=device)
        horizontal = torch.fft.rfftfreq(extent[1], dtype=dtype, device=device)
        return torch.hypot(vertical[:, None], horizontal[None])


def odd(phases: Tensor, width: int) -> Tensor:
    """Phases (..., h, width // 2 + 1) that a real picture can have, from any phases.

    If a wave and its mirror image are both in the spectrum, one has the negative phase of the other.
    """
    mirrored = phases.flip(-2).roll(1, -2)
    paired = torch.zeros(phases.shape[-1], dtype=torch.bool, device=phases.device)
    paired[_own_mirrors(width)] = True
    return torch.where(paired, (phases - mirrored) / 2, phases)


def phases_of(spectrum: Tensor, width: int) -> Tensor:
    """The phases of a real picture's spectrum (..., h, width // 2 + 1), in a form that `odd` does not change."""
    phases = spectrum.angle()
    height = phases.shape[-2]
    for column in _own_mirrors(width):
        # pi and -pi are the same angle; the mirror image of a wave with pi must have -pi
        phases[..., height // 2 + 1 :, column] = -phases[..., 1 : (height + 1) // 2, column].flip(-1)
    return phases


def is_own_mirror(spectrum: Tensor, width: int) -> Tensor:
    """(h, width // 2 + 1): whether each wave is its own mirror image, so that its value is real."""
    height = spectrum.shape[-2]
    mask = torch.zeros(spectrum.shape[-2:], dtype=torch.bool, device=spectrum.device)
    for column in _own_mirrors(width):
        mask[[0] if height % 2 else [0, height // 2], column] = True
    return mask


def _own_mirrors(width: int) -> list[int]:
    """The columns of the spectrum that are their own mirror image: 0 and, for an even width, the highest frequency."""
    return [0] if width % 2 else [0, width // 2]
