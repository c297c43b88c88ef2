"""Histograms without a search: each number is in the bin whose edges, in float64, are around it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from netlens.survey._bins import Bins, edges_between

BINS = [
    (-8.0, 8.0, 32),
    (0.0, 1.0, 10),
    (-0.1, 0.7, 7),
    (1e6, 1e6 + 1, 9),  # edges that float32 cannot tell apart
    (-1e-30, 1e-30, 5),
    (0.0, 1e-45, 3),
    (-1e300, 1e300, 4),
    (-3e38, 3e38, 4096),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("low", "high", "bins"), BINS)
def test_each_number_is_counted_in_its_bin(low: float, high: float, bins: int, dtype: torch.dtype) -> None:
    edges = edges_between(low, high, bins)
    generator = torch.Generator().manual_seed(0)
    spread = low + (high - low) * (1.4 * torch.rand(400, generator=generator, dtype=torch.float64) - 0.2)
    near = edges[torch.arange(0, bins + 1, max(1, bins // 32))].to(dtype)
    up, down = (torch.nextafter(near, torch.full_like(near, sign * torch.inf)) for sign in (1, -1))
    tiny = torch.tensor([0.0, -0.0, 1e-40, -1e-40, 1e30, -1e30])
    numbers = torch.cat([part.to(dtype) for part in (spread, near, up, down, tiny)])
    numbers = numbers[numbers.isfinite()]
    values = torch.stack([numbers, numbers.flip(0), numbers.roll(7)], 1)  # (n, channels)
    values[::3, 1] = 0
    counts = Bins.between(low, high, bins, dtype).count(values)
    limits = [-np.inf, *edges.tolist(), np.inf]
    for channel in range(3):
        row = values[:, channel].double().numpy()
        cells = np.searchsorted(limits, row, side="right") - 1
        assert counts[channel].tolist() == np.bincount(cells, minlength=bins + 2).tolist()


def test_the_usual_bins_need_no_search() -> None:
    assert Bins.between(-8.0, 8.0, 32, torch.float32).scale is not None
    assert Bins.between(1e6, 1e6 + 1, 9, torch.float32).scale is None
