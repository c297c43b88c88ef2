"""The path of ever sharper images: Gaussian to the last digit, its derivative too, and complete."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.testing import assert_close

from netlens.attribution import (
    BlurIntegratedGradients,
)
from netlens.attribution._scale_space import (
    ScaleSpace,
)
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import logit


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 17, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sigma", [1.2, 2.0, 3.0, 10.0, 50.0])
def test_the_blur_is_scipys_with_mirrored_borders(images, sigma):
    expected = gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode="reflect", truncate=12)
    ours = ScaleSpace(images).blurred([0, 1], torch.tensor([sigma, sigma]).to(images))
    # a Gaussian sampled at pixels folds what it holds beyond pi radians per pixel, exp(-(pi sigma)^2 / 2)
    folded = 20 * np.exp(-((np.pi * sigma) ** 2) / 2)
    assert_close(ours, torch.from_numpy(expected), rtol=0, atol=max(folded, 1e-12))


@pytest.mark.parametrize("sigma", [0.05, 0.7, 4.0])
def test_the_derivative_is_that_of_the_blur(images, sigma):
    space, scale = ScaleSpace(images), torch.tensor([sigma, 2 * sigma]).to(images)
    step = 1e-5
    difference = (space.blurred([0, 1], scale + step) - space.blurred([0, 1], scale - step)) / (2 * step)
    assert_close(space.change([0, 1], scale), difference, rtol=1e-6, atol=1e-8)


def test_blurs_add_up_like_gaussians_and_keep_the_mean(images):
    def blur(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return ScaleSpace(x).blurred([0, 1], torch.tensor([sigma, sigma]).to(x))

    assert_close(blur(images, 0.0), images, rtol=0, atol=1e-13)
    assert_close(blur(blur(images, 3.0), 4.0), blur(images, 5.0), rtol=0, atol=1e-13)
    assert_close(blur(images, 2.0).mean((2, 3)), images.mean((2, 3)), rtol=0, atol=1e-13)
    flat = images.mean((2, 3), keepdim=True).expand_as(images)
    assert_close(blur(images, 500.0), flat, rtol=0, atol=1e-13)


def test_of_a_linear_network_it_is_what_the_blur_took_away(images):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 17 * 24, 2)).double()
    result = BlurIntegratedGradients(30, max_sigma=4)(FlatModel.from_nn_Module(network), images, logit(1))
    blurred = ScaleSpace(images).blurred([0, 1], torch.tensor([4.0, 4.0]).to(images))
    weight = network[1].weight[1].detach().view(3, 17, 24)
    assert_close(result.values, weight * (images - blurred), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["densenet", "branches", "vit", "swin", "plain"])
def test_the_values_sum_to_the_change_from_the_most_blurred(cases, name):
    case = cases[name]
    objective, x = logit(list(case.targets)), case.x / 4
    result = BlurIntegratedGradients(200, max_sigma=20)(case.flat, x, objective)
    most = gaussian_filter(x.numpy(), (0, 0, 20, 20), mode="reflect", truncate=12)
    logits = [case.flat(value)[range(3), list(case.targets)] for value in (x, torch.from_numpy(most))]
    change, gap = logits[0] - logits[1], result.diagnostics["completeness_gap"]
    assert_close(gap, result.values.flatten(1).sum(1) - change, rtol=0, atol=1e-9)
    assert (gap.abs() < 0.02 * change.abs().max()).all()


def test_maps_of_a_layer_are_blurred_and_tokens_are_not(cases):
    plain, vit = cases["plain"], cases["vit"]
    result = BlurIntegratedGradients(200, max_sigma=5)(plain.flat, plain.x, logit(0), wrt="trunk.2")
    maps = plain.flat(plain.x, until="trunk.2")
    most = torch.from_numpy(gaussian_filter(maps.numpy(), (0, 0, 5, 5), mode="reflect", truncate=12))
    change = (plain.flat.resume({"trunk.2": maps}) - plain.flat.resume({"trunk.2": most}))[:, 0]
    assert_close(result.values.flatten(1).sum(1), change, rtol=0.02, atol=0.002)
    with pytest.raises(NotApplicable, match=r"a blur needs images or maps .* \(3, 17, 16\)"):
        BlurIntegratedGradients()(vit.flat, vit.x, logit(0), wrt=vit.family.middle)


def test_vectors_are_no_images(cases):
    case = cases["vectors"]
    with pytest.raises(NotApplicable, match=r"'input' gives \(3, 9\). Take IntegratedGradients"):
        BlurIntegratedGradients()(case.flat, case.x, logit(0))
    with pytest.raises(NetLensError, match="max_sigma is 0, but must be a finite number above 0"):
        BlurIntegratedGradients(max_sigma=0)(cases["plain"].flat, cases["plain"].x, logit(0))


def test_the_path_is_finer_where_the_image_changes_most(cases):
    """The same number of even steps in sigma misses the change by far more."""
    case = cases["branches"]
    x = case.x / 4
    gap = BlurIntegratedGradients(40, max_sigma=40)(case.flat, x, logit(0)).diagnostics["completeness_gap"]
    space, sigmas, total = ScaleSpace(x), (np.arange(40) + 0.5), 0
    for sigma in sigmas:
        scale = torch.full((3,), sigma).to(x)
        point = space.blurred([0, 1, 2], scale).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(case.flat(point)[:, 0].sum(), point)
        total = total - (gradient * space.change([0, 1, 2], scale)).flatten(1).sum(1)
    most = space.blurred([0, 1, 2], torch.full((3,), 40.0).to(x))
    even = total - (case.flat(x) - case.flat(most))[:, 0]
    assert gap.abs().max() < even.abs().max() / 4
