"""Removal: the judged number while parts of an image are replaced, the most or the least relevant first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from netlens.evaluation._explanation import Explanation, ranks
from netlens.evaluation._imputation import imputed


def whole_groups(group_of: Tensor, count: int, explanation: Explanation) -> Tensor:
    """(N, count): the mean relevance of each group of pixels.

    Args:
        group_of: (N, H, W), int64: the group of each pixel, from 0.
        count: The number of groups.
        explanation: The relevance.
    """
    groups, maps = group_of.flatten(1), explanation.maps.flatten(1)
    sums = maps.new_zeros(len(maps), count).scatter_add_(1, groups, maps)
    sizes = maps.new_zeros(len(maps), count).scatter_add_(1, groups, torch.ones_like(maps))
    # a group of no pixels comes last
    return torch.where(sizes > 0, sums / sizes.clamp(min=1), torch.full_like(sums, -torch.inf))


class Removal:
    """The judged number after the first k parts of each image are replaced. Runs are kept, so that metrics share them.

    Args:
        explanation: It gives the order: the most relevant part first.
        filling: (N, C, H, W), what replaces the image; None to compute what is replaced from its surroundings.
        key: A name of the parts and the filling, under which runs are shared.
        group_of: (N, H, W), the part of each pixel; None if each pixel is a part.
        count: The number of parts.
    """

    def __init__(
        self, explanation: Explanation, filling: Tensor | None, key: Any, group_of: Tensor | None = None, count: int = 0
    ) -> None:
        self.explanation, self.filling = explanation, filling
        self.count = explanation.maps[0].numel() if group_of is None else count
        self._runs = explanation._runs.setdefault(key, {})
        if group_of is None:
            self.place = explanation.ranks
        else:
            order = ranks(whole_groups(group_of, count, explanation))
            self.place = order.gather(1, group_of.flatten(1)).view_as(group_of)

    def __call__(self, counts: Sequence[int], least: bool = False) -> Tensor:
        """(N, K), float64: the judged number after each of K counts of parts is replaced.

        Args:
            counts: How many parts are replaced, from 0 to the number of parts.
            least: Whether the least relevant parts go first.
        """
        wanted = [(least, count) for count in counts]
        # the same images: none or all are gone
        ends = {(True, 0): (False, 0), (True, self.count): (False, self.count)}
        wanted = [ends.get(one, one) for one in wanted]
        missing = [one for one in dict.fromkeys(wanted) if one not in self._runs]
        case, n = self.explanation.case, len(self.explanation.case)
        jobs = [(one, sample) for one in missing for sample in range(n)]

        def make(numbers: Sequence[int]) -> Tensor:
            rows = [jobs[number][1] for number in numbers]
            gone = torch.stack([self._gone(*jobs[number][0], row) for number, row in zip(numbers, rows, strict=True)])
            x = case.x[rows]
            if self.filling is None:
                smooth = torch.Generator()  # it is asked for noise of deviation 0
                return torch.stack([imputed(image, hole, 0.0, smooth) for image, hole in zip(x, gone, strict=True)])
            return torch.where(gone[:, None].to(x.device), self.filling[rows], x)

        values = case.values_of([sample for _, sample in jobs], make).view(len(missing), n)
        self._runs.update(zip(missing, values, strict=True))
        return torch.stack([self._runs[one] for one in wanted], dim=1)

    def _gone(self, least: bool, count: int, sample: int) -> Tensor:
        """(H, W): the pixels that are replaced."""
        place = self.place[sample]
        return place >= self.count - count if least else place < count
