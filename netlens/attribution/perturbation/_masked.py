"""The objective of an activation under masks, which RISE, Sobol indices and HSIC share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution._positions import positions_of
from netlens.attribution._suffix import Suffix
from netlens.attribution.baseline import Baseline, baseline_like
from netlens.flat import FlatModel
from netlens.objectives import Objective


@dataclass(frozen=True)
class Masked:
    """The objective f of m x + (1 - m) baseline, for n samples. A mask m (*sizes) is the same for all channels.

    The positions of a mask are those of an image or of maps, the tokens of a sequence, or the entries of a vector.
    """

    suffix: Suffix
    activation: Tensor  # (n, ...)
    baseline: Tensor  # (n, ...)
    dims: tuple[int, ...]

    @classmethod
    def of(cls, flat: FlatModel, x: Tensor, objective: Objective, wrt: str, baselines: Baseline) -> Masked:
        """Run the network on x up to `wrt`, once."""
        suffix = Suffix.of(flat, x, objective, wrt, many=True)
        activation = suffix.activation
        baseline = baseline_like(flat, wrt, activation, baselines)
        return cls(suffix, activation, baseline, positions_of(flat, wrt, activation))

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(self.activation.shape[dim] for dim in self.dims)

    @property
    def dtype(self) -> torch.dtype:
        """The type in which numbers are added up: at least single precision, whatever the type of the activation."""
        return torch.promote_types(self.activation.dtype, torch.float32)

    def values(self, mask: Callable[[int], Tensor], total: int) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """f under `mask(0)` to `mask(total - 1)`: first all samples under one mask, then all samples under the next.

        Yields (samples, masks, values) of a chunk of rows. Memory holds the masks of one chunk at a time.
        """
        n = len(self.activation)

        def work(first: int, last: int) -> tuple[list[int], Tensor, Tensor]:
            rows = [row % n for row in range(first, last)]
            drawn = {index: mask(index) for index in range(first // n, (last - 1) // n + 1)}
            masks = torch.stack([drawn[row // n] for row in range(first, last)]).to(self.activation.device, self.dtype)
            mask_values = self.spread(masks).to(self.activation)
            # no lerp, because it would take the baseline in another dtype than that of the activation
            masked = mask_values * self.activation[rows] + (1 - mask_values) * self.baseline[rows]
            return rows, masks, self.suffix.value(rows, masked).to(self.dtype)

        return in_chunks(total * n, work)

    def responses(self, mask: Callable[[int], Tensor], total: int) -> Tensor:
        """(n, total): f of each sample under each mask. Memory grows by one number per sample and mask."""
        values = [value for _, _, value in self.values(mask, total)]
        return torch.cat(values).view(total, len(self.activation)).T.contiguous()

    def spread(self, places: Tensor) -> Tensor:
        """One number per position (rows, *sizes), in a shape that broadcasts to activations (rows, ...)."""
        return places.reshape(
            -1, *[self.activation.shape[dim] if dim in self.dims else 1 for dim in range(1, self.activation.ndim)]
        )

    def filled(self, places: Tensor) -> Tensor:
        """One number per position (n, *sizes) as values in the shape of the activation, the same in all channels."""
        return self.spread(places).expand_as(self.activation).contiguous()
