"""A batch of samples: whether it is one image several times, and its memory."""

from __future__ import annotations

from torch import Tensor


def are_copies(x: Tensor) -> bool:
    """Whether a batch is one image that was expanded to several samples.

    >>> import torch
    >>> image = torch.zeros(1, 3, 8, 8)
    >>> are_copies(image.expand(4, -1, -1, -1)), are_copies(image)
    (True, False)
    """
    return len(x) > 1 and x.stride(0) == 0


def without_graph(x: Tensor) -> Tensor:
    """The batch without its graph, in memory that allows gradients. Copies of one image stay copies."""
    if not x.is_inference():
        return x.detach()
    return x[:1].clone().expand_as(x) if are_copies(x) else x.clone()


def repeated(value: Tensor, n: int) -> Tensor:
    """The activation of n copies of a sample, from that of the sample."""
    rows = value.expand(n, *value.shape)
    # an activation of windows has several rows per sample, and no view can repeat several rows
    return rows[:, 0] if len(value) == 1 else rows.flatten(0, 1)
