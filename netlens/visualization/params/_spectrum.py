"""Spectra of real pictures, (h, w // 2 + 1), by an orthonormal FFT, so that spectra of different sizes compare."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

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
    picture: Tensor = _ToPicture.apply(spectrum, width)
    return picture


_TOGETHER = 2**22  # numbers that are transformed together: each transform takes several times their memory


class _ToPicture(torch.autograd.Function):
    """`to_picture`: a linear function, so its gradient is its adjoint, and that of the adjoint is the function."""

    @staticmethod
    def forward(ctx: Any, spectrum: Tensor, width: int) -> Tensor:
        ctx.width = width

        def transformed(waves: Tensor) -> Tensor:
            columns = torch.fft.ifft(waves, dim=-2, norm="ortho")
            _make_real(columns, width)
            levels: Tensor = torch.fft.irfft(columns, n=width, dim=-1, norm="ortho")
            return levels

        return _in_parts(spectrum, transformed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Adjoint.apply(gradient), None


class _Adjoint(torch.autograd.Function):
    """The adjoint of `to_picture`: waves that are their own mirror image count once, all others twice."""

    @staticmethod
    def forward(ctx: Any, picture: Tensor) -> Tensor:
        ctx.width = width = picture.shape[-1]

        def transformed(levels: Tensor) -> Tensor:
            columns = torch.fft.rfft(levels, dim=-1, norm="ortho")
            columns[..., 1 : (width + 1) // 2] *= 2
            _make_real(columns, width)
            waves: Tensor = torch.fft.fft(columns, dim=-2, norm="ortho")
            return waves

        return _in_parts(picture, transformed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return to_picture(gradient, ctx.width)


def _in_parts(maps: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
    """A transform of maps (..., h, w), of a few at a time, so that it takes little memory."""
    count = max(1, _TOGETHER // max(1, maps.shape[-2:].numel()))
    in_line = maps.reshape(-1, *maps.shape[-2:])
    if len(in_line) <= count:
        return transform(maps)
    results: Tensor | None = None
    for first in range(0, len(in_line), count):
        part = transform(in_line[first : first + count])
        if results is None:
            results = part.new_empty((len(in_line), *part.shape[1:]))
        results[first : first + count] = part
    assert results is not None
    return results.reshape(*maps.shape[:-2], *results.shape[1:])


def _make_real(columns: Tensor, width: int) -> None:
    """Drop the imaginary parts that a real picture cannot have. FFT backends treat them in different ways."""
    columns.imag[..., _own_mirrors(width)] = 0


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
