"""Claims about linear networks, whose reasons are known: the measured numbers, the messages and the bounds."""

from __future__ import annotations

import copy
import math
import re
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from netlens import NetLens, open_network
from netlens.errors import NetLensError, NetLensWarning, NotApplicable
from netlens.evaluation import ConstantMap, EdgeDetector
from netlens.objectives import logit
from netlens.testing import _ledger as ledgers
from netlens.testing import (
    assert_complete,
    assert_ignores,
    assert_looks_at,
    assert_same_reason,
    assert_sane,
)
from netlens.world.scene import scene
from tests.testing.networks import LEFT, RIGHT, SIDE, linear, ones


@pytest.fixture
def ledger(tmp_path: Path) -> object:
    with ledgers.opened(ledgers.Ledger(lambda: tmp_path / "failures", "test", draws=True)) as ledger:
        yield ledger


def fails(pattern: str) -> object:
    return pytest.raises(AssertionError, match=pattern)


def lens(left: float = 1.0, right: float = 0.0, n: int = 1, **options: object) -> NetLens:
    return NetLens(linear(left, right), ones(n), **options)


# looks at


@pytest.mark.parametrize("method", ["input_x_gradient", "integrated_gradients", "deep_lift", "lrp"])
def test_a_network_looks_at_the_half_that_it_reads(method: str, ledger: ledgers.Ledger) -> None:
    assert_looks_at(lens(), LEFT, 1.0, method)
    with fails("measured  0: "):
        assert_looks_at(lens(), RIGHT, 0.51, method)


def test_the_share_is_that_of_the_weights(ledger: ledgers.Ledger) -> None:
    three_of_four = lens(3.0, 1.0)
    assert_looks_at(three_of_four, LEFT, 0.7499, "input_x_gradient")
    with fails("0.75") as caught:
        assert_looks_at(three_of_four, LEFT, 0.7501, "input_x_gradient")
    assert str(caught.value).splitlines()[:3] == [
        "assert_looks_at: it is not so that the network sequential looks at the mask.",
        "  measured  0.75: class 0 (the mask covers 50% of the image)",
        "  wanted    at least 0.7501: the share of the positive values of InputXGradient that lies inside the mask",
    ]


def test_each_image_or_the_mean_of_all_must_keep_the_bound(ledger: ledgers.Ledger) -> None:
    several = NetLens(linear(3.0, 1.0), torch.cat([ones(), ones() * (LEFT + 3.0 * RIGHT), ones() * 1.0]))
    # the second image is three times as bright on the right: 3 of 3 + 3
    assert_looks_at(several, LEFT, 0.66, "input_x_gradient", over="mean")
    with fails("0.667: the mean over 3 images, from 0.5 to 0.75"):
        assert_looks_at(several, LEFT, 0.67, "input_x_gradient", over="mean")
    with fails(re.escape("images    1 of 3: 1 (0.5)")) as caught:
        assert_looks_at(several, LEFT, 0.66, "input_x_gradient")
    assert "the worst of 3 images: image 1, class 0" in str(caught.value)


def test_a_mask_for_each_image_in_any_form(ledger: ledgers.Ledger) -> None:
    two = lens(3.0, 1.0, n=2)
    masks = torch.stack([LEFT, RIGHT])
    for mask in (masks, masks.numpy(), masks.int(), 255 * masks.byte().numpy(), list(masks), [LEFT.numpy()] * 2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NetLensWarning)
            assert_looks_at(two, mask, 0.2, "input_x_gradient")
    with fails(re.escape("images    1 of 2: 1 (0.25)")):
        assert_looks_at(two, masks, 0.6, "input_x_gradient")


def test_a_mask_from_a_picture_is_cut_as_images_are(tmp_path: Path, ledger: ledgers.Ledger) -> None:
    one = scene(0, label=3)
    shown = NetLens(open_network(), Image.fromarray(one.image))
    picture = Image.fromarray(one.mask)  # of black and white
    picture.save(tmp_path / "mask.png")
    for mask in (one.mask, picture, tmp_path / "mask.png", str(tmp_path / "mask.png"), [picture]):
        assert_looks_at(shown, mask, 0.3)
    numbers = {entry.measured for entry in ledger.entries}
    assert len(ledger.entries) == 5 and len(numbers) == 1


def test_claims_that_claim_nothing_are_refused() -> None:
    with pytest.raises(NetLensError, match="mask is empty for image 0"):
        assert_looks_at(lens(), LEFT & RIGHT, method="saliency")
    with pytest.raises(NetLensError, match="mask covers all of an image"):
        assert_looks_at(lens(), LEFT | RIGHT, method="saliency")
    with pytest.warns(NetLensWarning, match="covers 50% of the image, so a map that is the same everywhere"):
        assert_looks_at(lens(), LEFT, 0.5, "input_x_gradient")
    with pytest.raises(NetLensError, match=r"no filling of .* changes the region of image 0"):
        assert_ignores(lens(), LEFT, fillings=(1.0, "mean"))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (LEFT[:4], r"mask is \(1, 4, 16\), but the input of sequential is 1 x 16 x 16"),
        (torch.stack([LEFT] * 3), r"mask is \(3, 16, 16\)"),
        (torch.linspace(0, 1, SIDE).expand(SIDE, SIDE), "more numbers than 0 and another one"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask: Tensor, message: str) -> None:
    with pytest.raises(NetLensError, match=message):
        assert_looks_at(lens(), mask, method="input_x_gradient")


