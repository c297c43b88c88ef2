"""Noisy linear imputation: removed pixels become a weighted mean of their neighbors, so that little is left to see.

Rong et al. 2022, https://arxiv.org/abs/2202.00449
"""

from __future__ import annotations

import torch
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.extras import extra

_BESIDE, _DIAGONAL = 1 / 6, 1 / 12  # the weights of neighbors


def imputed(image: Tensor, gone: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """(C, H, W): the image, with the pixels that are gone computed from the others.

    Each of these pixels is the weighted mean of its neighbors in the image, which may be gone, too. So all of them
    solve one sparse linear system. Neighbors beside a pixel weigh 1/6, those at its corners 1/12.

    Args:
        image: (C, H, W).
        gone: (H, W), bool.
        noise: The deviation of the noise that is added to these pixels, so that smoothness does not show the mask.
        generator: Draws the noise.

    Raises:
        NotApplicable: SciPy is missing.
    """
    with extra("evaluation", "linear imputation needs SciPy", error=NotApplicable):
        from scipy.sparse import coo_array
        from scipy.sparse.linalg import splu
    if not gone.any():
        return image
    height, width = gone.shape
    colors = image.double().cpu()
    number = torch.full((height, width), -1)
    number[gone] = torch.arange(int(gone.sum()))
    right_side = torch.zeros(int(gone.sum()), len(colors), dtype=torch.float64)
    total = torch.zeros(len(right_side), dtype=torch.float64)
    rows, columns, weights = [], [], []
    y, x = gone.nonzero().T
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy == dx == 0:
                continue
            weight = _BESIDE if 0 in (dy, dx) else _DIAGONAL
            inside = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
            here = inside.nonzero()[:, 0]
            there = y[inside] + dy, x[inside] + dx
            total[here] += weight
            other = number[there]
            is_gone = other >= 0
            right_side.index_add_(0, here[~is_gone], weight * colors[:, there[0], there[1]].T[~is_gone])
            rows.append(here[is_gone])
            columns.append(other[is_gone])
            weights.append(torch.full((int(is_gone.sum()),), -weight, dtype=torch.float64))
    every = torch.arange(len(right_side))
    entries = torch.cat([total, *weights]).numpy()
    places = torch.cat([every, *rows]).numpy(), torch.cat([every, *columns]).numpy()
    system = coo_array((entries, places), shape=(len(right_side), len(right_side))).tocsc()
    if gone.all():  # no pixel has a value, and the system has no solution
        values = colors.mean((1, 2)).expand(len(right_side), -1)
    else:
        values = torch.from_numpy(splu(system).solve(right_side.numpy()))
    values = values + noise * torch.randn(values.shape, generator=generator, dtype=torch.float64)
    result = image.clone()
    result[:, gone.to(image.device)] = values.T.to(image)
    return result
