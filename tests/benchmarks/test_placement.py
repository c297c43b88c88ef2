"""The place of a layer is right, and wrong where its positions or the layer itself are taken for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torchvision.models as tv
from torch import Tensor, nn

from benchmarks.placement import Placement, placement
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
WRONG: dict[str, Callable[[Tensor], Tensor]] = {
    "rows and columns exchanged": lambda maps: maps.transpose(2, 3),
    "upside down": lambda maps: maps.flip(2),
    "shifted by a class token": lambda maps: maps.flatten(2).roll(1, 2).view_as(maps),
    "shifted by a quarter of the picture, and cut off": lambda maps: (
        nn.functional.pad(maps, (maps.shape[3] // 4, -(maps.shape[3] // 4), 0, 0), mode="replicate")
        if maps.shape[3] >= 4
        else maps.flip(3)
    ),
    "in the order of windows": lambda maps: (
        maps.unflatten(3, (2, -1)).unflatten(2, (2, -1)).permute(0, 1, 2, 4, 3, 5).reshape_as(maps)
        if maps.shape[2] > 2
        else maps.transpose(2, 3)
    ),
}


class Spreads(nn.Module):
    """Tokens of which each takes most of its value from the mean over the picture."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.conv, self.share = nn.Conv2d(3, 4, 8, 8), share

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        return (maps + self.share * maps.mean((2, 3), keepdim=True)).tanh().mean((2, 3))


def flat_of(name: str) -> FlatModel:
    torch.manual_seed(0)
    return FlatModel.from_nn_Module(randomized(NETWORKS[name]()).double())


def laid_out(name: str, layout: Callable[[Tensor], Tensor]) -> Placement:
    """The placement of a network whose maps are laid out in another way."""
    flat = flat_of(name)

    def grid(network: FlatModel, key: str, activation: Tensor) -> Tensor:
        return layout(grid_of(flat, key, activation, torch.empty(SHAPE)))

    return placement(flat.knowing(replace(flat.adapter, grid=grid)), SHAPE, pictures=4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_place_is_right(name: str) -> None:
    place = placement(flat_of(name), SHAPE, pictures=4)
    assert place.is_right, place
    assert laid_out(name, lambda maps: maps) == place


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ["vit", "swin"])
def test_a_wrong_layout_is_found_out(name: str, wrong: str) -> None:
    assert not laid_out(name, WRONG[wrong]).is_right


def test_a_network_that_spreads_the_patch_keeps_its_place() -> None:
    """Grad-CAM can point nowhere here, because all positions change almost alike. The place can be told."""
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(Spreads(20.0).double())
    assert placement(flat, SHAPE, "add").is_right


def test_a_side_branch_is_no_place_to_look() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.side = nn.Conv2d(3, 4, 8, 8), nn.Conv2d(3, 4, 8, 8)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.main(x).tanh().mean((2, 3)), self.side(x).tanh().mean((2, 3))

    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(Branches().double())
    places = {layer: placement(flat, SHAPE, layer) for layer in ("main", "side")}
    assert places["main"].is_right and places["main"].carried == pytest.approx(1)
    assert not places["side"].is_right and places["side"].carried == 0
    assert min(places["side"].agreement) > 0.9


def test_a_layer_of_one_position_is_no_place() -> None:
    assert not placement(flat_of("resnet"), SHAPE, "avgpool", pictures=1).is_right


def test_a_refusal_is_not_hidden() -> None:
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Flatten(), nn.Linear(12288, 4)), adapter=Adapter())
    with pytest.raises(NotApplicable):
        placement(flat, SHAPE)


def test_changes_that_drown_in_rounding_are_no_answer() -> None:
    class Faint(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return (1e-7 * self.conv(x) + 1).mean((2, 3))

    with pytest.raises(NetLensError, match=r"does not change the output .* measurably at layer 'add'"):
        placement(FlatModel.from_nn_Module(Faint()), SHAPE, "add")
