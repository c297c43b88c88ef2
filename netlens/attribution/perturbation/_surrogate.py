"""Linear surrogates: linear models of f over the features that are on, fitted to the values of coalitions."""

from __future__ import annotations

import torch
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.extras import extra


class Moments:
    """Final: the weighted moments of a linear regression. A fit needs nothing else of its data."""

    def __init__(self, features: int) -> None:
        self.gram = torch.zeros(features + 1, features + 1, dtype=torch.float64)  # index 0: constant 1
        self.cross = torch.zeros(features + 1, dtype=torch.float64)
        self.square = 0.0

    def add(self, on: Tensor, value: float, weight: float) -> None:
        row = torch.cat([torch.ones(1, dtype=torch.float64), on.double()])
        self.gram.addr_(row, row, alpha=weight)
        self.cross += weight * value * row
        self.square += weight * value * value

    def centered(self) -> tuple[Tensor, Tensor, Tensor]:
        """The weighted covariances: of the features (k, k), of features and value (k,), of the value ()."""
        features, value = self.gram / self.gram[0, 0], self.cross / self.gram[0, 0]
        mean = features[0, 1:]
        covariance = features[1:, 1:] - mean.outer(mean)
        return covariance, value[1:] - mean * value[0], self.square / self.gram[0, 0] - value[0] ** 2

    def ridge(self, alpha: float) -> Tensor:
        """The coefficients that minimize Σ weight · error² + alpha · ‖coefficients‖²; of several, the smallest."""
        features, cross, _ = self.centered()
        penalty = alpha / self.gram[0, 0] * torch.eye(len(cross), dtype=torch.float64)
        coefficients: Tensor = torch.linalg.pinv(features + penalty, rtol=1e-12, hermitian=True) @ cross
        return coefficients

    def lasso(self, alpha: float) -> Tensor:
        """The coefficients (k,) that minimize the weighted mean of error² / 2 + alpha · Σ |coefficients|."""
        with extra("superpixels", "the lasso needs scikit-learn", "choose regression='ridge'", NotApplicable):
            from sklearn.linear_model import Lasso
        features, cross, _ = self.centered()
        if not torch.isfinite(cross).all():
            return cross
        # at most k rows with the same normal equations replace the data
        spread, axes = torch.linalg.eigh(features)
        nonzero = spread > 1e-12 * spread[-1]
        root, axes = spread[nonzero].sqrt(), axes[:, nonzero]
        rows, values = root[:, None] * axes.T, axes.T @ cross / root
        if not nonzero.any():
            return torch.zeros_like(cross)
        fit = Lasso(alpha=alpha / len(rows), fit_intercept=False, tol=1e-10, max_iter=100_000)
        return torch.from_numpy(fit.fit(rows.numpy(), values.numpy()).coef_)

    def constrained(self, total: float) -> Tensor:
        """The coefficients (k,) that sum to `total` and minimize Σ weight · error² without an intercept.

        If several vectors of coefficients do, the result is the one nearest to equal coefficients.
        """
        features, cross = self.gram[1:, 1:], self.cross[1:]
        count = len(cross)
        equal = torch.full((count,), total / count, dtype=torch.float64)
        # coefficients differ from equal ones by a vector that sums to zero, so the fit is made among such vectors
        zero_sum = torch.eye(count, dtype=torch.float64) - 1 / count
        inner = torch.linalg.pinv(zero_sum @ features @ zero_sum, rtol=1e-10, hermitian=True)
        coefficients: Tensor = equal + zero_sum @ (inner @ (zero_sum @ (cross - features @ equal)))
        return coefficients

    def explained(self, fit: Tensor) -> Tensor:
        """R²: the share of the weighted variance of the value that these coefficients explain, with an intercept."""
        features, cross, value = self.centered()
        unexplained = value - 2 * fit @ cross + fit @ features @ fit
        return 1 - unexplained / value.clamp(min=torch.finfo(value.dtype).tiny)
