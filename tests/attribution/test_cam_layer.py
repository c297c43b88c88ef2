"""The layer that class activation maps read when nobody names one: the last maps of the network."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from netlens.attribution import GradCAM, cam_layer
from netlens.errors import LayerNotFound, NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import logit

# the layer, and its maps for an image of 224
LAST_MAPS = {
    "alexnet": ("features.11", (256, 13)),
    "vgg11": ("features.19", (512, 14)),
    "vgg11_bn": ("features.27", (512, 14)),
    "mobilenet_v2": ("features.18.2", (1280, 7)),
    "mobilenet_v3_small": ("features.12.2", (576, 7)),
    "efficientnet_b0": ("features.8.2", (1280, 7)),
    "squeezenet1_1": ("classifier.2", (1000, 13)),
    "shufflenet_v2_x0_5": ("conv5.2", (1024, 7)),
    "mnasnet0_5": ("layers.16", (1280, 7)),
    "regnet_y_400mf": ("trunk_output.block4.block4-5.activation", (440, 7)),
    "resnet18": ("layer4.1.relu_1", (512, 7)),
    "densenet121": ("relu", (1024, 7)),
}


@pytest.mark.parametrize("name", LAST_MAPS)
def test_torchvisions_networks(name):
    key, (channels, size) = LAST_MAPS[name]
    # shapes need no numbers; but RegNet computes its own with tensors
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        flat = FlatModel.from_nn_Module(torchvision.models.get_model(name))
        maps = flat(torch.empty(1, 3, 224, 224), until=cam_layer(flat))
    assert cam_layer(flat) == key
    assert maps.shape == (1, channels, size, size)


def test_a_gate_is_not_the_last_convolution():
    """Squeeze-and-excitation convolves pooled features after the last maps are made."""

    class Gated(nn.Module):
        def __init__(self, adaptive: bool) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.pool = nn.AdaptiveAvgPool2d(1) if adaptive else None
            self.squeeze = nn.Conv2d(4, 2, 1)
            self.excite = nn.Conv2d(2, 4, 1)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.conv(x))
            pooled = x.mean((2, 3), keepdim=True) if self.pool is None else self.pool(x)
            x = torch.relu(x * self.excite(torch.relu(self.squeeze(pooled))).sigmoid())
            return self.head(x.mean([-1, -2]))

    for adaptive in (True, False):
        flat = FlatModel.from_nn_Module(Gated(adaptive))
        assert cam_layer(flat) == "relu_1"
        assert flat(torch.randn(1, 3, 9, 9), until="relu_1").shape == (1, 4, 7, 7)


def test_an_auxiliary_head_is_not_the_network():
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.main = nn.Conv2d(4, 5, 1)
            self.aux = nn.Conv2d(4, 5, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            x = self.conv(x)
            return {"out": self.main(x), "aux": self.aux(x)}

    # the maps that the main head gives are the prediction itself; what both heads read is no concern of the other one
    assert cam_layer(FlatModel.from_nn_Module(TwoHeads())) == "conv"


def test_without_convolutions_there_is_no_such_layer(cases):
    case = cases["vectors"]
    with pytest.raises(NotApplicable, match=r"no layer .* has activations with positions .*name one with layer="):
        GradCAM()(case.flat, case.x, logit(0))
    with pytest.raises(NotApplicable, match=r"layer '1' .* choose a layer whose activations are maps \(N, C, h, w\)"):
        GradCAM("1")(case.flat, case.x, logit(0))


def test_a_wrong_layer_names_the_closest(cases):
    case = cases["resnet"]
    with pytest.raises(LayerNotFound, match=r"no layer 'layer5'. Closest: 'layer"):
        GradCAM(["layer2", "layer5"])(case.flat, case.x, logit(0))


def test_a_glob_names_several_layers(cases):
    case = cases["resnet"]
    keys = case.flat.find("layer3.*.relu*")
    assert len(keys) > 1
    by_glob = GradCAM("layer3.*.relu*")(case.flat, case.x, logit(0))
    assert torch.equal(by_glob.values, GradCAM(keys)(case.flat, case.x, logit(0)).values)
