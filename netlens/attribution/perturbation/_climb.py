"""Ascent on scores of which only the order counts. It runs in phases; each starts from the best point so far."""

from __future__ import annotations

import torch
from torch import Tensor

from netlens.attribution.perturbation._best import Best

_MOMENTUM = 0.9
_PHASE = 25  # steps; after them, momentum has carried the scores so far apart that their order hardly changes
_GOLDEN = (5**0.5 - 1) / 2


class Climb:
    """Final: ascent with momentum from `point` (rows, ...), in steps of about `rate`. Rows do not affect each other.

    No step depends on the number of later steps, so more steps never give a worse result.
    """

    def __init__(self, point: Tensor, rate: float) -> None:
        self.point, self.rate = point, rate
        self._speed = torch.zeros_like(point)
        self._best = Best()
        self._steps = 0

    @property
    def best(self) -> Tensor:
        """(rows, ...): the best point of each row, among the points from which steps were made."""
        return self._best.candidate[:, 0]

    def step(self, value: Tensor, slope: Tensor) -> None:
        """Make one step, with the value (rows,) and the slope (rows, ...) at `point`."""
        self._best.offer(value, torch.stack([self.point, slope], 1))
        self._speed = _MOMENTUM * self._speed + slope
        phase, step_in_phase = divmod(self._steps, _PHASE)
        if phase > 0 and step_in_phase == 0:
            self.point, self._speed = self._best.candidate.unbind(1)
        self.point = self.point + self.rate * _share(phase) * self._speed
        self._steps += 1


def _share(phase: int) -> float:
    """The factor of the rate in a phase: a different one in each phase, spread over the range from 0.1 to 10.

    Steps of equal size from the same point would repeat the same path.

    >>> [round(_share(phase), 2) for phase in range(5)]
    [1.0, 0.17, 2.97, 0.51, 8.8]
    """
    return 10 ** (2 * ((0.5 + phase * _GOLDEN) % 1) - 1)
