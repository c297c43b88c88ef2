"""Spectra of real pictures: half planes of frequencies (h, w // 2 + 1), orthonormal, so that sizes compare."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def frequencies(extent: tuple[int, int], like: Tensor) -> Tensor:
    """(h, w // 2 + 1): cycles per pixel of each wave, of the type and on the device of `like`."""
    return _frequencies(extent, like.real.dtype if like.is_complex() else like.dtype, like.device)


def falling(extent: tuple[int, int], like: Tensor) -> Tensor:
    """(h, w // 2 + 1): one over the frequency, as the strength of waves in photographs; the mean counts as the longest
    wave."""
    return 1 / frequencies(extent, like).clamp(min=1 / max(extent))


def of_picture(values: Tensor) -> Tensor:
    """The spectrum (..., h, w // 2 + 1) of a real picture (..., h, w)."""
    spectrum: Tensor = torch.fft.rfft2(values, norm="ortho")
    return spectrum


def to_picture(spectrum: Tensor, width: int) -> Tensor:
    """The real picture (..., h, width) of a spectrum, of which the part counts that real pictures have."""
    columns = torch.view_as_real(torch.fft.ifft(spectrum, dim=-2, norm="ortho"))
    # a real picture has no imaginary part at these; backends of FFT disagree on what to do with one
    counts = torch.ones(columns.shape[-2:], dtype=columns.dtype, device=columns.device)
    counts[_own_mirrors(width), 1] = 0
    picture: Tensor = torch.fft.irfft(torch.view_as_complex(columns * counts), n=width, dim=-1, norm="ortho")
    return picture


@lru_cache(maxsize=8)
def _frequencies(extent: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    # asked for again at each step of an optimization, whatever mode they were first asked for in
    with torch.inference_mode(False):
        vertical = torch.fft.fftfreq(extent[0], dtype=dtype, device=device)
        horizontal = torch.fft.rfftfreq(extent[1], dtype=dtype, device=device)
        return torch.hypot(vertical[:, None], horizontal[None])


def odd(phases: Tensor, width: int) -> Tensor:
    """Phases (..., h, width // 2 + 1) that a real picture can have: where a wave and its mirror image both lie in the
    half plane, one has the phase of the other, negated."""
    mirrored = phases.flip(-2).roll(1, -2)
    paired = torch.zeros(phases.shape[-1], dtype=torch.bool, device=phases.device)
    paired[_own_mirrors(width)] = True
    return torch.where(paired, (phases - mirrored) / 2, phases)


def phases_of(spectrum: Tensor, width: int) -> Tensor:
    """The phases of a real picture's spectrum (..., h, width // 2 + 1), such that `odd` leaves them as they are."""
    phases = spectrum.angle()
    height = phases.shape[-2]
    for column in _own_mirrors(width):
        # of -pi and pi, which are one angle, the mirror image must have the other one
        phases[..., height // 2 + 1 :, column] = -phases[..., 1 : (height + 1) // 2, column].flip(-1)
    return phases


def is_own_mirror(spectrum: Tensor, width: int) -> Tensor:
    """(h, width // 2 + 1): whether a wave of a spectrum is its own mirror image, and so real."""
    height = spectrum.shape[-2]
    found = torch.zeros(spectrum.shape[-2:], dtype=torch.bool, device=spectrum.device)
    for column in _own_mirrors(width):
        found[[0] if height % 2 else [0, height // 2], column] = True
    return found


def _own_mirrors(width: int) -> list[int]:
    """The columns whose mirror image is the same column: the mean, and the fastest wave of an even width."""
    return [0] if width % 2 else [0, width // 2]
