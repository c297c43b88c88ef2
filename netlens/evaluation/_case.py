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
class ImageParts:
    """Parts of images, and the images as they truly are without each of them.

    A renderer knows what was behind a part; a hole that somebody fills is a guess. Images with fewer parts than others
    have empty masks for the rest.

    Args:
        masks: (N, K, H, W), True on each part.
        without: (N, K, C, H, W), the input of the network without each part.
    """

    masks: Tensor
    without: Tensor

    def __post_init__(self) -> None:
        masks, without = self.masks.shape, self.without.shape
        if len(masks) != 4 or len(without) != 5 or (*masks[:2], *masks[2:]) != (*without[:2], *without[3:]):
            raise NetLensError(
                f"parts are masks (N, K, H, W) and images (N, K, C, H, W), not {tuple(masks)} and {tuple(without)}."
            )

    def take(self, rows: Sequence[int]) -> ImageParts:
        """The parts of some of the images, in this order."""
        return ImageParts(self.masks[list(rows)], self.without[list(rows)])


@dataclass(frozen=True, eq=False)
class Case:
    """The images and the numbers that explanations are about.

    Args:
        flat: The network.
        x: (N, C, H, W), its input.
        explained: What is explained, one number for each image.
        judged: The number that metrics read when they change an image; None for `explained`.
        masks: (N, H, W), True on the object that truly causes the number; None if nobody knows.
        image_parts: Parts of the images, which a renderer can take away; None if there are none.
        neighbor: The same network, trained in the same way from another seed; None if there is none.
        shuffled: The same network, trained on shuffled labels; None if there is none.

    Raises:
        NetLensError: The input does not fit one of the networks, or masks or parts do not fit the input.
        NotApplicable: The input holds no images.
    """

    flat: FlatModel
    x: Tensor
    explained: Objective
    judged: Objective | None = None
    masks: Tensor | None = None
    image_parts: ImageParts | None = None
    neighbor: FlatModel | None = None
    shuffled: FlatModel | None = None
    _baselines: dict[Any, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_fits(self.flat, self.x)
        if self.x.ndim != 4:
            raise NotApplicable(f"metrics need images (N, C, H, W); the input of {self.flat.name} is {self.x.ndim}-d.")
        sides = (len(self.x), *self.x.shape[2:])
        if self.masks is not None and tuple(self.masks.shape) != sides:
            raise NetLensError(f"masks are {tuple(self.masks.shape)}, but must be {sides}: one for each image.")
        without = None if self.image_parts is None else self.image_parts.without
        if without is not None and (len(without), *without.shape[2:]) != tuple(self.x.shape):
            raise NetLensError(f"parts are those of {tuple(without.shape)}, but the input is {tuple(self.x.shape)}.")
        for network in (self.neighbor, self.shuffled):
            if network is not None:
                check_fits(network, self.x)

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
            None if self.image_parts is None else self.image_parts.take(every),
            self.neighbor,
            self.shuffled,
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
        return scores(self.flat, self.x[:1]).shape[1]

    @cached_property
    def predicted(self) -> Tensor:
        """(N,): the class with the highest score for each image."""
        return scores(self.flat, self.x).argmax(1)

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


def scores(flat: FlatModel, x: Tensor) -> Tensor:
    """(N, classes), float64: the scores of the classes, in chunks."""
    with torch.inference_mode(False), torch.no_grad():

        def work(start: int, stop: int) -> Tensor:
            record = Record(flat, flat.record(x[start:stop], layers=[part(SCORES, None)]))
            return record.logits.double().cpu()

        return torch.cat(list(in_chunks(len(x), None, work)))
