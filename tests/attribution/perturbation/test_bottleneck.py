"""The information bottleneck against its formula, a plain loop of autograd, and networks that need little."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import scipy.ndimage
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from netlens.attribution import InformationBottleneck, bottleneck_layer, cam_layer
from netlens.attribution._noise import stream
from netlens.attribution.perturbation._bottleneck import information
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import logit, output


def test_the_information_is_the_divergence_from_the_noise():
    generator = torch.Generator().manual_seed(0)
    r, mean = torch.randn(2, 500, generator=generator, dtype=torch.float64)
    deviation = torch.rand(500, generator=generator, dtype=torch.float64) + 0.1
    share = torch.rand(500, generator=generator, dtype=torch.float64)
    nats = information(share, ((r - mean) / deviation) ** 2)
    expected = kl_divergence(Normal(share * r + (1 - share) * mean, (1 - share) * deviation), Normal(mean, deviation))
    assert_close(nats, expected, rtol=1e-10, atol=1e-14)
    # half of an activation two deviations from the mean: (1/4 + 4/4 - 1) / 2 + log 2
    half = information(torch.tensor(0.5, dtype=torch.float64), torch.tensor(4.0, dtype=torch.float64))
    assert_close(half.item(), 1 / 8 + math.log(2), rtol=1e-14, atol=0)
    assert information(torch.zeros(()), torch.tensor(9.0)) == 0
    assert torch.isfinite(information(torch.ones(()), torch.tensor(9.0)))


def _by_hand(
    flat: FlatModel, key: str, at: Tensor, target: int, dims: tuple[int, ...], method, reference: Tensor
) -> Tensor:
    """The whole algorithm for one sample in plain autograd; `reference` is what the statistics are taken from."""
    # of vectors, each entry has a spread of its own
    over = dims if method.reference is None else (0, *dims) if at.ndim > 2 else (0,)
    mean = reference.mean(over, keepdim=True)
    deviation = (reference - mean).square().mean(over, keepdim=True).sqrt()
    deviation = torch.maximum(deviation, deviation.mean() / 100)

    def bits(raised: Tensor) -> tuple[Tensor, Tensor]:
        share = torch.sigmoid(raised)
        for dim in dims:
            eye = torch.eye(at.shape[dim], dtype=torch.float64).numpy()
            kernel = scipy.ndimage.gaussian_filter1d(eye, method.sigma, axis=0, mode="reflect", truncate=12)
            share = torch.einsum("ij,...j->...i", torch.from_numpy(kernel), share.movedim(dim, -1)).movedim(-1, dim)
        noise = (1 - share) * deviation
        return share, kl_divergence(Normal(share * at + (1 - share) * mean, noise), Normal(mean, deviation))

    raised = torch.full_like(at, 5.0, requires_grad=True)
    adam = torch.optim.Adam([raised], lr=1.0)
    for step in range(method.n_steps):
        share, nats = bits(raised)
        loss = method.beta * nats.mean()
        for draw in range(method.n_samples):
            drawn = torch.randn(at.shape[1:], generator=stream(method.seed, step, draw), dtype=torch.float64)
            scores = flat.resume({key: share * at + (1 - share) * (mean + deviation * drawn)})
            loss = loss - scores[0, target] / method.n_samples
        adam.zero_grad()
        loss.backward()
        adam.step()
    return (bits(raised)[1] / math.log(2)).detach()


WHERE = [
    ("branches", "cat", (2, 3)),
    ("vit", "encoder.layers.encoder_layer_0", (1,)),
    ("swin", "features.1", (1, 2)),
    ("resnet", "layer2", (2, 3)),
]


@pytest.mark.parametrize("with_reference", [False, True])
@pytest.mark.parametrize("name, wrt, dims", WHERE)
def test_values_are_those_of_a_plain_loop(cases, name, wrt, dims, with_reference):
    case = cases[name]
    others = torch.randn(4, *case.x.shape[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    method = InformationBottleneck(beta=3, n_steps=4, n_samples=3, seed=5, reference=others if with_reference else None)
    key = case.flat.key(wrt)
    values = method(case.flat, case.x, logit(list(case.targets)), wrt=wrt).values
    at = case.flat(case.x, until=key)
    for i, target in enumerate(case.targets):
        one = at[i : i + 1]
        reference = case.flat(others, until=key) if with_reference else one
        expected = _by_hand(case.flat, key, one, target, dims, method, reference)
        assert_close(values[i : i + 1], expected, rtol=1e-8, atol=1e-11)


class _Corner(nn.Module):
    """Maps of two channels, of which the head reads the first, in the left half."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 2, 3, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.maps(x))[:, :1, :, :6].mean((2, 3)))


