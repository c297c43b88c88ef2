"""Style transfer in tiles: losses, gradients and pictures are those of the whole picture."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from netlens.errors import NetLensError, NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.objectives import Record
from netlens.visualization import FromImage, OptVis
from netlens.visualization._judge import Judge
from netlens.visualization._tiled_judge import TiledJudge
from netlens.visualization.params import Fourier
from netlens.visualization.style import STATISTICS, StyleTransfer
from netlens.visualization.style._reading import PictureReader
from netlens.visualization.style.task import Task
from netlens.visualization.transforms import Chain, Jitter
from netlens.zoo import open_network

SIZES = [(80, 96), (93, 71)]
TILE = 64


@pytest.fixture(scope="module")
def flat():
    return open_network("shapes").double()


def picture(height, width, seed):
    """Smooth noise, some of it at 0 and 1."""
    noise = torch.randn(1, 3, height // 4 + 1, width // 4 + 1, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(noise.double() / 3 + 0.5, (height, width), mode="bilinear").clamp(0, 1)[0]


def layers_of(flat):
    rectifiers = [key for key in flat.layers if "activation" in key]
    return tuple(rectifiers[:3])


def value_and_gradient(flat, objective, image, tile, transforms=None):
    transforms = Chain() if transforms is None else transforms
    extent = image.shape[2], image.shape[3]
    judge = Judge.of(flat, objective, transforms, extent)
    judge = judge if tile is None else TiledJudge.of(flat, objective, transforms, extent, tile)
    point = image.clone().requires_grad_()
    values, _ = judge(point, [torch.Generator().manual_seed(1)])
    return values.detach(), *torch.autograd.grad(values.sum() * 3, point)


def stage(flat, size, tile, regions=None, **options):
    layers = layers_of(flat)
    named = {"style_layers": layers, "content_layers": {layers[1]: 1, layers[2]: 2}} | options
    transfer = StyleTransfer(size=None, scales=1, tile=tile, **named)
    styles = [picture(83, 120, 2), picture(70, 66, 3)]
    return Task.of(transfer, flat, picture(*size, 1), styles, regions).stage(1.0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("statistic", STATISTICS)
def test_loss_and_gradient_are_those_of_the_whole(flat, statistic, size):
    image = picture(*size, 4)[None]
    whole, tiled = (stage(flat, size, tile, statistic=statistic) for tile in (None, TILE))
    value, gradient = value_and_gradient(flat, whole.objective, image, None)
    in_tiles, of_tiles = value_and_gradient(flat, tiled.objective, image, TILE)
    assert_close(in_tiles, value, rtol=1e-9, atol=0)
    assert (of_tiles - gradient).norm() <= 1e-9 * gradient.norm()
    for name in ("content", "style", "total_variation"):
        assert tiled.value(name, image) == pytest.approx(whole.value(name, image), rel=1e-9)


def test_tiles_are_exact_at_512_pixels_in_single_precision():
    flat, image = open_network("shapes"), picture(512, 512, 4)[None].float()
    parts = []
    for tile in (None, 224):
        layers = layers_of(flat)
        transfer = StyleTransfer(size=None, scales=1, tile=tile, style_layers=layers, content_layers=layers[1])
        content, style = picture(512, 512, 1).float(), picture(300, 420, 2).float()
        objective = Task.of(transfer, flat, content, style, None).stage(1.0).objective
        parts.append(value_and_gradient(flat, objective, image, tile))
    (value, gradient), (in_tiles, of_tiles) = parts
    assert_close(in_tiles, value, rtol=1e-5, atol=0)
    assert (of_tiles - gradient).norm() <= 1e-5 * gradient.norm()


class Same(nn.Module):
    """A convolution with a stride of 2 that pads by the size of its input, so that it gives half of it, rounded up."""

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__()
        self.kernel, self.conv = kernel, nn.Conv2d(channels, out, kernel, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads = []
        for side in reversed(x.shape[2:]):
            pad = max((-(-side // 2) - 1) * 2 + self.kernel - side, 0)
            pads += [pad // 2, pad - pad // 2]
        return self.conv(nn.functional.pad(x, pads)).relu()


@pytest.mark.parametrize("size", [(128, 128), (131, 126), (105, 129)])
def test_padding_that_depends_on_the_size_is_that_of_the_whole(size):
    torch.manual_seed(0)
    network = nn.Sequential(Same(3, 6, 3), Same(6, 6, 5), Same(6, 6, 3)).double()
    flat = FlatModel.from_nn_Module(network, example=torch.randn(1, 3, 64, 64).double())
    layers = [key for key in flat.layers if "relu" in key]
    image, parts = picture(*size, 4)[None], []
    for tile in (None, TILE):
        options = StyleTransfer(size=None, scales=1, tile=tile, style_layers=layers, content_layers=layers[-1])
        objective = Task.of(options, flat, picture(*size, 1), picture(121, 99, 2), None).stage(1.0).objective
        parts.append(value_and_gradient(flat, objective, image, tile))
    (value, gradient), (in_tiles, of_tiles) = parts
    assert_close(in_tiles, value, rtol=1e-9, atol=0)
    assert (of_tiles - gradient).norm() <= 1e-9 * gradient.norm()


def test_strides_that_differ_along_the_sides_are_those_of_the_whole():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3, stride=(2, 3)), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU()).double()
    flat = FlatModel.from_nn_Module(network, example=torch.randn(1, 3, 64, 64).double())
    layers = [key for key, layer in flat.layers.items() if isinstance(layer, nn.ReLU)]
    image, parts = picture(128, 110, 4)[None], []
    for tile in (None, TILE):
        options = StyleTransfer(size=None, scales=1, tile=tile, style_layers=layers, content_layers=layers[-1])
        objective = Task.of(options, flat, picture(128, 110, 1), picture(121, 99, 2), None).stage(1.0).objective
        parts.append(value_and_gradient(flat, objective, image, tile))
    (value, gradient), (in_tiles, of_tiles) = parts
    assert_close(in_tiles, value, rtol=1e-9, atol=0)
    assert (of_tiles - gradient).norm() <= 1e-9 * gradient.norm()


@pytest.mark.parametrize("statistic", STATISTICS)
def test_regions_are_those_of_the_whole(flat, statistic):
    size = SIZES[0]
    image = picture(*size, 4)[None]
    masks = [(torch.rand(20, 30, generator=torch.Generator().manual_seed(i)) > 0.4).double() for i in range(2)]
    regions = [(masks[0], masks[1]), (masks[1], None)]
    whole, tiled = (stage(flat, size, tile, regions, statistic=statistic) for tile in (None, TILE))
    value, gradient = value_and_gradient(flat, whole.objective, image, None)
    in_tiles, of_tiles = value_and_gradient(flat, tiled.objective, image, TILE)
    assert_close(in_tiles, value, rtol=1e-9, atol=0)
    assert (of_tiles - gradient).norm() <= 1e-9 * gradient.norm()


def test_a_margin_that_is_too_narrow_changes_the_gradient(flat, monkeypatch):
    from netlens.visualization import _mosaic

    image = picture(*SIZES[0], 4)[None]
    tiled = stage(flat, SIZES[0], TILE)
    _, gradient = value_and_gradient(flat, tiled.objective, image, TILE)
    exact = _mosaic.spans
    monkeypatch.setattr(_mosaic, "spans", lambda length, tile, margin, stride: exact(length, tile, 0, stride))
    _, without = value_and_gradient(flat, tiled.objective, image, TILE)
    assert (without - gradient).norm() > 1e-3 * gradient.norm()


def test_a_constant_channel_has_no_slope(flat):
    layers = layers_of(flat)
    image = torch.full((1, 3, 80, 80), 0.3, dtype=torch.float64)
    tiled = stage(flat, (80, 80), TILE, statistic="mean_std", style_layers=layers[:1])
    _, gradient = value_and_gradient(flat, tiled.losses["style"], image, TILE)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_picture_is_that_of_the_whole(flat, optimizer):
    content, style = picture(80, 70, 1), picture(66, 90, 2)
    options = {"size": None, "scales": 2, "steps": 6, "style_layers": layers_of(flat), "optimizer": optimizer}
    whole, tiled = (
        StyleTransfer(tile=tile, content_layers=layers_of(flat)[1], **options)(flat, content, style, progress=False)
        for tile in (None, TILE)
    )
    assert_close(tiled.images, whole.images, rtol=0, atol=1e-5)
    assert_close(tiled.history, whole.history, rtol=1e-7, atol=0)


def test_disturbed_pictures_and_batches_are_those_of_the_whole(flat):
    tiled = stage(flat, SIZES[0], TILE)
    images = torch.stack([picture(*SIZES[0], seed) for seed in (4, 5)])
    pictures = []
    for tile in (None, TILE):
        vis = OptVis(flat, -tiled.objective, Jitter(6), tile=tile)
        pictures.append(vis.render(FromImage(images, Fourier), steps=3, progress=False).images)
    assert_close(pictures[1], pictures[0], rtol=0, atol=1e-5)


def test_layers_that_see_the_whole_picture_are_refused(flat):
    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
            self.gate = nn.Conv2d(4, 4, 1)
            self.out = nn.ReLU()

        def forward(self, x):
            x = self.act(self.conv(x))
            return self.out(x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid())

    squeezed = FlatModel.from_nn_Module(randomized(Squeezed()).double())
    transfer = StyleTransfer(size=None, scales=1, steps=1, tile=TILE, style_layers="out", content_layers="act")
    with pytest.raises(NotApplicable, match=r"'out' of squeezed sees the whole picture.*tile=None"):
        transfer(squeezed, picture(80, 80, 1), picture(80, 80, 2), progress=False)


def test_a_tile_smaller_than_its_margins_says_which_would_do(flat):
    layers = [key for key in flat.layers if "activation" in key]
    transfer = StyleTransfer(size=None, scales=1, steps=1, tile=32, style_layers=layers[-1], content_layers=layers[0])
    with pytest.raises(NetLensError, match="a tile of 32 pixels is too small"):
        transfer(flat, picture(160, 160, 1), picture(160, 160, 2), progress=False)


def test_a_large_content_is_kept_as_a_picture_and_not_as_maps(flat):
    layers, x = layers_of(flat)[:2], picture(80, 96, 1)[None]
    for objective in PictureReader(flat, TILE).contents(layers, x):
        tensors = [value for value in vars(objective).values() if isinstance(value, torch.Tensor)]
        assert sum(tensor.numel() for tensor in tensors if tensor is not x) == 1
        with torch.no_grad():
            values = objective(Record(flat, flat.record(x, layers=objective.layers)))
        assert_close(values, torch.zeros_like(values), rtol=0, atol=1e-20)
