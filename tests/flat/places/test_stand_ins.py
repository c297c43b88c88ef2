"""Layers run on stand-ins, and keep their state."""

import pytest
import torch
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from netlens.flat.places._stand_ins import on_numbers, output_of, stand_in


class Anchored(nn.Module):
    """It adds the anchors of torchvision, which move what they hold to the device of the maps, and keep it there."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors = AnchorGenerator(((16,),), ((1.0,),))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.anchors(ImageList(x, [(8, 8)]), [x])[0].mean()


@pytest.mark.parametrize("package", ["tests", "netlens.adapters.detection"])
def test_a_layer_that_keeps_tensors_still_holds_their_numbers(package, monkeypatch):
    monkeypatch.setattr(Anchored, "__module__", package)
    layer, x = Anchored(), torch.randn(1, 3, 8, 8)
    expected = layer(x)
    output = output_of(layer, [stand_in(x)])
    assert output.is_meta and output.shape == x.shape
    assert torch.equal(layer(x), expected)
    on_numbers(layer, [stand_in(x.double())], torch.zeros)
    assert layer.anchors.cell_anchors[0].dtype == torch.float32
