"""Charts of a data set: what is larger is drawn darker or higher, and an open bin is pale."""

from __future__ import annotations

import numpy as np
import torch

from netlens.show import confusion_chart, histogram_chart, reliability_chart

BLUE, PALE_BLUE = (43, 95, 184), (157, 183, 224)


def columns_of(pixels: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """The number of pixels of a color in each column."""
    return (np.abs(pixels[..., :3].astype(int) - color).sum(-1) < 6).sum(0)


def test_a_higher_bar_holds_more() -> None:
    pixels = histogram_chart(torch.linspace(0, 3, 4), torch.tensor([1000, 0, 10]))
    heights = columns_of(pixels, BLUE)
    first, last = heights[: len(heights) // 2].max(), heights[len(heights) // 2 :].max()
    assert first > 2 * last > 0
    assert np.flatnonzero(heights > 0.9 * last)[-1] - np.flatnonzero(heights)[0] > len(heights) // 2


def test_an_open_bin_is_pale() -> None:
    edges, counts = torch.linspace(0, 3, 4), torch.tensor([5, 5, 5])
    closed, above = (histogram_chart(edges, counts, above=is_open) for is_open in (False, True))
    assert columns_of(closed, PALE_BLUE).sum() < 50 < columns_of(above, PALE_BLUE).sum()
    pale = np.flatnonzero(columns_of(above, PALE_BLUE) > 50)
    assert pale.min() > above.shape[1] // 2


def test_a_matrix_is_darkest_where_a_class_is_always_taken_for_the_same() -> None:
    counts = torch.tensor([[0, 4], [2, 2]])
    pixels = confusion_chart(counts, ["a", "b"])[..., :3].astype(int).sum(-1)
    height, width = pixels.shape
    # the axes take the lower right part of the picture; a point beside the number in the middle of each cell
    rows, columns = (0.27 + 0.7 * np.array([0.15, 0.65])), (0.27 + 0.7 * np.array([0.15, 0.65]))
    cells = [[pixels[int(row * height), int(column * width)] for column in columns] for row in rows]
    assert cells[0][1] < cells[1][0] == cells[1][1] < cells[0][0]


def test_many_classes_and_empty_bins_are_drawn() -> None:
    counts = torch.eye(200, dtype=torch.int64)
    assert confusion_chart(counts, [f"class {i}" for i in range(200)]).std() > 1
    nothing = torch.full((3,), torch.nan, dtype=torch.float64)
    edges = torch.linspace(0, 1, 4, dtype=torch.float64)
    assert reliability_chart(edges, torch.zeros(3, dtype=torch.int64), nothing, nothing).std() > 1
