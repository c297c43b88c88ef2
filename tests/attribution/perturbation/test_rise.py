"""RISE against its definition mask by mask, and its expected values on a linear network in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import RISE
from netlens.attribution.perturbation._random_masks import (
    shifted,
)
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import logit, output


def test_values_are_the_definition_mask_by_mask(core_case):
    method = RISE(n_masks=5, grid_size=3, probability=0.4, baselines=0.3, seed=2)
    sizes = core_case.x.shape[2:]
    total = torch.zeros(3, *sizes, dtype=torch.float64)
    with torch.no_grad():
        for index in range(5):
            mask = shifted(2, index, sizes, 3, 0.4)
            scores = core_case.module(core_case.x * mask + 0.3 * (1 - mask))
            for i, target in enumerate(core_case.targets):
                total[i] += scores[i, target] * mask
    values = method(core_case.flat, core_case.x, logit(list(core_case.targets))).values
    assert_close(values, (total / (5 * 0.4))[:, None].expand_as(core_case.x), rtol=1e-10, atol=1e-12)


def _resized(count: int, size: int) -> np.ndarray:
    """(size, count): the weights with which linear resizing between the centers of `count` cells reads them."""
    places = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count)))


def test_a_mask_is_its_cells_resized_and_shifted():
    for index in range(20):
        mask = shifted(0, index, (7, 10), 3, 0.5).numpy()
        # rows of cells are 3 places apart, columns 4; one cell more than the image is made, and a part taken
        fits = False
        for top in range(3):
            for left in range(4):
                rows, columns = _resized(3, 12)[top : top + 7], _resized(3, 16)[left : left + 10]
                cells = np.linalg.pinv(rows) @ mask @ np.linalg.pinv(columns).T
                drawn = np.abs(cells * (cells - 1)).max() < 1e-9
                fits |= bool(drawn and np.abs(rows @ cells @ columns.T - mask).max() < 1e-12)
        assert fits


@pytest.mark.parametrize("probability", [0.3, 0.5])
def test_on_average_a_mask_shows_every_place_with_its_probability(probability):
    masks = torch.stack([shifted(1, i, (9, 11), 4, probability) for i in range(3000)])
    assert masks.min() >= 0 and masks.max() <= 1
    error = masks.std(0) / 3000**0.5
    assert ((masks.mean(0) - probability).abs() < 4.5 * error).all()


def _linear() -> tuple[FlatModel, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    module = nn.Linear(9, 2).double()
    x = torch.randn(2, 9, dtype=torch.float64)
    return FlatModel.from_nn_Module(module), x, module.weight.detach()[1], module.bias.detach()[1]


def _covariance(size: int, cells: int, probability: float) -> Tensor:
    """(size, size): the exact covariance of the mask between two places of a sequence, over cells and shifts."""
    step = -(-size // cells)
    weights = _resized(cells, (cells + 1) * step)
    shifts = [weights[start : start + size] for start in range(step)]
    return torch.from_numpy(sum(w @ w.T for w in shifts) / step * probability * (1 - probability))


@pytest.mark.parametrize("probability", [0.3, 0.6])
def test_a_linear_network_has_the_expected_values(probability):
    flat, x, weight, bias = _linear()
    n = 4000
    method = RISE(n, 3, probability)
    values = method(flat, x, logit(1)).values
    part = weight * x
    mean = probability * part.sum(1, keepdim=True) + bias
    expected = mean + part @ _covariance(9, 3, probability) / probability
    masks = torch.stack([shifted(0, i, (9,), 3, probability) for i in range(n)])
    terms = (masks @ part.T + bias)[..., None] * masks[:, None] / probability
    assert ((values - expected).abs() < 4.5 * terms.std(0) / n**0.5).all()
    centered = RISE(n, 3, probability, centered=True)(flat, x, logit(1)).values
    assert ((centered - (expected - mean)).abs() < 4.5 * terms.std(0) / n**0.5).all()
    # which cells count is the order of their covariances, and the offset is gone
    assert torch.corrcoef(torch.stack([centered[0], (expected - mean)[0]]))[0, 1] > 0.99


def test_centered_values_do_not_see_an_offset(cases):
    case = cases["plain"]
    lifted = output(lambda scores: scores[:, 2] + 100)
    plain = [RISE(8, 3)(case.flat, case.x, objective).values for objective in (logit(2), lifted)]
    centered = [RISE(8, 3, centered=True)(case.flat, case.x, objective).values for objective in (logit(2), lifted)]
    assert_close(centered[0], centered[1], rtol=1e-9, atol=1e-11)
    assert (plain[0] - plain[1]).abs().min() > 1
    constant = RISE(8, 3, centered=True)(case.flat, case.x, output(lambda scores: 0 * scores[:, 0] + 3)).values
    assert_close(constant, torch.zeros_like(constant), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "name, wrt", [("plain", "trunk.2"), ("swin", "features.1"), ("vit", "encoder.layers.encoder_layer_0")]
)
def test_a_layer_is_masked_at_its_places_whatever_its_layout(cases, name, wrt):
    case = cases[name]
    key = case.flat.key(wrt)
    at = case.flat(case.x, until=key)
    dims = {"plain": (2, 3), "swin": (1, 2), "vit": (1,)}[name]
    sizes = [at.shape[dim] for dim in dims]
    shape = [at.shape[dim] if dim in dims else 1 for dim in range(1, at.ndim)]
    total = torch.zeros_like(at)
    for index in range(4):
        mask = shifted(0, index, sizes, 2, 0.5).view(shape)
        total += case.flat.resume({key: at * mask})[:, 1].view(-1, *[1] * len(shape)) * mask
    result = RISE(4, 2)(case.flat, case.x, logit(1), wrt=wrt)
    assert_close(result.values, total / 2, rtol=1e-10, atol=1e-12)


def test_all_or_nothing_is_the_score_itself(cases):
    case = cases["plain"]
    values = RISE(3, 4, probability=1.0)(case.flat, case.x, logit(1)).values
    assert_close(values, case.module(case.x)[:, 1].detach().view(3, 1, 1, 1).expand_as(values))


def test_options_out_of_range_are_refused():
    for name, value in (("n_masks", 0), ("probability", 0.0), ("probability", 1.5), ("grid_size", 0)):
        with pytest.raises(NetLensError, match=f"{name} is {value}, but must be"):
            RISE(**{name: value})
