"""Quadratures: the nodes (points of a path) at which a gradient is evaluated, and the weight of each node."""

from __future__ import annotations

from typing import Literal

import numpy as np

from netlens.errors import NetLensError

Quadrature = Literal["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"]


def quadrature(name: Quadrature, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The weights (n,) and nodes (n,) of n evaluations on [0, 1]. The weights sum to 1.

    >>> [part.tolist() for part in quadrature("riemann_middle", 2)]
    [[0.5, 0.5], [0.25, 0.75]]
    >>> [part.tolist() for part in quadrature("riemann_trapezoid", 3)]
    [[0.25, 0.5, 0.25], [0.0, 0.5, 1.0]]
    """
    if name == "riemann_trapezoid" and n < 2:
        raise NetLensError(f"{name} needs at least 2 steps, not {n}.")
    even = np.full(n, 1 / n)
    if name == "gausslegendre":
        nodes, weights = np.polynomial.legendre.leggauss(n)
        return weights / 2, (1 + nodes) / 2
    if name == "riemann_left":
        return even, np.arange(n) / n
    if name == "riemann_right":
        return even, np.arange(1, n + 1) / n
    if name == "riemann_middle":
        return even, (np.arange(n) + 0.5) / n
    weights = np.full(n, 1 / (n - 1))
    weights[[0, -1]] /= 2
    return weights, np.arange(n) / (n - 1)
