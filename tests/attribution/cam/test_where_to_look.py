"""The default layer of class activation maps: where all that the objective sees of positions goes through."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.planted import planted
from netlens.attribution import GradCAM, cam_layer
from netlens.errors import NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.flat.grid import grid_of
from netlens.objectives import channel, region

SHAPE = (1, 3, 32, 32)


def encoder() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())


class Pair(nn.Module):
    """The similarity to a reference."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoder()
        self.register_buffer("reference", torch.rand(1, 3, 32, 32))

    def forward(self, x: Tensor) -> Tensor:
        return F.cosine_similarity(self.encoder(x).mean((2, 3)), self.encoder(self.reference).mean((2, 3)))[:, None]


class Segments(nn.Module):
    """A small U-shaped network that ends in a sigmoid of resized maps."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.up, self.scores = nn.ConvTranspose2d(8, 8, 2, 2), nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = torch.relu(self.down(x))
        wide = torch.relu(self.up(self.middle(low)))
        return F.interpolate(
            self.scores(torch.cat([wide, F.interpolate(low, scale_factor=2.0)], 1)), (48, 48)
        ).sigmoid()


class Gated(nn.Module):
    """Squeeze-and-excitation behind the last convolution, and weight-standardized convolutions as function calls."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 3, 3, 3))
        self.squeeze, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / 3
        maps = torch.relu(F.conv2d(x, weight, padding=1))
        gated = maps * self.squeeze(maps.mean((2, 3), keepdim=True)).sigmoid()
        return self.head(gated.mean((2, 3)))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Patches of 4; the classifier reads the class tokens, or the mean over the patches, or both."""

    def __init__(self, reads: str, others: int = 1) -> None:
        super().__init__()
        self.cut, self.others = nn.Conv2d(3, 16, 4, 4), nn.Parameter(torch.randn(1, others, 16))
        self.blocks, self.norm = nn.Sequential(Block(16), Block(16)), nn.LayerNorm(16)
        self.head, self.reads = nn.Linear(32 if reads == "both" else 16, 4), reads

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.cut(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.others.expand(x.shape[0], -1, -1), tokens], 1)
        tokens = self.norm(self.blocks(tokens))
        many = self.others.shape[1]
        if self.reads == "class":
            return self.head(tokens[:, 0])
        if self.reads == "distilled":
            return self.head(tokens[:, 0]) + self.head(tokens[:, 1])
        mean = tokens[:, many:].mean(1)
        return self.head(torch.cat([tokens[:, 0], mean], 1) if self.reads == "both" else mean)


class Mixer(nn.Module):
    """Linear layers across the tokens, and the mean of all."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.across, self.head = nn.Conv2d(3, 16, 4, 4), nn.Linear(64, 64), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.cut(x).flatten(2).transpose(1, 2)
        tokens = tokens + 0.1 * self.across(tokens.transpose(1, 2)).transpose(1, 2)
        return self.head(tokens.mean(1))


class Auxiliary(nn.Module):
    """A second output from earlier maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.head, self.aux = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        stem = torch.relu(self.stem(x))
        return self.head(torch.relu(self.body(stem)).mean((2, 3))), self.aux(stem.mean((2, 3)))


class Masked(nn.Module):
    """A mask of the size of the image, as detectors make it: its numbers do not come from the image."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = encoder(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones((x.shape[0], x.shape[2], x.shape[3]), device=x.device)
        maps = self.encoder(x)
        share = F.interpolate(mask[:, None], maps.shape[2:]).to(maps.dtype)
        return self.head((maps * share).sum((2, 3)) / share.sum((2, 3)))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "siamese": (Pair, "encoder.3"),
    "segmentation": (Segments, "cat"),
    "gated": (Gated, "mul"),
    "class token": (lambda: Transformer("class"), "blocks.1.norm1"),
    "registers": (lambda: Transformer("class", 5), "blocks.1.norm1"),
    "distilled": (lambda: Transformer("distilled", 2), "blocks.1.norm1"),
    "mean of patches": (lambda: Transformer("mean"), "norm"),
    "class token and mean": (lambda: Transformer("both"), "norm"),
    "mixer": (Mixer, "add"),
    "auxiliary head": (Auxiliary, "relu_1"),
    "mask of sizes": (Masked, "mul"),
}