def test_a_mask_needs_a_picture() -> None:
    vectors = NetLens(nn.Linear(4, 2), torch.ones(1, 4))
    with pytest.raises(NotApplicable, match="mask is a region of a picture"):
        assert_looks_at(vectors, LEFT, method="saliency")


def test_wrong_bounds_are_refused() -> None:
    for share in (0.0, 1.1):
        with pytest.raises(NetLensError, match="share is"):
            assert_looks_at(lens(), LEFT, share)
    with pytest.raises(NetLensError, match="lens is"):
        assert_looks_at(linear(), LEFT)
    with pytest.raises(NetLensError, match="over is"):
        assert_looks_at(lens(), LEFT, over="all")
    with pytest.raises(NetLensError, match="fillings is a list"):
        assert_ignores(lens(), LEFT, fillings="blur")
    with pytest.raises(NetLensError, match="fillings is a list"):
        assert_ignores(lens(), LEFT, fillings=())


# ignores


def test_a_network_ignores_the_half_that_it_does_not_read(ledger: ledgers.Ledger) -> None:
    assert_ignores(lens(), RIGHT, 0.0, fillings=(0.0, "black", "uniform"), share=0.0)
    with fails("assert_ignores: it is not so that the network sequential ignores the region"):
        assert_ignores(lens(), LEFT, 0.05, fillings=(0.0,))


def test_the_change_is_that_of_the_probability(ledger: ledgers.Ledger) -> None:
    # the scores are 1.5 and -1 of ones, and 0 and -1 of zeros
    change = 1 / (1 + math.exp(-2.5)) - 1 / (1 + math.exp(-1))
    assert_ignores(lens(), LEFT, change + 1e-6, fillings=(0.0,))
    with fails(f"measured  {change:.3g}: class 0 \\(0.924 becomes 0.731, filled by 0.0\\)"):
        assert_ignores(lens(), LEFT, change - 1e-3, fillings=(0.0,))


def test_the_change_may_be_that_of_another_number(ledger: ledgers.Ledger) -> None:
    assert_ignores(lens(), LEFT, 1.5001, fillings=(0.0,), judged=logit(0))
    with fails(r"1.5: class 0 \(1.5 becomes 0, filled by 0.0\)") as caught:
        assert_ignores(lens(), LEFT, 1.4999, fillings=(0.0,), judged=logit(0))
    assert "the change of logit(0) when the region is filled" in str(caught.value)


def test_the_worst_filling_counts(ledger: ledgers.Ledger) -> None:
    with fails("filled by -1.0"):
        assert_ignores(lens(), LEFT, 0.01, fillings=(0.0, -1.0, 0.5))


def test_the_answer_of_one_score_is_its_sigmoid(ledger: ledgers.Ledger) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 1, bias=False)).double()
    with torch.no_grad():
        network[1].weight[:] = (LEFT / SIDE**2).expand(1, 3, SIDE, SIDE).flatten()
    one = NetLens(network, ones())
    assert_ignores(one, RIGHT, 0.0, fillings=(0.0,))
    with fails("0.818 becomes 0.5"):  # of sigmoid(1.5) and sigmoid(0)
        assert_ignores(one, LEFT, 0.1, fillings=(0.0,))


def test_attributions_in_the_region_may_be_claimed_to_be_small(ledger: ledgers.Ledger) -> None:
    three_of_four = lens(3.0, 1.0)
    loose = {"fillings": (0.0,), "method": "input_x_gradient"}
    assert_ignores(three_of_four, RIGHT, 1.0, share=0.2501, **loose)
    with fails(r"measured  0.25: class 0 \(the region covers 50% of the image\)"):
        assert_ignores(three_of_four, RIGHT, 1.0, share=0.2499, **loose)
    with fails("the attribution is 0 everywhere, which says nothing"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NetLensWarning)
        assert_ignores(lens(0.0, 0.0), RIGHT, 1.0, share=0.5, **loose)


# complete


def test_sums_of_a_linear_network_are_complete(ledger: ledgers.Ledger) -> None:
    one = lens(3.0, 1.0)
    assert_complete(one.integrated_gradients(n_steps=3), 1e-9)
    assert_complete(one.deep_lift(), 1e-9)
    assert_complete(one.input_x_gradient(), 1e-9, lens=one)


