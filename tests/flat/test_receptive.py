"""Receptive fields: what the gradient of one value reaches is what the rule says, and never more."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from netlens.flat import FlatModel
from netlens.flat.receptive import Field, receptive_fields
from netlens.weights import build


def reached(flat: FlatModel, key: str, size: int) -> tuple[int, int]:
    """Height and width of the part of the input that moves the value in the middle of layer `key`."""
    x = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    maps = flat(x, until=key)
    (gradient,) = torch.autograd.grad(maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum(), x)
    rows, columns = (gradient[0].abs().sum((0, d)).nonzero().flatten() for d in (2, 1))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def averaging(network: nn.Module) -> FlatModel:
    """All weights positive and no maxima, so that nothing cancels and the whole field is reached."""
    with torch.no_grad():
        for path, module in list(network.named_modules()):
            if isinstance(module, nn.Conv2d):
                module.weight.fill_(1 / module.weight[0].numel())
            if isinstance(module, nn.MaxPool2d):
                mean = nn.AvgPool2d(module.kernel_size, module.stride, module.padding)
                network.set_submodule(path, mean)
    return FlatModel.from_nn_Module(network.double())


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("resnet18", ["conv1", "layer1.1.add", "layer2.0.downsample.0", "layer2.1.relu_1", "layer3.0.conv2"]),
        ("mobilenet_v2", ["features.0.2", "features.2.conv.1.0", "features.4.conv.3"]),
        ("densenet121", ["features.conv0", "features.denseblock1.denselayer3.conv2", "features.transition1.conv"]),
    ],
)
def test_convolutions_reach_exactly_their_field(name: str, keys: list[str]) -> None:
    flat = averaging(build(name))
    fields = receptive_fields(flat.program)
    for key in keys:
        field = fields[key]
        assert field is not None and reached(flat, key, 192) == field.size


@pytest.mark.parametrize("name", ["googlenet", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_with_max_pooling_never_more_than_the_field(name: str) -> None:
    flat = FlatModel.from_nn_Module(build(name).double())
    checked = 0
    for key, field in receptive_fields(flat.program).items():
        if field is not None and field.size is not None and max(field.size) < 60 and key not in flat.inputs:
            if not flat.layers[key]._parameters:  # the others have the field of what they read
                continue
            height, width = reached(flat, key, 96)
            assert height <= field.size[0] and width <= field.size[1], key
            checked += 1
    assert checked >= 4


def test_a_hand_worked_stack() -> None:
    stack = nn.Sequential(
        nn.Conv2d(3, 4, (3, 5), stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, dilation=2), nn.Flatten()
    )
    fields = receptive_fields(FlatModel.from_nn_Module(stack).program)
    assert fields["1"] == Field((3, 5), (2, 2))
    assert fields["2"] == Field((5, 7), (4, 4))
    assert fields["3"] == Field((21, 23), (4, 4))
    assert str(fields["4"]) == "all"


def test_a_padding_layer_shifts_the_field_like_the_padding_of_a_convolution() -> None:
    inside = nn.Sequential(nn.Conv2d(3, 4, 5, 2, padding=2), nn.Conv2d(4, 4, 3, padding=1))
    before = nn.Sequential(nn.ZeroPad2d(2), nn.Conv2d(3, 4, 5, 2), nn.ReflectionPad2d(1), nn.Conv2d(4, 4, 3))
    fields = [
        list(receptive_fields(FlatModel.from_nn_Module(network).program).values())[-1] for network in (inside, before)
    ]
    assert [(f.size, f.stride, f.before, f.after) for f in fields] == [((9, 9), (2, 2), (4, 4), (4, 4))] * 2


def test_attention_sees_all_and_a_gate_does_too() -> None:
    vit = receptive_fields(FlatModel.from_nn_Module(build("vit_b_32")).program)
    assert vit["conv_proj"] == Field((32, 32), (32, 32)) and str(vit["encoder.ln"]) == "all"
    gated = receptive_fields(FlatModel.from_nn_Module(build("efficientnet_b0")).program)
    assert str(gated["features.1.0.block.0.0"]) != "all" and str(gated["features.1.0.block.1.mul"]) == "all"