@pytest.fixture
def corner() -> FlatModel:
    torch.manual_seed(0)
    module = _Corner().double()
    with torch.no_grad():
        module.maps.bias.fill_(1.0)
        module.head.weight.fill_(300.0)
    return FlatModel.from_nn_Module(module)


def test_what_the_network_does_not_read_keeps_less_information(corner):
    x = 2 + torch.randn(2, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    probable = output(lambda scores: scores[:, 0] / 10)
    bits = InformationBottleneck("relu", sigma=0, n_steps=30)(corner, x, probable).values
    read, unread = bits[:, 0, :, :6], torch.cat([bits[:, 0, :, 6:].flatten(1), bits[:, 1].flatten(1)], 1)
    # nothing holds up what is not read: Adam takes it all
    assert unread.max() < 1e-6
    assert (read.flatten(1).mean(1) > 1e3 * unread.mean(1)).all()


def test_an_infinite_price_buys_nothing_and_a_price_of_0_everything(cases):
    case = cases["plain"]
    where = {"objective": logit(list(case.targets)), "wrt": "trunk.2"}
    dear = InformationBottleneck(beta=1e9, n_steps=60, n_samples=1)(case.flat, case.x, **where).values
    totals = [
        InformationBottleneck(beta=beta, n_steps=30, n_samples=2)(case.flat, case.x, **where).values.flatten(1).sum(1)
        for beta in (0, 0.01, 0.1, 1)
    ]
    # the sigmoid never quite closes, but next to what passes for free it is nothing
    assert dear.min() >= 0 and dear.sum() < 1e-8 * totals[0].sum()
    for more, less in pairwise(totals):
        assert (more > less).all()


def _all_passes(flat: FlatModel, key: str) -> bool:
    """Whether the image reaches the layer, and no output but through it."""
    reached = set(flat.inputs)
    for step in flat.program.steps:
        if not step.hidden and step.key != key and not reached.isdisjoint(step.reads):
            reached.add(step.key)
    return reached.isdisjoint(flat.program.outputs) and key in flat.program.reached(flat.inputs)


def test_the_default_layer_is_the_middle_of_those_that_all_information_passes(case):
    if not case.spatial:
        with pytest.raises(NotApplicable, match=r"no layer of .* has activations with positions"):
            bottleneck_layer(case.flat)
        return
    keys = list(case.flat.layers)
    until = keys[: keys.index(cam_layer(case.flat)) + 1]
    waist = [key for key in until if _all_passes(case.flat, key)]
    assert bottleneck_layer(case.flat) == waist[(len(waist) - 1) // 2]
    result = InformationBottleneck(n_steps=1, n_samples=1)(case.flat, case.x, logit(0))
    assert result.provenance.layer == bottleneck_layer(case.flat)
    assert result.values.shape == case.flat(case.x, until=result.provenance.layer).shape


def test_the_spread_of_a_vector_needs_a_reference(cases):
    case = cases["vectors"]
    with pytest.raises(NotApplicable, match=r"layer '1' gives vectors, .* give reference="):
        InformationBottleneck("1")(case.flat, case.x, logit(0))
    others = torch.randn(50, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    method = InformationBottleneck("1", beta=3, n_steps=4, n_samples=3, reference=others, sigma=0.5)
    values = method(case.flat, case.x, logit(2)).values
    at, reference = case.flat(case.x, until="1"), case.flat(others, until="1")
    assert values.shape == at.shape
    for i in range(3):
        expected = _by_hand(case.flat, "1", at[i : i + 1], 2, (1,), method, reference)
        assert_close(values[i : i + 1], expected, rtol=1e-8, atol=1e-11)


def test_options_out_of_range_are_refused():
    for name, value in (("n_steps", 0), ("n_samples", 0), ("beta", -1.0), ("sigma", -1.0)):
        with pytest.raises(NetLensError, match=f"{name} is {value}, but must be"):
            InformationBottleneck(**{name: value})
