"""Grids of pictures: the cell that causes a class is known, because no other cell shows this class.

Böhle et al. 2021, https://arxiv.org/abs/2104.00032; Rao et al. 2022, https://arxiv.org/abs/2205.10435
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.errors import NetLensError
from netlens.evaluation._case import Case, scores
from netlens.flat import FlatModel
from netlens.objectives import logit
from netlens.options import checked


def grids(
    flat: FlatModel,
    x: Tensor,
    labels: Sequence[int] | None = None,
    rows: int = 2,
    columns: int = 2,
    count: int = 8,
    confidence: float = 0.5,
    disconnected: bool = False,
    shrink: bool = False,
    seed: int = 0,
) -> Case:
    """Grids of pictures of different classes, as a case whose masks are the cells.

    The cells of a grid are pictures whose class the network predicts with confidence. Each class of a grid is
    explained, so that `count` grids are `count` · `rows` · `columns` images. The relevance should lie in the cell of
    the explained class: `energy_inside` is the score of the grid pointing game (GridPG), and all other metrics of
    localization have a meaning, too. Chance is 1 / (`rows` · `columns`).

    With `disconnected`, the score is that of DiFull. A layer in front of the network sets all cells but the first to 0,
    so the output cannot depend on them, whatever the network does: relevance outside of the first cell is wrong, and
    not only unlikely. The explained picture lies in the first cell, so that each picture of a grid has its turn there.
    In the paper the cells meet at the classifier alone; here the other cells are seen as 0, and the network is whole.

    Args:
        flat: The network, which must take images of several sizes, unless `shrink`.
        x: (N, C, H, W), the pictures.
        labels: The true class of each; a picture that the network takes for something else is not used. None to trust
            the network.
        rows, columns: The cells of a grid, at least two together.
        count: The number of grids.
        confidence: The least probability of the class of a picture, from 0 to 1.
        disconnected: Whether the network sees the first cell alone.
        shrink: Whether pictures are made smaller, so that a grid is as large as one of them: for networks that take one
            size.
        seed: The seed of the classes of each grid.

    Raises:
        NetLensError: The pictures of fewer classes than cells are certain, or the network does not take the grid.

    Example:
        >>> from netlens.evaluation import evaluate
        >>> from netlens.world.scene import batch
        >>> from netlens.zoo import open_network
        >>> flat = open_network()
        >>> pictures, labels, _ = batch(7, 12)
        >>> x = flat.adapter.preprocessing.normalize(pictures / 255)
        >>> case = grids(flat, x, labels.tolist(), count=1)
        >>> case.x.shape
        torch.Size([4, 3, 256, 256])
        >>> evaluate(case, ["grad_cam"], ["energy_inside"]).of("GradCAM", "energy_inside").mean > 0.25
        True
    """
    rows, columns = checked("rows", rows, int, least=1), checked("columns", columns, int, least=1)
    count = checked("count", count, int, least=1)
    confidence = checked("confidence", confidence, float, least=0, most=1)
    cells = rows * columns
    if cells < 2:
        raise NetLensError("a grid has at least two cells; give more rows or columns.")
    by_class = _certain(flat, x, labels, confidence)
    if len(by_class) < cells:
        raise NetLensError(
            f"a grid of {cells} cells needs as many classes, but {flat.name} is certain of pictures of "
            f"{len(by_class)}; give more pictures, or a lower confidence=."
        )
    generator = torch.Generator().manual_seed(checked("seed", seed, int, least=0))
    names = sorted(by_class)
    images, targets, places = [], [], []
    for number in range(count):
        classes = [names[i] for i in torch.randperm(len(names), generator=generator)[:cells].tolist()]
        # the most certain picture of a class in its first grid, the next one in another grid, ...
        chosen = [by_class[label][number % len(by_class[label])] for label in classes]
        for turn in range(cells):
            order = [(turn + i) % cells for i in range(cells)] if disconnected else list(range(cells))
            images.append(_laid_out(x[[chosen[i] for i in order]], rows, columns, shrink))
            targets.append(classes[turn])
            places.append(0 if disconnected else turn)
    grid = torch.stack(images)
    masks = torch.stack([_cell(place, rows, columns, grid.shape[2], grid.shape[3]) for place in places])
    network = flat.prepend("netlens_cell", Veil(masks[0].to(grid))) if disconnected else flat
    _check_takes(network, grid[:1])
    return Case(network, grid, logit(targets), masks=masks)


class Veil(nn.Module):
    """Sets all pixels outside of a mask (H, W) to 0."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


def _certain(flat: FlatModel, x: Tensor, labels: Sequence[int] | None, confidence: float) -> dict[int, list[int]]:
    """The numbers of the pictures of each class, the most certain first."""
    best, predicted = scores(flat, x).softmax(1).max(1)
    if labels is not None and len(labels) != len(x):
        raise NetLensError(f"there are {len(labels)} labels for {len(x)} pictures; give one for each.")
    by_class: dict[int, list[int]] = {}
    for number in best.argsort(descending=True, stable=True).tolist():
        label = int(predicted[number])
        if best[number] >= confidence and (labels is None or labels[number] == label):
            by_class.setdefault(label, []).append(number)
    return by_class


def _check_takes(flat: FlatModel, grid: Tensor) -> None:
    """Raise if the network fails on a grid."""
    try:
        scores(flat, grid)
    except Exception as error:  # a size that a network does not take fails anywhere in it
        raise NetLensError(
            f"{flat.name} does not take a grid of {tuple(grid.shape[2:])} pixels ({error}); shrink=True makes pictures "
            "smaller, so that the grid is as large as one of them."
        ) from error


def _laid_out(pictures: Tensor, rows: int, columns: int, shrink: bool) -> Tensor:
    """(C, rows · H, columns · W): pictures (K, C, H, W), row by row."""
    height, width = pictures.shape[2:]
    if shrink:
        sides = (height // rows, width // columns)
        pictures = F.interpolate(pictures, sides, mode="bilinear", antialias=True, align_corners=False)
    lines = [torch.cat(list(line), dim=2) for line in pictures.split(columns)]
    grid = torch.cat(lines, dim=1)
    # a side that the cells do not divide ends with some pixels of 0
    return F.pad(grid, (0, width - grid.shape[2], 0, height - grid.shape[1])) if shrink else grid


def _cell(place: int, rows: int, columns: int, height: int, width: int) -> Tensor:
    """(H, W), True in one cell."""
    row, column = divmod(place, columns)
    high, wide = height // rows, width // columns
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[row * high : (row + 1) * high, column * wide : (column + 1) * wide] = True
    return mask
