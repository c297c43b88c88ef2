"""Pictures whose waves have the magnitudes of photographs; only their phases are optimized."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.options import option
from netlens.visualization.params._base import Size, leaf, noise
from netlens.visualization.params._invertible import Startable, resampled
from netlens.visualization.params._spectrum import falling, is_own_mirror, odd, of_picture, phases_of, to_picture
from netlens.visualization.params.color import from_image


@dataclass(frozen=True, eq=False)
class Maco(Startable):
    """Magnitude-constrained optimization: the magnitude of each wave is fixed, and its phase is optimized.

    The magnitudes are (C, h, w // 2 + 1), those of an orthonormal FFT of `values`; or (N, C, h, w // 2 + 1), one per
    picture. The mean [..., 0, 0] may be negative. If the pictures have another size, the magnitudes are those of the
    resized picture; the magnitudes of higher frequencies are proportional to one over the frequency.
    `Maco.like(photos)` measures magnitudes. By default, and for further channels, they are one over the frequency, as
    in photographs, around mid gray.

    Fel et al. 2023, https://arxiv.org/abs/2306.06805
    """

    magnitude: Tensor | None = option(
        None, help="Magnitude of each wave; by default one over the frequency, as in photographs.", repr=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        magnitude = self.magnitude
        if magnitude is not None and (
            magnitude.ndim not in (3, 4) or not magnitude.numel() or not magnitude.isfinite().all()
        ):
            shape = tuple(magnitude.shape)
            expected = "(C, h, w // 2 + 1), or (N, C, h, w // 2 + 1)"
            raise NetLensError(f"a magnitude must be finite and {expected}, not {shape}; see Maco.like(photos).")
        if magnitude is not None and magnitude.ndim == 4 and len(magnitude) != self.batch:
            raise NetLensError(
                f"{len(magnitude)} magnitudes for {self.batch} pictures; give one for each, or one for all."
            )

    @classmethod
    def like(cls, images: Tensor, **options: Any) -> Maco:
        """Maco with the mean magnitude and color of images (N, C, H, W) in [0, 1]. By default, it has their size."""
        param = cls(**{"size": tuple(images.shape[2:]), "channels": images.shape[1], **options})
        spectra = of_picture(from_image(resampled(images, param.size), param.decorrelate, param.squash))
        magnitude = spectra.abs().mean(0)
        magnitude[:, 0, 0] = spectra[:, :, 0, 0].real.mean(0)
        return replace(param, magnitude=magnitude)

    def plain(self, **options: Any) -> Maco:
        return replace(self, **options, magnitude=None)

    def take(self, rows: range) -> Maco:
        if self.magnitude is None or self.magnitude.ndim == 3:
            return self
        seeds = self.seeds[rows.start : rows.stop]
        return replace(self, batch=len(rows), seed=seeds, magnitude=self.magnitude[rows.start : rows.stop])

    def fitted(self, image: Tensor) -> Maco:
        spectra = of_picture(from_image(image, self.decorrelate, self.squash))
        # the value of a wave that is its own mirror image is real, and its phase stays 0: its sign is kept here
        is_real = is_own_mirror(spectra, image.shape[-1])
        return replace(self, magnitude=torch.where(is_real, spectra.real, spectra.abs()))

    def encoded(self, values: Tensor) -> list[Tensor]:
        return [phases_of(of_picture(values), values.shape[-1])]

    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        return self.drawn(
            lambda generator: [of_picture(noise(generator, self.channels, *self.extent)).angle()], device, dtype
        )

    def values(self, parameters: Sequence[Tensor]) -> Tensor:
        (phases,) = parameters
        width = self.extent[1]
        magnitude = self._magnitude(phases).expand_as(phases)
        return to_picture(torch.polar(magnitude, odd(phases, width)), width)

    def resized(self, parameters: Sequence[Tensor], size: Size) -> tuple[Maco, list[Tensor]]:
        """The same picture at another size. The phases of new high frequencies are drawn from the seeds."""
        (phases,) = parameters
        param = replace(self, size=size)
        (old_height, old_width), (height, width) = self.extent, param.extent
        with torch.no_grad():
            odd_phases = odd(phases, old_width)
            if self.extent == param.extent:
                return param, [leaf(odd_phases)]
            drawn = param.start(phases.device, phases.dtype)[0].detach()
            fastest = (min(height, old_height) - 1) // 2
            rows = torch.arange(-fastest, fastest + 1, device=phases.device)[:, None]
            columns = torch.arange((min(width, old_width) - 1) // 2 + 1, device=phases.device)
            # the corners of both pictures coincide, so the centers of their first pixels differ
            shift = rows * (1 / height - 1 / old_height) + columns * (1 / width - 1 / old_width)
            drawn[..., rows, columns] = odd_phases[..., rows, columns] + math.pi * shift
        return param, [leaf(drawn)]

    def _magnitude(self, like: Tensor) -> Tensor:
        # `mixed` spreads a channel over red, green and blue, so a channel that is not mixed has a lower strength
        mixed = 3 if self.decorrelate and self.channels in (3, 4) else 0
        strengths = [1 / 4] * mixed + [1 / (4 * math.sqrt(3))] * (self.channels - mixed)
        natural = falling(self.extent, like) * like.new_tensor(strengths)[:, None, None]
        natural[:, 0, 0] = 0
        if self.magnitude is None:
            return natural
        magnitude = self.magnitude.to(like)
        magnitudes = magnitude if magnitude.ndim == 4 else magnitude[None]
        measured = torch.stack([_resized_magnitude(self.extent, m)[: self.channels] for m in magnitudes])
        full = torch.cat([measured, natural[measured.shape[1] :].expand(len(measured), -1, -1, -1)], 1)
        return full if self.magnitude.ndim == 4 else full[0]


def _resized_magnitude(extent: tuple[int, int], magnitude: Tensor) -> Tensor:
    """The magnitude of the resized picture. At new high frequencies, it is proportional to one over the frequency."""
    height, width = extent
    rows, columns = magnitude.shape[1:]
    if (rows, columns) == (height, width // 2 + 1):
        return magnitude
    # an even and an odd width have the same number of waves; if the picture is no square, its width is taken as even
    across = rows if rows // 2 + 1 == columns else max(2 * (columns - 1), 1)
    vertical = torch.fft.fftfreq(height, 1 / height, dtype=magnitude.dtype, device=magnitude.device).round().long()
    horizontal = torch.arange(width // 2 + 1, device=magnitude.device)
    fastest = (rows - 1) // 2, (across - 1) // 2  # the fastest waves, except those that are their own mirror images
    nearest = vertical.clamp(-fastest[0], fastest[0])[:, None], horizontal.clamp(max=fastest[1])
    fall = falling(extent, magnitude)
    further = fall / fall[nearest]
    return magnitude[:, nearest[0], nearest[1]] * further * math.sqrt(height * width / (rows * across))
