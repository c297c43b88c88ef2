"""Which values have a row per sample: what the layers tell is what runs show."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from netlens.attribution._rows import (
    rows_by_probe,
    with_rows,
)
from netlens.attribution._sample_axis import (
    rows_by_layers,
    samples_stay_apart,
)
from netlens.attribution.mixing import mixing_by_runs
from netlens.flat import FlatModel
from tests.networks import local, odd

CLASSES = 5


def vit() -> nn.Module:
    """The vision transformer of torchvision in small, with a class token and learned positions."""
    return VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=CLASSES)


# the value says whether the layers tell all, so that no probe runs
TORCHVISION = {
    "alexnet": True,
    "vgg11": True,
    "resnet18": True,
    "mobilenet_v2": True,
    "mobilenet_v3_small": True,
    "shufflenet_v2_x0_5": True,
    "squeezenet1_1": True,
    "densenet121": True,
    "efficientnet_b0": True,
    "regnet_x_400mf": True,
    "mnasnet0_5": True,
    "convnext_tiny": True,
    "vit": True,
    "swin_t": False,
}


def torchvision_network(name: str) -> FlatModel:
    torch.manual_seed(0)
    network = vit() if name == "vit" else torchvision.models.get_model(name, weights=None, num_classes=CLASSES)
    return FlatModel.from_nn_Module(network.eval())


def checked(flat: FlatModel, x: Tensor) -> bool:
    """Whether the layers tell all that runs show. What they tell must be right."""
    by_layers = rows_by_layers(flat, x.ndim)
    by_probe = rows_by_probe(flat, x, [key for key in flat.layers if key not in flat.inputs])
    assert by_layers & set(flat.layers) <= by_probe
    apart = samples_stay_apart(flat, x.ndim)
    assert not apart or mixing_by_runs(flat, x) == ()
    return apart and by_probe <= by_layers


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_layers_tell_what_runs_show(name):
    size = 32 if name == "vit" else 64
    assert checked(torchvision_network(name), torch.rand(2, 3, size, size)) == TORCHVISION[name]


def test_few_networks_of_torchvision_need_a_probe():
    assert sum(TORCHVISION.values()) >= len(TORCHVISION) - 1


ODD = {
    **{name: (lambda make=make: make()) for name, make in odd.NETWORKS.items()},
    **{name: (lambda make=make: (make(), (torch.randn(2, 3, 14, 17),))) for name, make in local.PARTS.items()},
}


@pytest.mark.parametrize("name", ODD)
def test_the_layers_of_odd_networks_tell_nothing_wrong(name):
    torch.manual_seed(0)
    network, inputs = ODD[name]()
    flat = FlatModel.from_nn_Module(network.eval())
    if len(flat.inputs) > 1:
        assert not rows_by_layers(flat, inputs[0].ndim)
        return
    checked(flat, inputs[0])


class Formula(nn.Module):
    def __init__(self, formula) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x)


@pytest.mark.parametrize(
    "formula",
    [
        lambda x: x.transpose(0, 1).relu(),
        lambda x: x.mean(0),
        lambda x: x.flatten(0, 1).relu(),
        lambda x: x.softmax(0).relu(),
        lambda x: x / x.shape[0],
        lambda x: x + torch.arange(x.shape[0]).view(-1, 1, 1),
        lambda x: x[0].relu(),
        lambda x: x[:, 0] + x,
        lambda x: torch.cat([x, x]).relu(),
        lambda x: x.permute(1, 0, 2).reshape(x.shape[0], -1),
        lambda x: x.reshape(4, x.shape[0], -1).relu(),
        lambda x: x - x.mean(dim=(0, 1), keepdim=True),
        lambda x: x.sum(),
        lambda x: torch.nn.functional.layer_norm(x, x.shape),
        lambda x: x.chunk(2, 0)[0].relu(),
        lambda x: x @ x[0].T,
        lambda x: x.unsqueeze(0).relu(),
        lambda x: x.squeeze().relu(),
    ],
)
def test_what_moves_or_mixes_samples_has_no_rows_by_its_layers(formula):
    flat = FlatModel.from_nn_Module(Formula(formula))
    (output,) = flat.program.outputs
    assert output not in rows_by_layers(flat, 3) and not samples_stay_apart(flat, 3)


@pytest.mark.parametrize(
    "formula",
    [
        lambda x: x.transpose(1, 2).relu(),
        lambda x: x.mean((1, 2)),
        lambda x: x.flatten(1),
        lambda x: x.softmax(-1) * x.sum(-1, keepdim=True),
        lambda x: x.reshape(x.shape[0], 2, 2, -1).permute(0, 2, 1, 3),
        lambda x: x[:, 0] * x[:, :, 1:].mean(-1)[:, :1],
        lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
        lambda x: x @ x.transpose(-1, -2) / x.shape[-1] ** 0.5,
        lambda x: torch.nn.functional.layer_norm(x, x.shape[-1:]).unsqueeze(1),
        lambda x: torch.nn.functional.pad(x, (1, 1)) - 1,
        lambda x: x.view(x.size(0), -1).unflatten(1, (2, -1)),
    ],
)
def test_rows_are_followed_through_shapes(formula):
    flat = FlatModel.from_nn_Module(Formula(formula))
    (output,) = flat.program.outputs
    assert output in rows_by_layers(flat, 3)
    x = torch.rand(5, 4, 6)
    assert with_rows(flat, x, [output]) == {output} == rows_by_probe(flat, x, [output])


def test_a_weight_with_one_row_per_sample_is_no_row_of_a_sample():
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(2, 4))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.weight).relu()

    flat = FlatModel.from_nn_Module(Pair())
    assert not rows_by_layers(flat, 2)
