"""Every normalization by hand; maps without contrast; one sample as in a batch."""

import pytest
import torch
from torch.testing import assert_close

from netlens import heatmaps
from netlens.errors import NetLensError, NonFiniteError

VALUES = torch.tensor([[[[3.0, -1.0]], [[-2.0, 0.0]]]])  # (1,2,1,2)


@pytest.mark.parametrize(
    ("sign", "expected"),
    [("all", [1.0, -1.0]), ("positive", [3.0, 0.0]), ("negative", [2.0, 1.0]), ("absolute_value", [5.0, 1.0])],
)
def test_the_sign_is_taken_before_channels_are_summed(sign, expected):
    assert heatmaps.reduce(VALUES, sign).flatten().tolist() == expected


def test_signs_add_up():
    values = torch.randn(2, 3, 5, 7)
    all_, positive, negative, absolute = (
        heatmaps.reduce(values, sign) for sign in ("all", "positive", "negative", "absolute_value")
    )
    assert_close(positive + negative, absolute)
    assert_close(positive - negative, all_)


def test_half_precision_sums_do_not_overflow():
    values = torch.full((1, 3, 1, 2), 60000.0, dtype=torch.float16)
    assert heatmaps.reduce(values).flatten().tolist() == [180000.0] * 2


def test_doubles_stay_doubles():
    assert heatmaps.normalize(torch.rand(1, 1, 3, 3, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_inf_name_the_sample(bad):
    values = torch.zeros(3, 2, 2, 2)
    values[1, 1, 0, 1] = bad
    with pytest.raises(NonFiniteError, match="sample 1"):
        heatmaps.reduce(values)


def test_percentiles_are_those_of_torch():
    heat = torch.randn(3, 1, 7, 11)
    for q in (0, 1, 50, 99, 99.9, 100):
        expected = torch.quantile(heat.flatten(1), q / 100, dim=1)
        assert_close(heatmaps.percentile(heat, q).flatten(), expected)


@pytest.mark.parametrize("q", [-1, 101])
def test_a_percentile_out_of_range_is_refused(q):
    with pytest.raises(NetLensError, match=r"the percentile is .*, but must be a finite number from 0 to 100"):
        heatmaps.percentile(torch.zeros(1, 1, 2, 2), q)


def test_outliers_saturate():
    heat = torch.arange(101.0).reshape(1, 1, 1, 101)
    heat[..., -1] = 1e6  # the 99th percentile of 101 values is the second largest: 99
    expected = torch.arange(101.0).div(99).clamp(max=1)
    assert_close(heatmaps.normalize(heat, 99).flatten(), expected)


def test_min_max_by_hand():
    heat = torch.tensor([[[[-1.0, 0.0, 3.0]]]])
    assert heatmaps.normalize(heat, 100).flatten().tolist() == [0.0, 0.25, 1.0]


def test_signed_normalization_keeps_zero_and_proportion():
    heat = torch.tensor([[[[-4.0, 0.0, 2.0]]], [[[0.0, 5.0, 1.0]]]])
    assert heatmaps.normalize_signed(heat, 100).flatten(1).tolist() == [[-1, 0, 0.5], [0, 1, pytest.approx(0.2)]]
    assert heatmaps.normalize_signed(heat, 50).flatten(1).tolist() == [[-1, 0, 1], [0, 1, 1]]  # medians 2 and 1


@pytest.mark.parametrize("constant", [0.0, 0.3, -7.0, 1e-30])
def test_a_constant_map_is_zero_even_after_resizing(constant):
    heat = heatmaps.resize(torch.full((1, 1, 7, 7), constant), (224, 160))
    assert heatmaps.normalize(heat, 100).abs().max() == 0


def test_a_zero_map_is_zero_by_every_scale():
    zero = torch.zeros(2, 1, 3, 3)
    assert heatmaps.normalize(zero).abs().max() == heatmaps.normalize_signed(zero).abs().max() == 0
    assert heatmaps.part(zero, "positive").abs().max() == 0


def test_a_single_lit_pixel_is_no_outlier():
    heat = torch.zeros(1, 1, 20, 30)
    heat[0, 0, 3, 4] = -2.0
    assert heatmaps.normalize_signed(heat)[0, 0, 3, 4] == -1
    assert heatmaps.normalize(heat.abs()).sum() == heatmaps.normalize(heat.abs())[0, 0, 3, 4] == 1


def test_tiny_gradients_keep_their_contrast():
    heat = torch.tensor([[[[0.0, 1e-30, 2e-30]]]])
    assert_close(heatmaps.normalize(heat, 100).flatten(), torch.tensor([0, 0.5, 1.0]))


def test_a_batch_equals_its_samples():
    heat = torch.randn(4, 1, 9, 5) * torch.tensor([1e-6, 1.0, 1e3, 0.0])[:, None, None, None]
    for normalize in (heatmaps.normalize, heatmaps.normalize_signed):
        assert_close(normalize(heat), torch.cat([normalize(sample) for sample in heat.split(1)]), rtol=0, atol=0)


def test_resizing_by_hand():
    heat = torch.tensor([[[[0.0, 4.0]]]])
    # cell centers lie at 1/4 and 3/4 of the picture, whose corners stay put: beyond the centers there is no slope
    assert heatmaps.resize(heat, (1, 4)).flatten().tolist() == [0.0, 1.0, 3.0, 4.0]
    assert heatmaps.resize(heat, 2).shape == (1, 1, 2, 2)
    assert heatmaps.resize(heat, (1, 2)) is heat
    assert_close(heatmaps.resize(torch.ones(1, 1, 8, 8), (2, 3)), torch.ones(1, 1, 2, 3))


def test_parts_keep_their_channels():
    values = torch.tensor([[4.0, -8.0, 2.0], [-1.0, -2.0, -4.0]])
    assert heatmaps.part(values, "positive").tolist() == [[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    assert heatmaps.part(values, "negative").tolist() == [[0.0, 1.0, 0.0], [0.25, 0.5, 1.0]]
    assert heatmaps.part(values[:, 0], "positive").tolist() == [1.0, 0.0]


def test_wrong_words_and_shapes_are_refused():
    with pytest.raises(NetLensError, match="'absolute_value'"):
        heatmaps.reduce(VALUES, "abs")
    with pytest.raises(NetLensError, match="N,C,h,w"):
        heatmaps.reduce(VALUES[0, 0])


def test_the_nearest_value_fills_its_cell() -> None:
    maps = torch.arange(6.0).view(1, 1, 2, 3)
    cells = maps.repeat_interleave(4, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(heatmaps.resize(maps, (8, 6), "nearest"), cells)
    assert torch.equal(heatmaps.resize(cells, (2, 3), "nearest"), maps)
    with pytest.raises(heatmaps.ResultError, match="interpolation"):
        heatmaps.resize(maps, 8, "cubic")
