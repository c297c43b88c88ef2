"""Landscapes: the losses are those of networks with moved weights, and the network itself never moves."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from benchmarks import little
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.studies import Landscape, landscape
from netlens.studies._directions import filter_normalized
from tests.survey import whole


def labeled(n: int = 40, size: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, size, size, generator=generator), torch.randint(0, 3, (n,), generator=generator)


def network(seed: int = 0) -> nn.Module:
    model = little.random_network(3, seed)
    with torch.no_grad():
        model.train()(labeled()[0])  # so that running statistics are some
    return model.eval()


def digest(model: nn.Module) -> str:
    content = b"".join(name.encode() + one.numpy().tobytes() for name, one in model.state_dict().items())
    return hashlib.sha256(content).hexdigest()


def moved(model: nn.Module, steps: tuple[float, ...], seed: int) -> nn.Module:
    other = copy.deepcopy(model)
    for i, step in enumerate(steps):
        for name, direction in filter_normalized(model, seed + i).items():
            other.get_parameter(name).data += step * direction
    return other


def test_filters_of_a_direction_are_as_long_as_those_of_the_network() -> None:
    model = network()
    directions = filter_normalized(model, 3)
    assert directions.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        direction = directions[name]
        if parameter.ndim < 2:
            assert not direction.any()
            continue
        for part, filter_ in zip(direction, parameter, strict=True):
            assert float(part.norm()) == pytest.approx(filter_.detach().norm().item(), rel=1e-5)
    again, other = filter_normalized(model, 3), filter_normalized(model, 4)
    assert all(torch.equal(again[name], directions[name]) for name in again)
    assert not torch.equal(other["head.weight"], directions["head.weight"])


def test_a_filter_of_zeros_stays() -> None:
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight[0])
    assert not filter_normalized(layer, 0)["weight"][0].any()


@pytest.mark.parametrize("surface", [False, True])
def test_losses_are_those_of_moved_networks(surface: bool) -> None:
    model = network()
    x, labels = labeled()
    flat = FlatModel.from_nn_Module(model)
    loss_landscape = landscape(flat, (x, labels), surface=surface, reach=0.8, steps=5, seed=7, progress=False)
    assert loss_landscape.steps.tolist() == pytest.approx([-0.8, -0.4, 0, 0.4, 0.8])
    points = (
        [(s, t) for s in loss_landscape.steps.tolist() for t in loss_landscape.steps.tolist()]
        if surface
        else [(s,) for s in loss_landscape.steps.tolist()]
    )
    for point, loss, accuracy in zip(
        points, loss_landscape.losses.flatten(), loss_landscape.accuracies.flatten(), strict=True
    ):
        with torch.no_grad():
            scores = moved(model, point, 7)(x)
        assert_close(float(loss), float(nn.functional.cross_entropy(scores.double(), labels)), rtol=1e-4, atol=1e-5)
        assert abs(float(accuracy) - float((scores.argmax(1) == labels).double().mean())) <= 1 / 40
    with torch.no_grad():
        assert loss_landscape.loss == pytest.approx(float(nn.functional.cross_entropy(model(x), labels)), rel=1e-5)
    assert loss_landscape.samples == 40


def test_the_scale_of_layers_does_not_change_the_landscape() -> None:
    """The law for which filters are normalized: a network of the same function has the same landscape."""
    model = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3, bias=False))
    model = model.double()
    other = copy.deepcopy(model)
    other[0].weight.data *= 50
    other[3].weight.data /= 50
    x, labels = labeled(size=8)
    one, two = (
        landscape(FlatModel.from_nn_Module(m), (x.double(), labels), steps=5, progress=False) for m in (model, other)
    )
    assert_close(one.losses, two.losses, rtol=1e-9, atol=1e-9)
    assert one.losses.std() > 0.01


def test_the_network_stays_as_it_was() -> None:
    model = network()
    before, flat = digest(model), FlatModel.from_nn_Module(model)
    x, labels = labeled()
    output = flat(x)
    landscape(flat, (x, labels), steps=3, progress=False)
    assert digest(model) == before and torch.equal(flat(x), output)
    labels[35] = -1  # in the second batch, after the first one has moved
    with pytest.raises(NetLensError, match="#35 has none"):
        landscape(flat, (x, labels), steps=3, progress=False)
    assert digest(model) == before and torch.equal(flat(x), output)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_whole_numbers_have_one_result_for_any_data(tmp_path: Path) -> None:
    samples = whole.Samples(50)
    batch = landscape(whole.flat(), (samples.images, samples.labels), steps=3, progress=False)
    data = landscape(whole.flat(), samples, steps=3, progress=False)
    assert torch.equal(batch.losses, data.losses) and torch.equal(batch.accuracies, data.accuracies)
    again = Landscape.load(batch.save(tmp_path / "landscape.safetensors"))
    assert torch.equal(again.losses, batch.losses) and again.samples == 50 and again.loss == batch.loss


@pytest.mark.parametrize("surface", [False, True])
def test_landscapes_are_drawn(surface: bool) -> None:
    x, labels = labeled(8)
    loss_landscape = landscape(
        FlatModel.from_nn_Module(network()), (x, labels), surface=surface, steps=5, progress=False
    )
    assert loss_landscape.show().rgba().std() > 10


def test_what_makes_no_sense_is_refused() -> None:
    flat, (x, labels) = FlatModel.from_nn_Module(network()), labeled(4)
    with pytest.raises(NetLensError, match="must be odd"):
        landscape(flat, (x, labels), steps=4)
    with pytest.raises(NetLensError, match="reach"):
        landscape(flat, (x, labels), reach=0)
    with pytest.raises(NetLensError, match="has 3 classes"):
        landscape(flat, (x, labels + 3), steps=3, progress=False)
    without = FlatModel.from_nn_Module(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.ReLU()))
    with pytest.raises(NetLensError, match="no filter can move"):
        landscape(without, (x, labels))
