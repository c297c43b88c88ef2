"""Layouts: vectors of a layer as points of a plane, so that like lies beside like."""

from __future__ import annotations

import torch
from torch import Tensor

from netlens.extras import extra
from netlens.silence import silenced


def laid_out(vectors: Tensor, layout: str, seed: int) -> Tensor:
    """(n, 2), float64, from 0 to 1: a point of the plane for each vector.

    The outermost hundredth of the points to each side lies at the border, so that a few far ones do not press all
    others together.

    Args:
        vectors: (n, C), at least 2.
        layout: "pca" for the two directions of the largest variance of the vectors at length 1; "umap" for UMAP by the
            cosine, which needs umap-learn.
        seed: The seed of UMAP.
    """
    units = torch.nn.functional.normalize(vectors.double(), dim=1)
    points = _pca(units) if layout == "pca" else _umap(units, seed)
    low, high = points.quantile(0.01, 0), points.quantile(0.99, 0)
    width = torch.where(high > low, high - low, torch.ones_like(high))
    return ((points - low) / width).clamp(0, 1)


def _pca(vectors: Tensor) -> Tensor:
    centered = vectors - vectors.mean(0)
    _, _, axes = torch.linalg.svd(centered, full_matrices=False)
    axes = axes[:2]
    # a singular vector has no sign of its own: the entry of the largest magnitude is positive
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    points = centered @ (axes * torch.where(largest < 0, -1.0, 1.0)).T
    return torch.nn.functional.pad(points, (0, 2 - points.shape[1]))  # a layer may have one channel


def require_umap() -> None:
    """Raise if umap-learn is missing."""
    with extra("umap", "this layout needs umap-learn", "choose layout='pca', which needs nothing"):
        import umap  # noqa: F401


def _umap(vectors: Tensor, seed: int) -> Tensor:
    import umap

    neighbors, threads = max(2, min(20, len(vectors) - 1)), torch.get_num_threads()
    try:
        with silenced(UserWarning):  # it says that a seed makes it run on one thread
            model = umap.UMAP(n_neighbors=neighbors, min_dist=0.01, metric="cosine", random_state=seed)
            return torch.from_numpy(model.fit_transform(vectors.numpy())).double()
    finally:
        torch.set_num_threads(threads)  # numba sets those of OpenMP, which are torch's, too
