"""A case: the images and the numbers that explanations are about, and the runs that metrics need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from netlens.attribution.baseline import Baseline, baseline_like
from netlens.errors import NetLensError, NotApplicable
from netlens.fast import arranged, fast
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.flat.intake import check_fits
from netlens.flat.keys import SCORES, part
from netlens.objectives import Objective, Record

Make = Callable[[Sequence[int]], Tensor]
"""A function from the numbers of some jobs to their inputs (m, C, H, W)."""


@dataclass(frozen=True, eq=False)
class Case:
    """The images and the numbers that explanations are about.

    Args:
        flat: The network.
        x: (N, C, H, W), its input.
        explained: What is explained, one number for each image.
        judged: The number that metrics read when they change an image; None for `explained`.
        masks: (N, H, W), True on the object that truly causes the number; None if nobody knows.

    Raises:
        NetLensError: The input does not fit the network, or the masks do not fit the input.
        NotApplicable: The input holds no images.
    """

    flat: FlatModel
    x: Tensor
    explained: Objective
    judged: Objective | None = None
    masks: Tensor | None = None
    _baselines: dict[Any, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_fits(self.flat, self.x)
        if self.x.ndim != 4:
            raise NotApplicable(f"metrics need images (N, C, H, W); the input of {self.flat.name} is {self.x.ndim}-d.")
        sides = (len(self.x), *self.x.shape[2:])
        if self.masks is not None and tuple(self.masks.shape) != sides:
            raise NetLensError(f"masks are {tuple(self.masks.shape)}, but must be {sides}: one for each image.")

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Sequence[int]) -> Case:
        """The case of some of its images, in this order."""
        every = list(rows)
        return Case(
            self.flat,
            self.x[every],
            self.explained.take(every),
            None if self.judged is None else self.judged.take(every),
            None if self.masks is None else self.masks[every],
        )

    @property
    def sides(self) -> tuple[int, int]:
        """The height and width of the images."""
        return self.x.shape[2], self.x.shape[3]

    @cached_property
    def values(self) -> Tensor:
        """(N,), float64: the judged number of each image as it is."""
        return self.values_of(range(len(self)), lambda rows: self.x[list(rows)])

    @cached_property
    def classes(self) -> int:
        """The number of classes of the network."""
        with torch.inference_mode(False), torch.no_grad():
            record = Record(self.flat, self.flat.record(self.x[:1], layers=[part(SCORES, None)]))
            return record.logits.shape[1]

    def values_of(self, samples: Sequence[int], make: Make) -> Tensor:
        """(M,), float64: the judged number of each of M changed images.

        Args:
            samples: For each changed image, the image from which it was made.
            make: Gives the changed images. It is called with the numbers of a few at a time, so that they need not be
                in memory together.
        """
        objective = self.explained if self.judged is None else self.judged
        with torch.inference_mode(False), torch.no_grad():
            network = fast(self.flat, keep=self.flat.keys_of(objective.layers))

            def work(start: int, stop: int) -> Tensor:
                x = arranged(make(range(start, stop)).to(self.x), network)
                record = Record(network, network.record(x, layers=objective.layers))
                return objective.take([samples[job] for job in range(start, stop)])(record).double().cpu()

            return torch.cat([torch.zeros(0, dtype=torch.float64), *in_chunks(len(samples), None, work)])

    def baseline(self, baseline: Baseline) -> Tensor:
        """(N, C, H, W): what stands for absence in each image."""
        if isinstance(baseline, Tensor):
            return baseline_like(self.flat, self.flat.inputs[0], self.x, baseline)
        if baseline not in self._baselines:
            self._baselines[baseline] = baseline_like(self.flat, self.flat.inputs[0], self.x, baseline)
        return self._baselines[baseline]
