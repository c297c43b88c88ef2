"""Where activations lie over the input: each place of a map is the place of the input that it comes from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

from netlens.errors import NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.flat.grid import followed_for, grid_of

PATCH = 4


class Patches(nn.Module):
    """Patches of an image as tokens (N, others + T, C), or with the tokens first; then a layer for each token."""

    def __init__(self, others: int = 0, first: bool = False, after: int = 0) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, 8, PATCH, PATCH)
        self.others = nn.Parameter(torch.randn(1, others, 8)) if others else None
        self.last = nn.Parameter(torch.randn(1, after, 8)) if after else None
        self.first = first
        self.norm, self.each = nn.LayerNorm(8), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.cut(x).flatten(2).transpose(1, 2)
        if self.others is not None:
            tokens = torch.cat([self.others.expand(x.shape[0], -1, -1), tokens], 1)
        if self.last is not None:
            tokens = torch.cat([tokens, self.last.expand(x.shape[0], -1, -1)], 1)
        return self.each(self.norm(tokens.transpose(0, 1) if self.first else tokens))


def by_hand(network: Patches, x: Tensor) -> Tensor:
    """(N, 6, h, w): the patches without other tokens."""
    maps: Tensor = network.each(network.norm(network.cut(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
    return maps


@pytest.mark.parametrize("size", [(16, 16), (12, 20), (4, 24)])
@pytest.mark.parametrize("options", [{}, {"others": 1}, {"others": 5}, {"others": 2, "after": 3}, {"first": True}])
@pytest.mark.parametrize("n", [1, 3])
def test_tokens_are_laid_out_as_the_patches_that_they_come_from(size, options, n):
    """Class tokens, registers, tokens behind the patches, images that are not square, and tokens before samples."""
    network = randomized(Patches(**options)).double()
    flat, x = FlatModel.from_nn_Module(network), torch.randn(n, 3, *size, dtype=torch.float64)
    for images in (x, None):  # without the input, the latest run tells its shape
        assert torch.allclose(grid_of(flat, "each", flat(x, until="each"), images), by_hand(network, x))


def test_windows_are_joined():
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cut = nn.Conv2d(3, 8, PATCH, PATCH)

        def forward(self, x: Tensor) -> Tensor:
            maps = torch.roll(self.cut(x), (-1, 1), (2, 3)).permute(0, 2, 3, 1)
            n, height, width, channels = maps.shape
            windows = maps.reshape(n, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
            return torch.relu(windows.reshape(-1, 4, channels))

    network = Windows()
    flat, x = FlatModel.from_nn_Module(network), torch.randn(2, 3, 16, 24)
    assert torch.equal(grid_of(flat, "relu", flat(x), x), network.cut(x).relu())


def test_merged_patches_lie_at_their_center():
    """Swin's merging: four neighbors become one token. Hiera's: the largest of a mask unit."""

    class Merged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cut, self.reduce = nn.Conv2d(3, 8, PATCH, PATCH), nn.Linear(32, 5)

        def forward(self, x: Tensor) -> Tensor:
            maps = self.cut(x).permute(0, 2, 3, 1)
            parts = [maps[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
            return self.reduce(torch.cat(parts, -1)).flatten(1, 2)

    network = Merged()
    flat, x = FlatModel.from_nn_Module(network), torch.randn(2, 3, 16, 24)
    expected = network(x).transpose(1, 2).unflatten(2, (2, 3))
    assert torch.equal(grid_of(flat, "flatten", flat(x), x), expected)
    joined = flat(x, until="cat")
    assert joined.shape == (2, 2, 3, 32)
    assert torch.equal(grid_of(flat, "cat", joined, x), joined.permute(0, 3, 1, 2))


def test_a_network_of_vectors_is_not_taken_for_one_of_images():
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 2)))
    assert followed_for(flat, None).shapes == ((1, 9),)
    with pytest.raises(NotApplicable, match=r"shape \(2, 6\), which have no layout over the input"):
        grid_of(flat, "1", torch.zeros(2, 6))


def test_maps_with_channels_last_and_maps_of_signals_and_volumes():
    for dims, conv in ((1, nn.Conv1d), (2, nn.Conv2d), (3, nn.Conv3d)):
        flat = FlatModel.from_nn_Module(nn.Sequential(conv(2, 4, 3), nn.ReLU()))
        x = torch.randn(2, 2, *range(6, 6 + dims))
        assert grid_of(flat, "1", flat(x), x).shape == (2, 4, *range(4, 4 + dims))

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x).permute(0, 2, 3, 1))

    flat, x = FlatModel.from_nn_Module(Last()), torch.randn(2, 2, 9, 9)
    assert torch.equal(grid_of(flat, "norm", flat(x), x), flat(x).permute(0, 3, 1, 2))


def test_an_opaque_part_is_laid_out_by_its_shape():
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.token = nn.Conv2d(3, 8, PATCH, PATCH), nn.Parameter(torch.randn(1, 2, 8))

        def forward(self, x: Tensor) -> Tensor:
            if float(x.sum()) > -1e9:  # depends on data, so nobody can unroll it
                x = x + 1
            return torch.cat([self.token.expand(x.shape[0], -1, -1), self.conv(x).flatten(2).transpose(1, 2)], 1)

    network = nn.Sequential(Cut(), nn.Linear(8, 5))
    flat, x = FlatModel.from_nn_Module(network), torch.randn(2, 3, 8, 16)
    assert list(flat.opaque) == ["0"]
    assert torch.equal(grid_of(flat, "1", flat(x), x), flat(x)[:, 2:].transpose(1, 2).unflatten(2, (2, 4)))


def test_what_has_no_layout_is_refused():
    class Mixed(nn.Module):
        """Attention without a residual branch: each token comes from all places."""

        def __init__(self) -> None:
            super().__init__()
            self.cut = nn.Conv2d(3, 8, PATCH, PATCH)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.cut(x).flatten(2).transpose(1, 2)
            return (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens

    flat, x = FlatModel.from_nn_Module(Mixed()), torch.randn(2, 3, 16, 16)
    key = list(flat.layers)[-1]
    with pytest.raises(NotApplicable, match=r"shape \(2, 16, 8\), which have no layout over the input"):
        grid_of(flat, key, flat(x), x)
    vector = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 8)))
    x = torch.randn(2, 3, 8, 8)
    with pytest.raises(NotApplicable, match="no layout over the input"):
        grid_of(vector, "2", vector(x), x)


@fx.wrap
def rows_of_windows(x: Tensor) -> Tensor:
    return x.view(x.shape[0], x.shape[1], -1)


def test_a_function_that_views_its_input_moves_places():
    class Viewed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cut = nn.Conv2d(3, 8, PATCH, PATCH)

        def forward(self, x: Tensor) -> Tensor:
            return rows_of_windows(self.cut(x)).transpose(1, 2).relu()

    network = Viewed()
    flat, x = FlatModel.from_nn_Module(network), torch.randn(2, 3, 16, 24)
    key = list(flat.layers)[-1]
    assert torch.equal(grid_of(flat, key, flat(x), x), network.cut(x).relu())


def test_a_fold_of_patches_has_unknown_places():
    """Its input are rows, and its output is a map, so no pool of coordinates fits."""

    class Folding(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)

        def forward(self, x):
            patches = nn.functional.unfold(self.first(x), 2, stride=2)
            return self.last(nn.functional.fold(patches.relu(), x.shape[2:], 2, stride=2).mean((2, 3)))

    x = torch.rand(1, 3, 16, 16)
    flat = FlatModel.from_nn_Module(Folding(), example=x)
    mean = next(key for key in flat.layers if "mean" in key)
    assert followed_for(flat, x).grid(mean) is None


def test_points_that_values_choose_have_no_place_and_a_warp_keeps_its_own():
    """Deformable attention samples maps where its queries say. The queries are no rows of the picture."""

    class Sampled(nn.Module):
        def __init__(self, sizes: tuple[int, int]) -> None:
            super().__init__()
            self.conv, self.where, self.sizes = nn.Conv2d(3, 8, PATCH, PATCH), nn.Linear(8, 2), sizes

        def forward(self, x: Tensor) -> Tensor:
            maps = self.conv(x)
            points = self.where(nn.functional.interpolate(maps, self.sizes).permute(0, 2, 3, 1)).tanh()
            return nn.functional.grid_sample(maps, points, align_corners=False).relu()

    for sizes, grid in (((10, 4), None), ((4, 6), (4, 6))):
        flat, x = FlatModel.from_nn_Module(Sampled(sizes)), torch.randn(2, 3, 16, 24)
        layout = followed_for(flat, x).grid("relu")
        assert (None if layout is None else layout.sizes) == grid


def test_means_of_elements_that_lie_far_apart_form_no_grid():
    """The backbone of Hiera in transformers pools tokens in raster order as if they were in the order of mask units."""

    class Pooled(nn.Module):
        def __init__(self, near: bool) -> None:
            super().__init__()
            self.cut, self.each, self.near = nn.Conv2d(3, 8, PATCH, PATCH), nn.Linear(8, 6), near

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.cut(x).flatten(2).transpose(1, 2)
            if self.near:
                return self.each(tokens.unflatten(1, (4, 2, 4)).amax(2).flatten(1, 2))
            return self.each(tokens.unflatten(1, (4, 8)).amax(1))

    x = torch.randn(2, 3, 32, 16)
    for near, sizes in ((True, (4, 4)), (False, None)):
        layout = followed_for(FlatModel.from_nn_Module(Pooled(near)), x).grid("each")
        assert (None if layout is None else layout.sizes) == sizes


@pytest.mark.parametrize("on_the_left", [True, False])
def test_the_product_with_a_vector_keeps_the_positions(on_the_left):
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.weights = nn.Conv2d(3, 8, PATCH, PATCH), nn.Parameter(torch.randn(8))

        def forward(self, x: Tensor) -> Tensor:
            maps = self.conv(x)
            if on_the_left:
                return (self.weights @ maps.flatten(2)).relu()
            return (maps.permute(0, 2, 3, 1) @ self.weights).relu()

    network = Weighted()
    flat, x = FlatModel.from_nn_Module(network), torch.randn(2, 3, 16, 24)
    expected = torch.einsum("nchw,c->nhw", network.conv(x), network.weights).relu()[:, None]
    assert torch.allclose(grid_of(flat, "relu", flat(x), x), expected, atol=1e-5)
