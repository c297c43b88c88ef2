"""Objectives on the picture itself, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter
from netlens.flat.layers import Normalize
from netlens.objectives import Record, alpha_norm, blur, boundary, l1, l2, total_variation
from netlens.preprocessing import IMAGENET, Preprocessing

ALL = [total_variation(), total_variation(1), total_variation(1.5), l1(), l2(), alpha_norm(), blur(), boundary(2)]
RANDOM = torch.rand(3, 3, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def vertical_step(height: float, size: tuple[int, int] = (4, 5)) -> torch.Tensor:
    """0 in the left two columns, `height` in the others: one difference in each of the rows."""
    x = torch.zeros(1, 1, *size, dtype=torch.float64)
    x[..., 2:] = height
    return x


@pytest.mark.parametrize("beta", [1, 1.5, 2, 3])
def test_total_variation_of_a_step_counts_each_of_its_pixels(value, beta):
    step = vertical_step(0.25)
    assert value(total_variation(beta), step).item() == pytest.approx(4 * 0.25**beta / 20)
    # a horizontal step as high: along the other axis, as long as the picture is wide
    assert value(total_variation(beta), step.transpose(2, 3)).item() == pytest.approx(4 * 0.25**beta / 20)
    assert value(total_variation(beta), vertical_step(0.25, (7, 5))).item() == pytest.approx(7 * 0.25**beta / 35)


def test_total_variation_of_a_corner_is_that_of_its_gradient(value):
    x = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    x[0, 0, 0, 0] = 1  # dx and dy are both -1 there
    assert value(total_variation(1), x).item() == pytest.approx(math.sqrt(2) / 4)
    assert value(total_variation(2), x).item() == pytest.approx(2 / 4)


def test_total_variation_knows_rows_and_columns_not_channels(value):
    x = torch.rand(1, 3, 1, 1, dtype=torch.float64).expand(1, 3, 4, 5)
    assert value(total_variation(), x).item() == 0
    assert_close(value(total_variation(), RANDOM), value(total_variation(), RANDOM[:, [2, 0, 1]]))
    assert_close(value(total_variation(), RANDOM.transpose(2, 3)), value(total_variation(), RANDOM))


def test_norms_by_hand(value):
    x = torch.tensor([0.5, 0.75, 0.0, 1.0], dtype=torch.float64).view(1, 1, 2, 2)  # 0, 1/4, -1/2, 1/2 from gray
    assert value(l1(), x).item() == pytest.approx(1.25 / 4)
    assert value(l2(), x).item() == pytest.approx((1 / 16 + 1 / 2) / 4)
    assert value(alpha_norm(), x).item() == pytest.approx((0.25**6 + 2 * 0.5**6) / 4)
    assert value(l1(0), x).item() == pytest.approx(2.25 / 4)
    assert_close(value(alpha_norm(1), x), value(l1(), x))
    assert_close(value(alpha_norm(2, 0.25), x), value(l2(0.25), x))


def test_blur_by_hand(value):
    x = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    x[0, 0, 4, 4] = 1
    line = torch.exp(-0.5 * torch.arange(-3, 4, dtype=torch.float64) ** 2)
    kernel = torch.zeros(9, 9, dtype=torch.float64)
    kernel[1:8, 1:8] = torch.outer(line, line) / line.sum() ** 2
    assert_close(value(blur(), x), ((x - kernel) ** 2).mean((1, 2, 3)))
    assert value(blur(), torch.full_like(x, 0.3)).item() == pytest.approx(0, abs=1e-30)
    assert value(blur(5), torch.rand(2, 3, 2, 1, dtype=torch.float64)).shape == (2,)  # wider than the picture


def test_boundary_by_hand(value):
    x = torch.full((1, 1, 4, 5), 0.5, dtype=torch.float64)
    x[0, 0, 1:3, 1:4] = 9  # inside a frame of one pixel
    assert value(boundary(1), x).item() == 0
    x[0, 0, 3, 2] = 0  # one of the 14 pixels of the frame
    assert value(boundary(1), x).item() == pytest.approx(0.25 / 14)
    assert_close(value(boundary(2), x), value(l2(), x))
    assert_close(value(boundary(20), x), value(l2(), x))


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_each_sample_by_itself_and_its_gradient(value, objective):
    each = torch.cat([value(objective, x[None]) for x in RANDOM])
    assert_close(value(objective, RANDOM), each, rtol=1e-12, atol=0)
    assert gradcheck(lambda x: value(objective, x), RANDOM[:1].clone().requires_grad_())


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_a_plain_gray_picture_costs_nothing_and_has_no_gradient(value, objective):
    gray = torch.full((1, 3, 6, 6), 0.5, dtype=torch.float64, requires_grad=True)
    cost = value(objective, gray)
    (gradient,) = torch.autograd.grad(cost.sum(), gray)
    assert cost.item() == pytest.approx(0, abs=1e-30)
    assert gradient.abs().max() < 1e-15


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_the_picture_is_seen_without_the_networks_normalization(value, objective):
    color = FlatModel.from_nn_Module(nn.Identity(), adapter=Adapter(preprocessing=IMAGENET))
    assert_close(value(objective, IMAGENET.normalize(RANDOM), color), value(objective, RANDOM))
    # a gray network of a family that is known by colors
    average = Preprocessing(size=None, resize=None, mean=(sum(IMAGENET.mean) / 3,), std=(sum(IMAGENET.std) / 3,))
    gray = RANDOM[:, :1]
    assert_close(value(objective, average.normalize(gray), color), value(objective, gray))
    in_unit = color.prepend("normalize", Normalize((0.4,) * 3, (0.2,) * 3))
    assert_close(value(objective, RANDOM, in_unit), value(objective, RANDOM))


def test_the_network_does_not_run():
    class Refuses(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ torch.zeros(1000, 1)

    flat = FlatModel.from_nn_Module(Refuses())
    objective = total_variation() + l1()
    x = torch.rand(1, 3, 4, 4)
    assert objective(Record(flat, flat.record(x, layers=objective.layers))).shape == (1,)


def test_mistakes(value):
    color = FlatModel.from_nn_Module(nn.Identity(), adapter=Adapter(preprocessing=IMAGENET))
    with pytest.raises(NotApplicable, match=r"identity is \(2, 5\), not pictures"):
        value(l1(), torch.zeros(2, 5), color)
    with pytest.raises(NotApplicable, match="has 4 channels, but its preprocessing has 3"):
        value(l1(), torch.zeros(2, 4, 5, 5), color)
    for wrong in (lambda: total_variation(0.5), lambda: alpha_norm(0), lambda: blur(0), lambda: boundary(0)):
        with pytest.raises(NetLensError, match="must"):
            wrong()
    with pytest.raises(TypeError, match="two objectives cannot be multiplied"):
        l1() * total_variation()


def test_names():
    assert repr(-total_variation(1) - 2 * alpha_norm()) == "-total_variation(1) - 2 * alpha_norm(6, 0.5)"
