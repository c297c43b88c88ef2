"""Named baselines: what each name means, worked out by hand; and where a name has no meaning."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import (
    METHODS,
    IntegratedGradients,
    Method,
    Occlusion,
    method_from,
)
from netlens.attribution.baseline import (
    Baseline,
    baseline_like,
)
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import Adapter, FlatModel
from netlens.objectives import logit
from netlens.options import options_of, table
from netlens.preprocessing import Preprocessing

NAMES = ("black", "white", "uniform", "mean", "blur")
MEAN, STD = (0.5, 0.25, 0.0), (0.5, 0.25, 2.0)


@pytest.fixture(scope="module")
def flat() -> FlatModel:
    """A network that is the sum of its input, behind a layer that doubles it."""
    double = nn.Conv2d(3, 3, 1, groups=3, bias=False)
    total = nn.Linear(3 * 4 * 20, 1, bias=False)
    nn.init.constant_(double.weight, 2.0)
    nn.init.ones_(total.weight)
    adapter = Adapter(preprocessing=Preprocessing((4, 20), None, MEAN, STD))
    return FlatModel.from_nn_Module(nn.Sequential(double, nn.Flatten(), total).double(), adapter=adapter)


X = torch.randn(2, 3, 4, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def of_input(flat: FlatModel, baseline: Baseline, x: Tensor = X) -> Tensor:
    return baseline_like(flat, "input", x, baseline)


@pytest.mark.parametrize(
    ("name", "color"), [("black", (-1.0, -1.0, 0.0)), ("white", (1.0, 3.0, 0.5))], ids=["black", "white"]
)
def test_a_color_is_that_of_the_picture(flat: FlatModel, name: Baseline, color: tuple[float, ...]) -> None:
    # (0 - mean) / std and (1 - mean) / std
    expected = torch.tensor(color, dtype=torch.float64)[:, None, None].expand(X.shape)
    assert torch.equal(of_input(flat, name), expected)


def test_random_colors_are_alike_for_all_samples_and_fill_the_range(flat: FlatModel) -> None:
    baseline = of_input(flat, "uniform")
    picture = flat.adapter.preprocessing.denormalize(baseline)
    assert torch.equal(baseline[0], baseline[1]) and torch.equal(baseline[0], of_input(flat, "uniform", X[1:])[0])
    assert_close(flat.adapter.preprocessing.normalize(picture), baseline)  # no color was clipped
    assert picture.min() < 0.05 and picture.max() > 0.95 and abs(picture.mean() - 0.5) < 0.05


def test_the_mean_is_that_of_each_channel_of_each_sample(flat: FlatModel) -> None:
    x = torch.arange(4.0)[:, None].expand(4, 20) + torch.tensor([0.0, 10.0, 20.0])[:, None, None]
    x = torch.stack([x, 2 * x])
    expected = torch.tensor([[1.5, 11.5, 21.5], [3.0, 23.0, 43.0]])[:, :, None, None].expand(x.shape)
    assert torch.equal(of_input(flat, "mean", x), expected)


def test_a_blur_weakens_a_wave_by_its_frequency(flat: FlatModel) -> None:
    # the deviation is a tenth of the shorter side, 4 pixels; a cosine of w radians falls to exp(-(0.4 w)^2 / 2)
    frequency = math.pi * 5 / 20
    wave = torch.cos(frequency * (torch.arange(20, dtype=torch.float64) + 0.5)).expand(1, 3, 4, 20)
    expected = 7 + wave * math.exp(-((0.4 * frequency) ** 2) / 2)
    assert_close(of_input(flat, "blur", 7 + wave), expected)


@pytest.mark.parametrize("name", NAMES)
def test_integrated_gradients_reach_from_the_baseline(flat: FlatModel, name: Baseline) -> None:
    # the network is 2 * the sum of the input, so the values are 2 * (x - baseline)
    values = IntegratedGradients(2, name)(flat, X, logit(0)).values
    assert_close(values, 2 * (X - of_input(flat, name)))
    assert_close(values[1:], IntegratedGradients(2, name)(flat, X[1:], logit(0)).values)


@pytest.mark.parametrize("name", NAMES)
def test_copies_of_one_sample_stay_copies(flat: FlatModel, name: Baseline) -> None:
    copies = X[:1].expand(3, -1, -1, -1)
    baseline = of_input(flat, name, copies)
    assert baseline.stride(0) == 0 and torch.equal(baseline[:1], of_input(flat, name, X[:1]))


def test_the_maps_of_a_layer_have_a_mean_and_a_blur_but_no_color(flat: FlatModel) -> None:
    for name in ("mean", "blur"):
        values = Occlusion(1, 1, name)(flat, X, logit(0), wrt="0").values
        # a window of one pixel covers all channels, and the network adds them up
        fall = (2 * X - baseline_like(flat, "0", 2 * X, name)).sum(1, keepdim=True)
        assert_close(values, fall.expand_as(values))
    for name in ("black", "white", "uniform"):
        with pytest.raises(NotApplicable, match=f"the baseline '{name}' is a color, which '0' of .* has not"):
            Occlusion(baselines=name)(flat, X, logit(0), wrt="0")


def test_gray_pictures_have_the_average_of_the_colors() -> None:
    flat = FlatModel.from_nn_Module(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 1)),
        adapter=Adapter(preprocessing=Preprocessing(None, None, MEAN, STD)),
    )
    black = baseline_like(flat, "input", torch.zeros(1, 1, 2, 2), "black")
    assert_close(black, torch.full((1, 1, 2, 2), -0.25 / (2.75 / 3)))


def test_what_is_no_picture_has_no_named_baseline() -> None:
    vectors = FlatModel.from_nn_Module(nn.Sequential(nn.Linear(9, 4)))
    five = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(5, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    for name in NAMES:
        with pytest.raises(NotApplicable, match=f"the baseline '{name}' needs images or maps"):
            IntegratedGradients(2, name)(vectors, torch.zeros(1, 9), logit(0))
    with pytest.raises(NotApplicable, match=r"the input of .* has 5 channels, and its preprocessing 3"):
        IntegratedGradients(2, "black")(five, torch.zeros(1, 5, 8, 8), logit(0))
    IntegratedGradients(2, "blur")(five, torch.ones(1, 5, 8, 8), logit(0))


NAMED = [
    method
    for method in METHODS.values()
    if any(one.name == "baselines" and "blur" in one.words for one in options_of(method))
]


@pytest.mark.parametrize("method", NAMED, ids=lambda method: method.__name__)
def test_every_method_that_takes_names_tells_them(method: type[Method], flat: FlatModel) -> None:
    (row,) = (row for row in table(method) if row.name == "baselines")
    assert row.type.startswith("number, Tensor, black, white, uniform, mean, blur")
    instance = method_from(f"{next(name for name, one in METHODS.items() if one is method)}:baselines=blur")
    assert vars(instance)["baselines"] == "blur"
    with pytest.raises(NetLensError, match=r"baselines is 'blurred', but must be .*'black', 'white'"):
        method(baselines="blurred")


def test_the_methods_that_take_names_are_those_with_one_baseline() -> None:
    assert {method.__name__ for method in NAMED} == {
        method.__name__
        for method in METHODS.values()
        if any(one.name == "baselines" for one in options_of(method)) and "baselines" not in method.distributions
    }
