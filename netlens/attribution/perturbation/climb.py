"""Ascent on scores of which only the order counts, in phases that each set out from the best place so far."""

from __future__ import annotations

import torch
from torch import Tensor

from netlens.attribution.perturbation.best import Best

_MOMENTUM = 0.9
_PHASE = 25  # steps, after which momentum has carried scores so far that their order hardly changes any more
_GOLDEN = (5**0.5 - 1) / 2


class Climb:
    """Ascent with momentum from `at` (rows, ...), in steps of about `rate`; each row is on its own.

    What a number of steps finds is among what more of them find, as nothing depends on how many are to come.
    """

    def __init__(self, at: Tensor, rate: float) -> None:
        self.at, self.rate = at, rate
        self._speed = torch.zeros_like(at)
        self._found = Best()
        self._steps = 0

    @property
    def best(self) -> Tensor:
        """(rows, ...): the best place of each row, of those that steps were made from."""
        return self._found.candidate[:, 0]

    def step(self, value: Tensor, slope: Tensor) -> None:
        """Go on, given the value (rows,) and the slope (rows, ...) at `at`."""
        self._found.offer(value, torch.stack([self.at, slope], 1))
        self._speed = _MOMENTUM * self._speed + slope
        phase, within = divmod(self._steps, _PHASE)
        if phase > 0 and within == 0:
            self.at, self._speed = self._found.candidate.unbind(1)
        self.at = self.at + self.rate * _share(phase) * self._speed
        self._steps += 1


def _share(phase: int) -> float:
    """What part of the rate the steps of a phase have: another one in each, all over the range from 0.1 to 10.

    From one place, steps of one size lead the same way again.

    >>> [round(_share(phase), 2) for phase in range(5)]
    [1.0, 0.17, 2.97, 0.51, 8.8]
    """
    return 10 ** (2 * ((0.5 + phase * _GOLDEN) % 1) - 1)