def flat_of(name: str) -> FlatModel:
    torch.manual_seed(0)
    return FlatModel.from_nn_Module(randomized(NETWORKS[name][0]()).double())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_layer_is_the_last_one_with_places_that_all_paths_pass(name):
    assert cam_layer(flat_of(name), torch.empty(SHAPE)) == NETWORKS[name][1]


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "auxiliary head"])
def test_a_planted_patch_is_found_there(name):
    assert planted(flat_of(name), SHAPE).on_patch


def test_an_objective_that_reads_an_earlier_layer_is_explained_by_a_still_earlier_one():
    flat, x = flat_of("auxiliary head"), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    explained = GradCAM()(flat, x, channel("body", 3))
    assert explained.provenance.layer == "relu"
    by_name = GradCAM("relu")(flat, x, channel("body", 3))
    assert torch.equal(explained.values, by_name.values)


def test_small_inputs_leave_places_in_an_earlier_layer():
    """Maps of one position are no maps: on a smaller input, the layer before is the last with places."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU())
    flat = FlatModel.from_nn_Module(nn.Sequential(*network, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)))
    assert cam_layer(flat, torch.empty(1, 3, 16, 16)) == "3"
    assert cam_layer(flat, torch.empty(1, 3, 4, 4)) == "1"


def test_two_branches_are_refused_with_the_layers_to_choose_from():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 5), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cat([self.a(x).mean((2, 3)), self.b(x).mean((2, 3))], 1))

    with pytest.raises(NotApplicable, match=r"on all paths .* the last is 'b'.*layer="):
        cam_layer(FlatModel.from_nn_Module(Two()), torch.empty(SHAPE))


def test_an_opaque_part_is_named():
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).mean((2, 3)) if float(x.sum()) > -1e9 else x.mean((2, 3))

    flat = FlatModel.from_nn_Module(nn.Sequential(Hidden(), nn.Linear(4, 2)))
    with pytest.raises(NotApplicable, match=r"1 of 2 layers is inside '0', which .*nobody can look inside.*layer="):
        cam_layer(flat, torch.empty(SHAPE))


class Frames(nn.Module):
    """Clips (N, T, C, H, W): one convolution for all frames, and the mean over positions and time."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = encoder(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.encoder(x.flatten(0, 1))
        return self.head(maps.mean((2, 3)).view(x.shape[0], x.shape[1], -1).mean(1))


class ChannelsLast(nn.Module):
    """Images (N, H, W, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = encoder(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x.permute(0, 3, 1, 2)).mean((2, 3)))


class Entries(nn.Module):
    """Sequences (N, T, D): one linear layer for all times."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.head = nn.Sequential(nn.Linear(3, 8), nn.ReLU()), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.each(x).mean(1))


@pytest.mark.parametrize(
    ("make", "shape", "dims", "layer", "grid"),
    [
        (Frames, (1, 8, 3, 16, 24), (1, 3, 4), "encoder.3", (8, 8, 12)),
        (ChannelsLast, (1, 16, 24, 3), (1, 2), "encoder.3", (8, 12)),
        (Entries, (1, 16, 3), (1,), "each.1", (16,)),
    ],
)
def test_the_sides_of_the_map_are_those_of_the_layout_of_the_input(make, shape, dims, layer, grid):
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(randomized(make()).double())
    location = planted(flat, shape, dims=dims)
    assert (location.layer, location.grid, location.on_patch) == (layer, grid, True)


def test_frames_of_a_loop_lie_in_space_and_no_layer_of_one_frame_is_chosen_for_all():
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.cell, self.head = encoder(), nn.GRUCell(8, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(x.shape[0], 8)
            for t in range(x.shape[1]):
                h = self.cell(self.encoder(x[:, t]).mean((2, 3)), h)
            return self.head(h)

    x = torch.randn(2, 3, 3, 16, 24)
    flat = FlatModel.from_nn_Module(Loop(), example=x)
    activation = flat(x, until="encoder.3_1")
    assert torch.equal(grid_of(flat, "encoder.3_1", activation, x), activation[:, :, None])
    with pytest.raises(NotApplicable, match=r"on all paths .* the last is 'encoder.3_2'.*layer="):
        cam_layer(flat, x)


@pytest.mark.parametrize("where", [(0, 0, 10, 10), torch.ones(32, 32)], ids=["box", "mask"])
def test_a_region_reads_the_size_of_the_input_only_which_is_no_second_way_to_look(where):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    flat = FlatModel.from_nn_Module(network)
    cam = GradCAM()(flat, torch.rand(2, 3, 32, 32), region(0, where))
    assert cam.provenance.layer == "1"
