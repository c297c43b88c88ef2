"""Layers by depth: those of the paper on VGG, and such as can keep the content everywhere."""

import pytest
import torch
from torch import nn
from torchvision.models import MobileNetV2, VisionTransformer, vgg19

from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import Record
from netlens.visualization.style import default_layers, stylize
from netlens.zoo import open_network


def looked_at(flat, side=64):
    look = torch.zeros(1, 3, side, side)
    style, content = default_layers(flat, look)
    maps = Record(flat, flat.record(look, layers=[*style, content]))
    return (
        style,
        content,
        {key: (side // maps.maps(key).shape[3], maps.maps(key).shape[1]) for key in (*style, content)},
    )


def test_of_vgg19_they_are_those_of_the_paper():
    style, content, shapes = looked_at(FlatModel.from_nn_Module(vgg19().features), 32)
    assert style == ("1", "6", "11", "20", "29")  # relu1_1, relu2_1, relu3_1, relu4_1, relu5_1
    assert content == "22"  # relu4_2
    assert [shapes[key][0] for key in style] == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("flat", [open_network(), FlatModel.from_nn_Module(MobileNetV2())], ids=["shapes", "mobilenet"])
def test_style_has_a_layer_for_each_scale_and_the_content_keeps_more_numbers_than_the_picture(flat):
    style, content, shapes = looked_at(flat)
    assert [shapes[key][0] for key in style] == [2, 4, 8, 16]
    stride, channels = shapes[content]
    assert channels >= 2 * 3 * stride**2


def test_a_transformer_gives_layers_spread_over_its_depth():
    flat = FlatModel.from_nn_Module(VisionTransformer(64, 16, 7, 2, 32, 64))
    style, content, _ = looked_at(flat)
    depths = [int(key.split("encoder_layer_")[1].split(".")[0]) for key in style]
    assert depths == [0, 2, 3, 4, 6] and content == style[2]


def test_a_transformer_looks_at_pictures_of_any_size():
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(VisionTransformer(32, 8, 3, 2, 16, 32).double())
    y, x = torch.meshgrid(torch.arange(40).double(), torch.arange(50).double(), indexing="ij")
    content, style = torch.stack([x / 50, y / 40, 1 - x / 50]), torch.stack([0.5 + 0.4 * torch.sin(x + y)] * 3)
    options = {
        "size": (40, 50),
        "scales": 1,
        "steps": 120,
        "transforms": "none",
        "tv_weight": 0,
        "content_weight": 0,
        "loss": "squared",
    }
    render = stylize(flat, content, style[:, :, :24], progress=False, **options)
    losses = render.provenance.options["losses"]["style"]
    assert render.images.shape == (1, 3, 40, 50)
    assert losses["end"] < losses["start"] / 10


def test_without_rectifiers_any_layer_with_maps_will_do():
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)))
    assert default_layers(flat, torch.zeros(1, 3, 20, 20)) == (("0", "1"), "1")


def test_without_maps_there_is_no_style():
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4), nn.ReLU()))
    with pytest.raises(NotApplicable, match="cannot measure a style"):
        default_layers(flat, torch.zeros(1, 3, 8, 8))
