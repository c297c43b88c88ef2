"""Starting at a picture: round trips, colors, what may be given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.optim import Adam
from torch.testing import assert_close

from netlens.errors import NetLensError
from netlens.images import load
from netlens.visualization import CPPN, Alpha, Fourier, FromImage, Maco, Pixel, Pyramid, on_backgrounds, over
from netlens.visualization.params import (
    Invertible,
    resampled,
)
from netlens.visualization.params._invertible import (
    Startable,
)
from netlens.visualization.params.color import MIX, from_image, mixed, to_image, unmixed

BASES: list[Startable | type[Startable]] = [
    Pixel,
    Fourier,
    Pyramid,
    Maco,
    CPPN,
    Fourier(decorrelate=False),
    Pyramid(levels=2),
]
SIZES = [(16, 16), (15, 21), (22, 13), (1, 9), (8, 1), (2, 3)]


def eight_bits(*shape: int) -> Tensor:
    """Noise of all gray levels, of which a third is black and a third white."""
    levels = torch.randint(-255, 511, shape, generator=torch.Generator().manual_seed(1)).clamp(0, 255)
    return levels.to(torch.uint8)


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * (a - b).detach().square().mean().log10())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("base", BASES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eight_bits_come_back_to_the_gray_level(
    base: Startable | type[Startable], channels: int, size: tuple[int, int], dtype: torch.dtype
) -> None:
    picture = eight_bits(2, channels, *size)
    param = FromImage(picture, base)
    parameters = param.start(dtype=dtype)
    image = param.image(parameters)
    assert (param.extent, param.batch, param.channels) == (size, 2, channels)
    assert torch.equal((image * 255).round().to(torch.uint8), picture)
    assert psnr(image, picture / 255) > 50
    assert all(p.is_leaf and p.requires_grad and p.dtype == dtype for p in parameters)
    gradients = torch.autograd.grad(image.square().sum(), parameters)
    # a network that adds nothing yet has its last layer alone to begin with
    first = gradients[-2:] if base is CPPN else gradients
    assert all(g.isfinite().all() for g in gradients) and all(g.any() for g in first)


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("base", BASES, ids=str)
def test_black_and_white_come_back(base: Startable | type[Startable], level: int) -> None:
    picture = torch.full((1, 3, 12, 15), level, dtype=torch.uint8)
    param = FromImage(picture, base)
    assert psnr(param.image(param.start()), picture / 255) > 50


@pytest.mark.parametrize("base", [Pixel, Fourier, Pyramid])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_black_and_white_move_nearly_as_far_as_gray(base: type[Invertible], level: float) -> None:
    # were all weights equal, all waves but one would have no gradient but rounding, which Adam makes into steps
    weights = 0.5 + torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def moved(start: float) -> float:
        param = FromImage(torch.full((3, 24, 24), start, dtype=torch.float64), base)
        parameters = param.start(dtype=torch.float64)
        optimizer = Adam(parameters, lr=0.05)
        for _ in range(40):
            optimizer.zero_grad()
            ((param.image(parameters) * weights).mean() * (1 if level else -1)).backward()
            optimizer.step()
        return float((param.image(parameters).detach() - start).abs().mean())

    assert moved(level) > 0.3 * moved(0.5) > 0
    # of a sigmoid, which noise starts from, hardly anything arrives
    near = torch.tensor(1 - 1 / 512, dtype=torch.float64)
    assert float(near * (1 - near)) < 0.1 * float((near * (1 - near)).sqrt() / 2)


@pytest.mark.parametrize("base", BASES, ids=str)
def test_what_is_neither_black_nor_white_comes_back_exactly(base: Startable | type[Startable]) -> None:
    picture = torch.rand(2, 3, 15, 20, generator=torch.Generator(), dtype=torch.float64) * 0.98 + 0.01
    param = FromImage(picture, base)
    assert_close(param.image(param.start(dtype=torch.float64)), picture, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("base", [Pixel, Fourier, Pyramid])
def test_values_are_encoded_exactly(base: type[Invertible], size: tuple[int, int]) -> None:
    param = base(size, batch=2)
    values = torch.randn(2, 3, *size, generator=torch.Generator(), dtype=torch.float64) * 3
    assert_close(param.values(param.encoded(values)), values, rtol=0, atol=1e-11)
    # and what real pictures have no part in is the only thing lost of the parameters
    parameters = param.start(dtype=torch.float64)
    again = param.encoded(param.values(parameters))
    assert_close(param.values(again), param.values(parameters), rtol=0, atol=1e-12)


def test_colors_are_the_directions_of_photographs() -> None:
    wanted = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]], dtype=torch.float64) / 0.46195
    assert_close(MIX, wanted, rtol=1e-4, atol=0)
    red, green, blue = mixed(torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).view(1, 3, 1, 1)).flatten()
    assert red > 0 and green == 0 and blue == -red  # the second direction is red against blue


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_colors_are_mixed_and_unmixed_exactly(channels: int) -> None:
    values = torch.randn(2, channels, 5, 6, generator=torch.Generator(), dtype=torch.float64) * 2
    assert_close(unmixed(mixed(values)), values, rtol=0, atol=1e-12)
    assert_close(mixed(unmixed(values)), values, rtol=0, atol=1e-12)
    assert_close(from_image(to_image(values * 0.3, True), True), values * 0.3, rtol=0, atol=1e-11)
    assert torch.equal(mixed(values)[:, 3:], values[:, 3:])
    assert torch.equal(mixed(values), values) is (channels not in (3, 4))


def test_everything_that_is_an_image_may_be_given(tmp_path: Path) -> None:
    picture = eight_bits(3, 9, 14)
    array = picture.permute(1, 2, 0).numpy()
    Image.fromarray(array).save(tmp_path / "picture.png")
    wanted = FromImage(picture).start()
    for source in (tmp_path / "picture.png", Image.fromarray(array), array, picture.double() / 255, picture[None]):
        assert_close(FromImage(source).start(), wanted, rtol=0, atol=1e-6)


def test_size_copies_and_gray() -> None:
    picture = eight_bits(2, 3, 20, 30)
    param = FromImage(picture, Pixel, size=(10, 15), copies=2, seed=4, gray=True)
    assert (param.extent, param.batch, param.channels, param.seeds) == ((10, 15), 4, 1, (4, 5, 6, 7))
    image = param.image(param.start(dtype=torch.float64))
    assert_close(image[0], image[1], rtol=0, atol=0)
    assert not torch.equal(image[1], image[2])
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(3, 1, 1)
    gray = (picture / 255 * weights).sum(1, keepdim=True)
    # a resampled picture has the mean of the picture, but for what overshoots and is clamped
    assert_close(image[::2].mean((2, 3)), gray.mean((2, 3)), rtol=0.03, atol=0)
    whole = FromImage(picture, Pixel, gray=True)
    assert_close(whole.image(whole.start(dtype=torch.float64)), gray, rtol=0, atol=1 / 512)


def test_resized_it_is_the_resized_picture(tmp_path: Path) -> None:
    ramp = np.add.outer(np.linspace(20, 120, 40), np.linspace(0, 100, 60))[..., None] * np.ones(3)
    path = tmp_path / "ramp.png"
    Image.fromarray(ramp.round().astype(np.uint8)).save(path)
    param = FromImage(path)
    other, parameters = param.resized(param.start(dtype=torch.float64), (20, 30))
    small = np.array(load(path).resize((30, 20), Image.Resampling.BICUBIC))
    wanted = torch.from_numpy(small).permute(2, 0, 1)[None] / 255
    assert psnr(other.image(parameters), wanted) > 45


def test_an_image_starts_opaque_and_lies_on_backgrounds() -> None:
    picture = eight_bits(1, 3, 12, 12)
    param = Alpha(FromImage(picture, Pixel))
    image = param.image(param.start(dtype=torch.float64))
    assert param.channels == 3 and image.shape == (1, 4, 12, 12)
    assert (image[:, 3] > 1 - 1 / 255).all()
    assert_close(over(image, 0.3), picture / 255.0, rtol=0, atol=1 / 128, check_dtype=False)


def test_backgrounds_belong_to_samples_and_show_where_transparent() -> None:
    images = torch.zeros(2, 4, 16, 21, dtype=torch.float64)
    images[:, :3, :8] = 0.25
    images[:, 3, :8] = 1

    def laid(*seeds: int) -> Tensor:
        return on_backgrounds(images[: len(seeds)], [torch.Generator().manual_seed(seed) for seed in seeds])

    both = laid(1, 2)
    assert both.shape == (2, 3, 16, 21) and both.min() >= 0 and both.max() <= 1
    assert (both[:, :, :8] == 0.25).all()
    assert (both[:, :, 8:].std((1, 2, 3)) > 0.05).all()
    assert torch.equal(both[1:], laid(2)) and torch.equal(both[:1], laid(1))
    assert not torch.equal(both[0], both[1])


def test_gray_becomes_colors_colors_become_gray_and_transparency_white() -> None:
    one, three, four = (torch.rand(1, n, 6, 7, generator=torch.Generator(), dtype=torch.float64) for n in (1, 3, 4))
    assert torch.equal(FromImage(one).with_channels(3).pictures, one.expand(-1, 3, -1, -1))
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(3, 1, 1)
    assert_close(FromImage(three).with_channels(1).pictures, (three * weights).sum(1, keepdim=True))
    assert_close(FromImage(four).pictures, four[:, :3] * four[:, 3:] + 1 - four[:, 3:])
    assert Alpha(FromImage(one)).with_channels(3).inner.channels == 4


@pytest.mark.parametrize("size", SIZES)
def test_maco_at_symmetric_pictures_keeps_the_signs_of_waves(size: tuple[int, int]) -> None:
    height, width = size
    noise = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mirrored = (noise + noise.flip(2, 3).roll((1, 1), (2, 3))) / 2  # all waves are real, and some negative
    param = FromImage(mirrored, Maco)
    parameters = param.start(dtype=torch.float64)
    assert_close(param.image(parameters), mirrored, rtol=0, atol=1 / 512)


def test_a_network_of_places_adds_to_an_image_what_is_smooth_at_any_size() -> None:
    picture = torch.rand(2, 3, 30, 42, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 0.6 + 0.2
    param = FromImage(picture, CPPN)
    parameters = param.start(dtype=torch.float64)
    goal = torch.linspace(-1, 1, 42, dtype=torch.float64).expand(30, -1)  # brighter towards the right
    optimizer = Adam(parameters, lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        (-(param.image(parameters) * goal).sum()).backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.any() for p in parameters)
    added = (param.values(parameters) - param.values(param.start(dtype=torch.float64))).detach()
    assert added.abs().max() > 0.5
    other, same = param.resized(parameters, (90, 126))
    assert isinstance(other, CPPN) and other.ground is not None
    # the center of every third pixel of the larger picture is that of a pixel of the smaller one
    larger = (other.values(same) - other.ground).detach()
    assert_close(larger[:, :, 1::3, 1::3], added, rtol=1e-9, atol=1e-9)
    assert psnr(to_image(other.ground, True, "sine"), resampled(picture, (90, 126))) > 50
    alone = param.take(range(1, 2))
    assert_close(alone.image([p[1:] for p in parameters]), param.image(parameters)[1:], rtol=0, atol=1e-12)
    with pytest.raises(NetLensError, match=r"the ground of these pictures must be \(2, C, 9, 9\)"):
        replace(other, size=9)


def test_maco_keeps_the_strengths_of_each_image() -> None:
    pictures = torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * 0.9 + 0.05
    param = FromImage(pictures, Maco)
    (phases,) = param.start(dtype=torch.float64)
    moved = torch.fft.rfft2(param.values([phases + torch.randn_like(phases)]), norm="ortho")
    start = torch.fft.rfft2(param.values([phases]), norm="ortho")
    assert_close(moved.abs(), start.abs(), rtol=0, atol=1e-12)
    assert (start[0].abs() - start[1].abs()).abs().max() > 0.1
    with pytest.raises(NetLensError, match="2 magnitudes for 3 pictures"):
        Maco((8, 9), batch=3, magnitude=torch.ones(2, 3, 8, 5))
