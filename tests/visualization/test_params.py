"""Laws of all parameterizations: seeds, batches, sizes, gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam
from torch.testing import assert_close

from netlens.errors import NetLensError
from netlens.visualization import CPPN, Alpha, Fourier, FromImage, Maco, Param, Pixel, Pyramid, Shared

SIZES = [(16, 16), (15, 21), (22, 13), (1, 9), (8, 1), (2, 3)]
OWN = {"pixel": Pixel, "fourier": Fourier, "pyramid": Pyramid, "cppn": CPPN, "maco": Maco}
KINDS: dict[str, Callable[..., Param]] = {
    **OWN,
    "correlated": lambda *a, **k: Fourier(*a, decorrelate=False, **k),
    "alpha": lambda *a, **k: Alpha(Fourier(*a, **k)),
    "alpha maco": lambda *a, **k: Alpha(Maco(*a, **k)),
    "shared": lambda *a, **k: Shared(Fourier(*a, **k)),
    "alpha shared": lambda *a, **k: Alpha(Shared(Pixel(*a, **k))),
}
INDEPENDENT = [name for name in KINDS if "shared" not in name]


def started(param: Param) -> tuple[list[Tensor], Tensor]:
    parameters = param.start(dtype=torch.float64)
    return parameters, param.image(parameters)


def gradients(param: Param, weights: Tensor) -> tuple[Tensor, ...]:
    parameters, image = started(param)
    return torch.autograd.grad((image * weights).sum(), parameters)


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * (a - b).detach().square().mean().log10())


def smooth_picture(channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(1, channels, 5, 7, generator=generator, dtype=torch.float64)
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_images_of_any_size_lie_between_black_and_white(kind: str, channels: int, size: tuple[int, int]) -> None:
    param = KINDS[kind](size, batch=2, channels=channels)
    parameters, image = started(param)
    assert image.shape == (2, channels + ("alpha" in kind), *size)
    assert image.min() >= 0 and image.max() <= 1
    assert (param.extent, param.batch, param.channels, param.seeds) == (size, 2, channels, (0, 1))
    assert all(p.is_leaf and p.requires_grad and p.dtype == torch.float64 and len(p) == 2 for p in parameters)


@pytest.mark.parametrize("kind", INDEPENDENT)
def test_a_picture_of_a_batch_is_the_single_picture_of_its_seed(kind: str) -> None:
    weights = torch.randn(3, 3 + ("alpha" in kind), 15, 22, dtype=torch.float64, generator=torch.Generator())
    batch = KINDS[kind]((15, 22), batch=3, seed=[4, 0, 7])
    parameters, images = started(batch)
    for i, seed in enumerate((4, 0, 7)):
        single = KINDS[kind]((15, 22), seed=seed)
        single_parameters, image = started(single)
        assert all(torch.equal(a[i], b[0]) for a, b in zip(parameters, single_parameters, strict=True))
        assert_close(images[i : i + 1], image, rtol=0, atol=1e-12)
        for all_, one in zip(gradients(batch, weights), gradients(single, weights[i : i + 1]), strict=True):
            assert_close(all_[i : i + 1], one, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_starts_the_same_picture_and_leaves_the_global_generator(kind: str) -> None:
    state = torch.random.get_rng_state()
    first, second = (KINDS[kind](12, batch=2, seed=5).start() for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(first[0][0], first[0][1])


@pytest.mark.parametrize("kind", KINDS)
def test_precisions_start_from_the_same_picture_also_under_inference_mode(kind: str) -> None:
    param = KINDS[kind]((9, 12))
    with torch.inference_mode():
        single = param.start()
    double = param.start(dtype=torch.float64)
    for a, b in zip(single, double, strict=True):
        assert torch.equal(a, b.float())
    assert_close(param.image(single), param.image(double).float(), rtol=0, atol=2e-5)
    assert torch.autograd.grad(param.image(single).sum(), single[0])[0].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_changes_no_bit(kind: str) -> None:
    param = KINDS[kind]((9, 12))
    parameters = param.start()
    image, larger = param.image(parameters), param.resized(parameters, 16)[1]
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(param.start(), parameters, strict=True))
        assert torch.equal(param.image(parameters), image)
        assert all(torch.equal(a, b) for a, b in zip(param.resized(parameters, 16)[1], larger, strict=True))


@pytest.mark.parametrize("kind", ["pixel", "fourier", "pyramid", "cppn", "alpha", "shared"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_start_nearly_but_not_quite_gray(kind: str, channels: int) -> None:
    _, images = started(KINDS[kind]((64, 48), batch=4, channels=channels))
    # one gray level of 8 bits is 0.0039
    assert (images.std((1, 2, 3)) > 1e-3).all() and (images.std((1, 2, 3)) < 3e-2).all()
    assert (images - 0.5).abs().max() < 0.1


@pytest.mark.parametrize("size", [(16, 16), (15, 21), (16, 21), (15, 22)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_parameter_is_dead(kind: str, size: tuple[int, int]) -> None:
    param = KINDS[kind](size)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(1, 3 + ("alpha" in kind), *size, dtype=torch.float64, generator=generator)
    parameter_gradients = gradients(param, weights)
    assert all(gradient.isfinite().all() for gradient in parameter_gradients)
    # of a real picture's mean and fastest waves, the imaginary part is nothing, and the phase no choice
    corners = 4 if size == (16, 16) else 1 if size == (15, 21) else 2
    waves = isinstance(getattr(param, "param", param), Maco | Fourier) or kind == "shared"
    dead = sum(int((gradient == 0).sum()) for gradient in parameter_gradients)
    assert dead <= (corners * weights.shape[1] if waves else 0)


@pytest.mark.parametrize("kind", ["pixel", "fourier", "pyramid", "correlated", "alpha", "shared", "alpha shared"])
@pytest.mark.parametrize("to", [(48, 48), (24, 30), (37, 61)])
def test_resized_keeps_the_picture(kind: str, to: tuple[int, int]) -> None:
    param = KINDS[kind]((32, 40), batch=2, seed=3)
    generator = torch.Generator().manual_seed(1)
    parameters = param.start(dtype=torch.float64)
    with torch.no_grad():  # as after many steps: shared parts included, with strong colors
        parameters = [p + p.std().clamp(min=0.01) * 3 * torch.randn(p.shape, generator=generator) for p in parameters]
    image = param.image(parameters)
    other, resized = param.resized(parameters, to)
    wanted = F.interpolate(image, to, mode="bicubic", antialias=True).clamp(0, 1)
    assert other.extent == to and type(other) is type(param) and other.seeds == param.seeds
    assert all(p.is_leaf and p.requires_grad and p.dtype == torch.float64 and len(p) == 2 for p in resized)
    assert [p.shape for p in resized] == [p.shape for p in other.start()]
    assert psnr(other.image(resized), wanted) > 50
    if to == (48, 48):
        rough = F.interpolate(image, to, mode="bilinear")
        assert psnr(other.image(resized), rough) > psnr(rough.mean((2, 3), keepdim=True).expand_as(rough), rough) + 10


def test_the_same_network_of_places_makes_the_same_picture_at_any_size() -> None:
    param = CPPN((32, 48), batch=2, sd=2.0, channels=3)
    parameters, image = started(param)
    other, resized = param.resized(parameters, (96, 144))
    # the center of every third pixel of the larger picture is that of a pixel of the smaller one
    assert_close(other.image(resized)[:, :, 1::3, 1::3], image, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (9, 40)])
def test_places_are_spread_evenly_around_the_middle(height: int, width: int) -> None:
    param = CPPN((height, width))
    y, x = param._coordinates(torch.zeros(1, dtype=torch.float64))[0].mT.unflatten(1, param.extent)
    assert_close(y, -y.flip(0))
    assert_close(x, -x.flip(1))
    assert_close(y[1, 0] - y[0, 0], x[0, 1] - x[0, 0])  # pixels are square
    area = (x[0, 1] - x[0, 0]).square() * height * width
    assert_close(area, torch.tensor(12.0, dtype=torch.float64))  # of a square with a standard deviation of 1


def test_levels_of_a_pyramid_halve_down_to_a_few_pixels() -> None:
    assert Pyramid((33, 40)).extents == [(33, 40), (17, 20), (9, 10), (5, 5)]
    assert Pyramid((3, 40)).extents == [(3, 40)]
    assert Pyramid((33, 40), levels=2).extents == [(33, 40), (17, 20)]


def test_a_network_of_places_starts_alive() -> None:
    _, images = started(CPPN(32, batch=8, sd=1.0))
    assert (images.std((1, 2, 3)) > 0.05).all()


def test_shared_parts_start_at_nothing_and_align_the_batch() -> None:
    unshared, param = Pixel((12, 18), batch=3), Shared(Pixel((12, 18), batch=3), parts=(4,))
    parameters, image = started(param)
    assert_close(image, unshared.image(unshared.start(dtype=torch.float64)), rtol=0, atol=0)
    # what pulls at one picture moves what all of them share, and only its own part of itself
    unique, common = torch.autograd.grad(image[0].sum(), parameters)
    assert common.abs().min() > 0 and torch.equal(common[0], common[2])
    assert unique[0].abs().min() > 0 and not unique[1:].any()
    with torch.no_grad():
        parameters[1][:] = torch.linspace(-1, 1, 5, dtype=torch.float64)
    changes = param.values(parameters) - unshared.values(parameters[:1])
    assert_close(changes[0], changes[1])
    assert changes.abs().max() > 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pixel(0), "Pixel: size is 0, but must be a whole number of at least 1"),
        (lambda: Pixel((3, 4, 5)), r"size is \(3, 4, 5\), but must be"),  # type: ignore[arg-type]
        (lambda: Pixel(8, batch=0), "at least 1"),
        (lambda: Pixel(8, batch=2, seed=[1]), "1 seeds for a batch of 2"),
        (lambda: Pixel(8, seed=-1), "seed is -1, but must be a whole number of at least 0"),
        (lambda: Pixel(8.5), r"size is 8\.5, but must be"),  # type: ignore[arg-type]
        (lambda: Pixel(8, seed=1.5), r"seed is 1\.5, but must be a whole number"),  # type: ignore[arg-type]
        (lambda: Pixel(8, batch="2"), "batch is '2', but must be a whole number"),  # type: ignore[arg-type]
        (lambda: Pixel(8, sd="a"), "sd is 'a', but must be a finite number"),  # type: ignore[arg-type]
        (lambda: Pixel(8, decorrelate="no"), "decorrelate is 'no', but must be True or False"),  # type: ignore[arg-type]
        (lambda: Pyramid(8, levels=1.5), r"levels is 1\.5, but must be a whole number"),  # type: ignore[arg-type]
        (lambda: FromImage(torch.zeros(8, 8, 3)), "1, 3 or 4 channels"),
        (lambda: FromImage(torch.zeros(3, 8, 8), copies=1.5), r"copies is 1\.5, but must be a whole number"),  # type: ignore[arg-type]
        (lambda: Fourier(8).start(dtype=torch.float16), "float32 or float64"),
        (lambda: Pyramid(8, levels=0), "levels is 0, but must be a whole number of at least 1 or None"),
        (lambda: CPPN(8, layers=0), "at least 1"),
        (lambda: Maco(8, magnitude=torch.ones(8, 5)), "a magnitude must be finite"),
        (lambda: Alpha(Alpha(Pixel(8))), "added once"),
        (lambda: Shared(CPPN(8)), "not CPPN"),  # type: ignore[arg-type]
        (lambda: Pixel(8).of_image(torch.zeros(1, 3, 8, 9)), r"\(3, 8, 9\) cannot start"),
        (lambda: Shared(Maco(8)), "not Maco"),  # type: ignore[arg-type]
        (lambda: FromImage(torch.zeros(3, 8, 8), Alpha), "can start at an image"),  # type: ignore[arg-type]
        (lambda: FromImage(torch.full((3, 8, 8), 1.5)), r"not \[0, 1\]"),
        (lambda: FromImage(torch.full((3, 8, 8), torch.nan)), "NaN or Inf"),
        (lambda: FromImage(torch.zeros(8, 8)), r"\(C, H, W\)"),
    ],
)
def test_mistakes_are_told(make: Callable[[], object], message: str) -> None:
    with pytest.raises(NetLensError, match=message):
        make()


def test_options_are_values() -> None:
    assert Fourier(np.int64(8), seed=np.arange(2), batch=np.int32(2)) == Fourier(8, batch=2, seed=(0, 1))
    assert Fourier(np.array([8, 9])).extent == (8, 9) and Fourier(torch.tensor(8)).size == 8
    assert Fourier(8, batch=2, seed=[1, 2]) == Fourier(8, batch=2, seed=(1, 2))
    assert hash(Fourier(8, batch=2, seed=[1, 2])) == hash(Fourier(8, batch=2, seed=(1, 2)))
    assert replace(Fourier(8), size=9).extent == (9, 9)


@pytest.mark.parametrize("kind", ["pixel", "fourier", "pyramid", "cppn"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_standard_learning_rate_suits_every_kind(kind: str, seed: int) -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 32), indexing="ij")
    goal = 0.5 + 0.4 * torch.stack([(3 * x).sin(), (2 * y + x).cos(), -x * y])
    param = OWN[kind]((24, 32), seed=seed)
    parameters = param.start()
    optimizer = Adam(parameters, lr=0.05)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = (param.image(parameters) - goal).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 5
