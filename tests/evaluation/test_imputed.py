"""Imputation, ROAD and IROF: the linear system by hand, and pytorch-grad-cam's ROAD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from netlens.evaluation import Case, Explanation
from netlens.evaluation._imputation import imputed
from netlens.evaluation.metrics import IROF, ROAD, Deletion, Insertion, Selectivity
from netlens.objectives import logit, probability
from netlens.world.scene import batch
from netlens.zoo import open_network
from tests.evaluation.linear import case, truth


def quiet(image, gone):
    return imputed(image, gone, 0.0, torch.Generator().manual_seed(0))


def test_one_pixel_is_the_weighted_mean_of_its_neighbors():
    image = torch.arange(9.0).double().view(1, 3, 3)
    gone = torch.zeros(3, 3, dtype=torch.bool)
    gone[1, 1] = True
    assert_close(quiet(image, gone)[0, 1, 1], (1 + 3 + 5 + 7) / 6 + torch.tensor((0 + 2 + 6 + 8) / 12).double())
    gone = torch.zeros(3, 3, dtype=torch.bool)
    gone[0, 0] = True  # a corner has three neighbors: 1, 3 and, at its corner, 4
    assert_close(quiet(image, gone)[0, 0, 0], torch.tensor((1 / 6 + 3 / 6 + 4 / 12) / (5 / 12)).double())


def test_a_linear_image_comes_back_inside():
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    image = torch.stack([rows + 2 * columns, 3 - columns]).double()
    gone = torch.zeros(8, 9, dtype=torch.bool)
    gone[2:6, 2:7] = True
    assert_close(quiet(image, gone), image)


def test_imputation_is_that_of_the_paper_authors():
    road = pytest.importorskip("pytorch_grad_cam.metrics.road", reason="the oracle is pytorch-grad-cam")
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 12, 10, generator=generator)
    gone = torch.rand(12, 10, generator=generator) < 0.4
    expected = road.NoisyLinearImputer(noise=0)(image, (~gone).float())
    np.testing.assert_allclose(quiet(image, gone).numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_nothing_gone_and_all_gone():
    image = torch.rand(2, 3, 4).double()
    assert torch.equal(quiet(image, torch.zeros(3, 4, dtype=torch.bool)), image)
    every = quiet(image, torch.ones(3, 4, dtype=torch.bool))
    assert_close(every, image.mean((1, 2), keepdim=True).expand_as(image))


def test_noise_repeats_with_the_seed_and_leaves_the_rest():
    image, gone = torch.zeros(1, 6, 6).double(), torch.zeros(6, 6, dtype=torch.bool)
    gone[2:4] = True
    one, two = (imputed(image, gone, 0.1, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert (one[0][gone] != 0).all()
    assert not one[0][~gone].any()


def test_road_is_the_mean_of_both_orders():
    one = case(side=6)
    right, wrong = truth(one), Explanation.of(one, -truth(one).maps)
    metric = ROAD(shares=(0.25, 0.5), noise=0.0)
    expected = (metric.without(right, True) - metric.without(right, False)).mean(1) / 2
    assert_close(metric(right), expected)
    assert_close(metric(wrong), -expected)


def test_curves_replace_pixels_by_their_surroundings():
    explanation = truth(case(side=6))
    road = ROAD(shares=(0.25, 0.5, 0.75, 1.0), noise=0.0)
    _, deleted = Deletion(steps=4, baselines="inpainted").curve(explanation)
    assert_close(deleted[:, 1:], road.without(explanation, least=False))
    assert_close(deleted[:, 0], explanation.case.values)
    _, inserted = Insertion(steps=4, baselines="inpainted").curve(explanation)
    assert_close(inserted.flip(1)[:, 1:], road.without(explanation, least=True))
    assert not torch.allclose(deleted, Deletion(steps=4, baselines="mean").curve(explanation)[1])


def test_regions_become_their_surroundings():
    one = truth(case())
    values = Selectivity(side=2, baselines="inpainted").curve(one)[1]
    first = one.maps.view(3, 2, 2, 2, 2).sum((2, 4)).flatten(1).argmax(1)
    for sample, region in enumerate(first.tolist()):
        gone = torch.zeros(2, 2, dtype=torch.bool)
        gone.view(-1)[region] = True
        image = quiet(one.case.x[sample], gone.repeat_interleave(2, 0).repeat_interleave(2, 1))
        assert_close(values[sample, 1], one.case.values_of([sample], lambda _, image=image: image[None])[0])


@pytest.fixture(scope="module")
def scenes() -> Case:
    flat = open_network()
    pictures, labels, masks = batch(7, 3)
    x = flat.adapter.preprocessing.normalize(pictures / 255)
    targets = labels.tolist()
    return Case(flat, x, logit(targets), probability(targets), masks)


def test_irof_counts_superpixels(scenes):
    pytest.importorskip("skimage", reason="superpixels need scikit-image")
    masks = scenes.masks.double()
    right, wrong = Explanation.of(scenes, masks), Explanation.of(scenes, 1 - masks)
    metric = IROF(segments=20)
    shares, values = metric.curve(right)
    assert values.shape == (3, len(shares))
    assert shares[0] == 0
    assert shares[-1] == 1
    assert_close(values[:, 0], scenes.values)
    assert_close(metric(right), (1 - values / values[:, :1]).mean(1))
    assert (metric(right) > metric(wrong)).all()