def test_a_sum_that_misses_the_change_fails(ledger: ledgers.Ledger) -> None:
    one = lens(3.0, 1.0)  # the score is 4.5 + 1.5 = 6 of ones, and 3 of halves
    with fails(r"measured  1: class 0 \(the sum is 6, and the change 3\)"):
        assert_complete(one.input_x_gradient(), 0.9, lens=one, baselines=0.5)
    assert_complete(one.input_x_gradient(), 1.0, lens=one, baselines=0.5)
    with fails("measured  inf"):
        assert_complete(one.input_x_gradient(), 100.0, lens=one, baselines=1.0)


def test_a_gap_that_nobody_has_measured_needs_a_lens() -> None:
    one = lens()
    for attribution in (one.saliency(), one.integrated_gradients(n_steps=3, multiply=False)):
        with pytest.raises(NetLensError, match="has not measured whether its values add up"):
            assert_complete(attribution)
    with pytest.raises(NetLensError, match="of 1 samples, but the lens has 2"):
        assert_complete(one.saliency(), lens=lens(n=2))
    with pytest.warns(NetLensWarning, match="does not predict"):
        other = NetLens(linear(), ones(), target=1)
    with pytest.raises(NetLensError, match=r"explains logit\(0\), but the lens logit\(1\)"):
        assert_complete(one.saliency(), lens=other)


def test_sums_over_vectors_have_no_picture_and_are_checked_all_the_same(ledger: ledgers.Ledger) -> None:
    vectors = NetLens(nn.Linear(4, 2).double(), torch.ones(1, 4, dtype=torch.float64))
    assert_complete(vectors.integrated_gradients(n_steps=3), 1e-9)
    with fails("look at   there is no picture"):
        assert_complete(vectors.integrated_gradients(n_steps=3) * 2, 0.5, lens=vectors)
    assert [(entry.holds, entry.views) for entry in ledger.entries] == [(True, ()), (False, ())]


# sane


def test_a_method_that_reads_the_network_is_sane_and_one_that_does_not_is_not(ledger: ledgers.Ledger) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    assert_sane("saliency", linear(), x)
    with fails("measured  1: the mean over 2 images, from 1 to 1") as caught:
        assert_sane(EdgeDetector(), linear(), x, 0.999)
    assert "the maps of EdgeDetector change when the weights of sequential are random" in str(caught.value)


def test_a_map_that_says_nothing_is_not_sane(ledger: ledgers.Ledger) -> None:
    with fails("the map is the same everywhere, which says nothing"):
        assert_sane(ConstantMap(), linear(), ones(), over="each")
    with fails("measured  nan"):
        assert_sane(ConstantMap(), linear(), ones())


def test_the_network_keeps_its_weights(ledger: ledgers.Ledger) -> None:
    network = linear()
    before = copy.deepcopy(network.state_dict())
    assert_sane("saliency", network, ones())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


# same reason


def test_a_network_has_the_reason_of_its_copy(ledger: ledgers.Ledger) -> None:
    assert_same_reason(linear(3.0, 1.0), linear(3.0, 1.0), ones(2), 1.0, "input_x_gradient")
    assert_same_reason(linear(3.0, 1.0), linear(30.0, 2.0), ones(), 0.999, "input_x_gradient")  # the same order


def test_opposite_halves_are_opposite_reasons(ledger: ledgers.Ledger) -> None:
    with fails("measured  -1: the worst of 2 images: image 0, class 0") as caught:
        assert_same_reason(linear(2.0, 1.0), linear(1.0, 2.0), ones(2), -0.5, "input_x_gradient")
    assert "the first network and the second network have the same reason" in str(caught.value)


def test_both_are_asked_about_the_class_of_the_first(ledger: ledgers.Ledger) -> None:
    other = linear(3.0, 1.0)
    with torch.no_grad():
        other[1].bias[1] = 100  # it predicts class 1, of which all weights are 0
    assert_same_reason(linear(3.0, 1.0), other, ones(2), 1.0, "input_x_gradient")
    one_class = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 1)).double()
    with pytest.raises(NetLensError, match="has 1 classes, but is asked about class 1"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NetLensWarning)  # class 1 has no weights
        assert_same_reason(other, one_class, ones(), 0.5, "input_x_gradient")


def test_maps_of_nothing_are_no_reason(ledger: ledgers.Ledger) -> None:
    with fails("a map is the same everywhere, which says nothing"):
        assert_same_reason(linear(1.0, 1.0), linear(1.0, 1.0), ones(), 0.5, "input_x_gradient")


# what fails is a line of the test


def test_the_traceback_ends_at_the_test(ledger: ledgers.Ledger) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_looks_at(lens(), RIGHT, 0.6, "input_x_gradient")
    hidden = [frame.ishidden(caught) for frame in caught.traceback]
    assert hidden == [False, *[True] * (len(hidden) - 1)] and len(hidden) > 1
    with pytest.raises(NetLensError) as caught:
        assert_looks_at(lens(), LEFT[:2], 0.6, "input_x_gradient")
    assert not any(frame.ishidden(caught) for frame in caught.traceback)  # a mistake in the call shows where
