"""A planted patch is found where it lies, and not found where the places of a layer are taken for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torchvision.models as tv
from torch import Tensor, nn

from benchmarks.planted import planted
from netlens.errors import NetLensError, NotApplicable
from netlens.evaluation import randomized
from netlens.flat import Adapter, FlatModel
from netlens.flat.grid import grid_of

SHAPE = (1, 3, 64, 64)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: tv.ResNet(tv.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5),
    "vit": lambda: tv.VisionTransformer(64, 8, 2, 2, 16, 32, num_classes=5),
    "swin": lambda: tv.SwinTransformer([4, 4], 12, [2, 2], [3, 6], [4, 4], num_classes=5),
}


def flat_of(name: str) -> FlatModel:
    torch.manual_seed(0)
    return FlatModel.from_nn_Module(randomized(NETWORKS[name]()).double())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_patch_is_found(name: str) -> None:
    result = planted(flat_of(name), SHAPE)
    assert result.on_patch and result.share > 0
    assert all(size > 1 for size in result.grid)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_wrong_layout_is_found_out(name: str) -> None:
    """The same network with its rows and columns exchanged: the patch lies elsewhere."""
    flat = flat_of(name)

    def transposed(network: FlatModel, key: str, activation: Tensor) -> Tensor:
        return grid_of(flat, key, activation, torch.empty(SHAPE)).transpose(2, 3)

    assert not planted(flat.knowing(replace(flat.adapter, grid=transposed)), SHAPE).on_patch


def test_a_network_that_spreads_the_patch_is_told_from_one_that_has_wrong_places() -> None:
    class Spreads(nn.Module):
        def __init__(self, share: float) -> None:
            super().__init__()
            self.conv, self.share = nn.Conv2d(3, 4, 8, 8), share

        def forward(self, x: Tensor) -> Tensor:
            maps = self.conv(x)
            return (maps + self.share * maps.mean((2, 3), keepdim=True)).tanh().mean((2, 3))

    for share, spread in ((0.1, False), (300.0, True)):
        torch.manual_seed(0)
        peak = planted(FlatModel.from_nn_Module(Spreads(share).double()), SHAPE, "add")
        assert peak.is_spread is spread
        assert peak.on_patch or spread


def test_a_layer_of_one_position_does_not_pass() -> None:
    assert not planted(flat_of("resnet"), SHAPE, "avgpool").on_patch


def test_parts_of_an_output_need_not_have_the_samples_first() -> None:
    """Detectors give the anchors of all images beside the scores of each, and clips give scores for each frame."""

    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 8, 8), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            scores = self.head(self.conv(x).tanh().mean((2, 3)))
            return scores, torch.cat([scores, 2 * scores])

    torch.manual_seed(0)
    assert planted(FlatModel.from_nn_Module(Parts().double()), SHAPE).on_patch


def test_a_change_whose_square_is_no_number_of_single_precision_has_a_direction() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return 1e-25 * self.conv(x).tanh().mean((2, 3))

    torch.manual_seed(0)
    assert planted(FlatModel.from_nn_Module(Small()), SHAPE).on_patch


def test_a_refusal_is_not_hidden() -> None:
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Flatten(), nn.Linear(12288, 4)), adapter=Adapter())
    with pytest.raises(NotApplicable):
        planted(flat, SHAPE)


def test_an_output_without_the_patch_is_an_error() -> None:
    class Deaf(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 0).mean((2, 3))

    with pytest.raises(NetLensError, match="does not change the output"):
        planted(FlatModel.from_nn_Module(Deaf()), SHAPE)
