"""LIME's regressions against scikit-learn's, fitted to the trials one by one."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from sklearn.linear_model import Lasso, LinearRegression, Ridge
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import Lime, patches
from netlens.attribution.perturbation._surrogate import (
    Moments,
)
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import logit

COUNT = 8


def trials_of(case, method: Lime, sample: int, mask: Tensor) -> tuple[Tensor, Tensor, list[float]]:
    """What was on, f by plain forwards of the network, and the weights by their definition."""
    on = torch.stack([method._trial(COUNT, index) for index in range(method.n_samples)])
    with torch.no_grad():
        inputs = torch.where(on[:, mask][:, None] if case.spatial else on[:, mask], case.x[sample], method.baselines)
        values = case.module(inputs)[:, case.targets[sample]]
    everything = torch.ones(COUNT).double()
    weights = []
    for trial in on.double():
        if method.distance == "cosine":
            near = trial @ everything / (trial.norm() * everything.norm()) if trial.any() else 0.0
            distance = float(1 - near)
        else:
            distance = float((everything - trial).norm() / math.sqrt(COUNT))
        weights.append(math.exp(-(distance**2) / (2 * method.kernel_width**2)))
    return on.double(), values, weights


def mask_of(case) -> Tensor:
    return patches(*case.x.shape[2:], COUNT) if case.spatial else torch.arange(9).clamp(max=COUNT - 1)


@pytest.mark.parametrize("name", ["branches", "vit", "vectors"])
@pytest.mark.parametrize(
    ("options", "oracle"),
    [
        ({}, Ridge(alpha=1.0)),
        ({"alpha": 0.3, "distance": "euclidean", "kernel_width": 0.4}, Ridge(alpha=0.3)),
        ({"alpha": 0.0}, LinearRegression()),
        ({"regression": "lasso"}, Lasso(alpha=0.01, tol=1e-14, max_iter=100_000)),
        ({"regression": "lasso", "alpha": 0.05, "kernel_width": 1.0}, Lasso(alpha=0.05, tol=1e-14, max_iter=100_000)),
    ],
)
def test_the_fit_is_scikit_learns(cases, name, options, oracle):
    case, mask = cases[name], mask_of(cases[name])
    method = Lime(mask, baselines=0.2, n_samples=60, seed=2, **options)
    result = method(case.flat, case.x, logit(list(case.targets)))
    for i in range(2):
        on, values, weights = trials_of(case, method, i, mask)
        oracle.fit(on.numpy(), values.numpy(), sample_weight=weights)
        expected = torch.from_numpy(oracle.coef_)[mask].expand_as(result.values[i])
        tolerance = 1e-6 if isinstance(oracle, Lasso) else 1e-9  # coordinate descent stops where it is near enough
        assert_close(result.values[i], expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())
        score = oracle.score(on.numpy(), values.numpy(), weights)
        assert result.diagnostics["r2"][i].item() == pytest.approx(score, abs=1e-6)
    assert expected.abs().max() > 0


def test_the_ridge_in_closed_form(cases):
    """(Z' W Z + α D)⁻¹ Z' W y, with D = 1 but for the intercept."""
    case, mask = cases["plain"], mask_of(cases["plain"])
    method = Lime(mask, n_samples=40, alpha=0.7)
    values = method(case.flat, case.x, logit(list(case.targets))).values
    on, scores, weights = trials_of(case, method, 2, mask)
    rows = torch.cat([torch.ones(40, 1).double(), on], 1)
    weighted = rows.T * torch.tensor(weights, dtype=torch.float64)
    penalty = 0.7 * torch.eye(COUNT + 1, dtype=torch.float64)
    penalty[0, 0] = 0
    expected = torch.linalg.solve(weighted @ rows + penalty, weighted @ scores)[1:]
    assert_close(values[2], expected[mask].expand_as(values[2]), rtol=1e-9, atol=1e-12)


def test_the_first_trial_is_the_picture_and_the_others_are_half_on():
    method = Lime(seed=1)
    on = torch.stack([method._trial(20, index) for index in range(1000)]).double()
    assert on[0].all()
    error = 0.5 / math.sqrt(999)
    assert ((on[1:].mean(0) - 0.5).abs() < 4 * error).all() and len(on.unique(dim=0)) > 990


def test_r2_tells_a_linear_network_from_another():
    class Curved(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.sum(1), x[:, 0] * x[:, 1] * x[:, 2] * x[:, 3], 3 + 0 * x[:, 0]], 1)

    flat = FlatModel.from_nn_Module(Curved())
    x = torch.tensor([[1.0, 2.0, -1.0, 0.5]], dtype=torch.float64)
    linear, product, constant = (Lime(n_samples=200, alpha=0)(flat, x, logit(k)) for k in range(3))
    assert linear.diagnostics["r2"].item() == pytest.approx(1, abs=1e-12)
    assert 0.2 < product.diagnostics["r2"].item() < 0.8
    assert constant.values.abs().max() == 0 and constant.diagnostics["r2"].item() == 1


def test_a_large_lasso_penalty_leaves_nothing(cases):
    case, mask = cases["plain"], mask_of(cases["plain"])
    weak, strong = (
        Lime(mask, n_samples=60, regression="lasso", alpha=a)(case.flat, case.x, logit(0)) for a in (1e-3, 1e3)
    )
    assert weak.values.abs().amax() > 0 and strong.values.abs().max() == 0


def test_what_is_undetermined_is_as_small_or_as_equal_as_can_be():
    moments = Moments(3)
    moments.add(torch.tensor([True, True, False]), 4.0, 1.0)
    moments.add(torch.tensor([False, False, True]), 1.0, 2.0)
    # both trials are met by b0 + b1 + b2 = 4 and b0 + b3 = 1: a ridge without penalty takes the shortest (b1, b2, b3)
    assert_close(moments.ridge(0.0).tolist(), [1.0, 1.0, -1.0])
    # sum 5 with no intercept: the first two share 4
    assert_close(moments.constrained(5.0).tolist(), [2.0, 2.0, 1.0])


def test_options_that_make_no_sense_are_refused(cases, monkeypatch):
    case = cases["vectors"]
    for options, message in (
        ({"regression": "ols"}, "regression"),
        ({"distance": "manhattan"}, "distance"),
        ({"n_samples": 1}, "n_samples is 1, but must be"),
        ({"kernel_width": 0.0}, "kernel_width is 0.0, but must be"),
        ({"alpha": -1.0}, "alpha is -1.0, but must be"),
    ):
        with pytest.raises(NetLensError, match=message):
            Lime(**options)(case.flat, case.x, logit(0))
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    Lime(n_samples=5)(case.flat, case.x, logit(0))
    with pytest.raises(NotApplicable, match=r"lasso needs scikit-learn: pip install 'netlens\[superpixels\]'"):
        Lime(n_samples=5, regression="lasso")(case.flat, case.x, logit(0))
