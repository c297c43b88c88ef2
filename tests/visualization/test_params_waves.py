"""Fourier and Maco by hand: the scale of waves, fixed magnitudes, phases of real pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from netlens.visualization import Alpha, Fourier, FromImage, Maco
from netlens.visualization.params import _spectrum
from netlens.visualization.params._spectrum import (
    to_picture,
)
from netlens.visualization.params.color import from_image

SIZES = [(16, 16), (15, 21), (16, 21), (22, 13), (1, 9), (8, 1), (2, 3)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", SIZES)
def test_waves_are_scaled_as_published(size: tuple[int, int]) -> None:
    height, width = size
    waves = noise(2, 3, height, width // 2 + 1, 2)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    scale = 1 / np.maximum(frequency, 1 / max(size)) * math.sqrt(height * width)
    # numpy, like torch, drops what no real picture has
    wanted = np.fft.irfft2(torch.view_as_complex(waves).numpy() * scale, s=size) / 4
    assert_close(Fourier(size).values([waves]), torch.from_numpy(wanted), rtol=0, atol=1e-11)


@pytest.mark.parametrize("size", SIZES)
def test_any_spectrum_makes_the_nearest_real_picture(size: tuple[int, int]) -> None:
    height, width = size
    spectrum = torch.view_as_complex(noise(3, height, width // 2 + 1, 2))
    spectrum.requires_grad_()
    picture = to_picture(spectrum, width)
    full = np.zeros((3, height, width), dtype=complex)
    half = spectrum.detach().numpy()
    for y in range(height):
        for x in range(width):
            full[:, y, x] = half[:, y, x] if x <= width // 2 else half[:, -y % height, width - x].conj()
    wanted = np.fft.ifft2(full, norm="ortho").real
    assert_close(picture.detach(), torch.from_numpy(wanted), rtol=0, atol=1e-12)


def test_gradients_of_waves_are_right() -> None:
    for size in ((5, 6), (6, 5)):
        param = Fourier(size)
        torch.autograd.gradcheck(lambda waves, param=param: param.image([waves]), param.start(dtype=torch.float64))
        maco = Maco(size)
        torch.autograd.gradcheck(lambda phases, maco=maco: maco.image([phases]), maco.start(dtype=torch.float64))


def magnitude(param: Maco, parameters: list[Tensor]) -> Tensor:
    """What the waves of its pictures measure, from the pictures alone."""
    image = param.image(parameters).detach()
    return torch.fft.rfft2(from_image(image, param.decorrelate), norm="ortho").abs()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_magnitudes_stay_whatever_the_phases(size: tuple[int, int], channels: int) -> None:
    magnitudes = 0.3 * noise(channels, size[0], size[1] // 2 + 1).abs()
    # a real picture's wave and its mirror image are equally strong
    magnitudes = torch.fft.rfft2(torch.fft.irfft2(magnitudes.to(torch.complex128), s=size)).real.abs()
    magnitudes = magnitudes / magnitudes.max()
    param = Maco(size, batch=2, channels=channels, magnitude=magnitudes)
    parameters = param.start(dtype=torch.float64)
    optimizer = torch.optim.NAdam(parameters, lr=1.0)
    target = noise(2, channels, *size, seed=1)
    start = (param.image(parameters) * target).sum().item()
    for _ in range(5):
        assert_close(magnitude(param, parameters), magnitudes.expand(2, -1, -1, -1), rtol=0, atol=1e-10)
        optimizer.zero_grad()
        (-(param.image(parameters) * target).sum()).backward()
        optimizer.step()
    if size == (16, 16):  # the smallest have hardly a phase to choose
        assert (param.image(parameters) * target).sum().item() > start + 1


def test_magnitudes_fall_with_frequency_around_gray() -> None:
    param = Maco((64, 48), batch=3)
    parameters = param.start(dtype=torch.float64)
    values = param.values(parameters)
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(48)[None])
    amplitudes = torch.fft.rfft2(values, norm="ortho").abs().detach().numpy() * frequency
    assert np.allclose(amplitudes[:, :, frequency > 1 / 63], 0.25)
    assert_close(values.mean((2, 3)), torch.zeros(3, 3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (param.image(parameters).std((1, 2, 3)) > 0.1).all()


def test_phases_start_evenly_in_every_column() -> None:
    param = Maco((64, 32), batch=40, channels=1)
    phases = param.start(dtype=torch.float64)[0].detach()
    for column in (0, 5, 16):  # the first and the last mirror themselves
        chosen = phases[:, 0, 1:32, column].flatten().sort().values
        even = torch.linspace(-math.pi, math.pi, len(chosen), dtype=torch.float64)
        assert (chosen - even).abs().max() < 0.06 * 2 * math.pi


def test_a_measured_magnitude_is_that_of_the_pictures() -> None:
    pictures = noise(5, 3, 20, 27).mul(0.5).add(-0.4).sigmoid()
    param = Maco.like(pictures, batch=2)
    assert param.extent == (20, 27) and param.magnitude is not None
    spectra = torch.fft.rfft2(from_image(pictures, True), norm="ortho")
    wanted = spectra.abs().mean(0)
    wanted[:, 0, 0] = spectra[..., 0, 0].mean(0).abs()
    assert_close(magnitude(param, param.start(dtype=torch.float64)), wanted.expand(2, -1, -1, -1), rtol=0, atol=1e-9)
    # the mean color, darker than gray here, is kept with its sign
    image = from_image(param.image(param.start(dtype=torch.float64)), False)
    means = from_image(pictures, False).mean((0, 2, 3)).expand(2, -1)
    assert_close(image.mean((2, 3)), means, rtol=0, atol=1e-9)


def test_of_one_picture_the_phases_are_all_that_is_missing() -> None:
    picture = noise(1, 3, 18, 25).mul(0.5).sigmoid()
    param = Maco.like(picture)
    phases = torch.fft.rfft2(from_image(picture, True), norm="ortho").angle()
    # where a real wave is its own mirror image (the mean, for odd sizes alone) the sign is part of the magnitude
    phases[..., 0, 0] = 0
    values = param.values([phases])
    wrong = torch.fft.rfft2(values - from_image(picture, True), norm="ortho").abs()
    wrong[..., 9, 0] = 0  # the fastest vertical wave, whose sign is no phase
    assert wrong.max() < 1e-10


@pytest.mark.parametrize("size", [32, 33, 16, 25, 64])
def test_a_magnitude_serves_another_size(size: int) -> None:
    magnitudes = Maco(32)._magnitude(torch.zeros((), dtype=torch.float64))
    resized = Maco(size, magnitude=magnitudes)._magnitude(torch.zeros((), dtype=torch.float64))
    # one over the frequency is so at any size
    assert_close(resized, Maco(size)._magnitude(torch.zeros((), dtype=torch.float64)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("to", [(20, 32), (40, 62), (36, 62), (90, 93)])
def test_a_wave_is_the_same_wave_at_another_size(to: tuple[int, int]) -> None:
    width, across = 31, to[1]
    values = 0.4 * torch.cos(2 * math.pi * 10 * (torch.arange(width, dtype=torch.float64) + 0.5) / width)
    param = FromImage(values.sigmoid().expand(1, 1, 24, width), Maco)
    resized, parameters = param.resized(param.start(dtype=torch.float64), to)
    wanted = 0.4 * torch.cos(2 * math.pi * 10 * (torch.arange(across, dtype=torch.float64) + 0.5) / across)
    # an odd width is taken for the next even one
    assert_close(resized.values(parameters), wanted.expand(1, 1, *to), rtol=0, atol=0.4 / 31)


def test_resized_maco_is_the_same_picture_with_more_or_less_detail() -> None:
    param = Maco((24, 30), batch=2)
    parameters = param.start(dtype=torch.float64)
    larger, more = param.resized(parameters, (72, 90))
    assert isinstance(larger, Maco) and larger.extent == (72, 90)
    # means over 3 x 3 pixels lose the new detail (and weaken the finest of the old)
    coarse = torch.nn.functional.avg_pool2d(larger.values(more), 3)
    small = param.values(parameters)
    alike = torch.cosine_similarity(coarse.flatten(1), small.flatten(1))
    assert (alike > 0.9).all()
    shifted = torch.cosine_similarity(coarse.roll(1, -1).flatten(1), small.flatten(1))
    assert (shifted < alike - 0.1).all()
    # and back: all waves that both sizes have, as they were
    smaller, less = larger.resized(more, (24, 30))
    there, back = (torch.fft.rfft2(values, norm="ortho") for values in (small, smaller.values(less)))
    there, back = (s[..., [*range(12), *range(-11, 0)], :15] for s in (there, back))
    assert_close(there, back, rtol=0, atol=1e-9)


def test_a_channel_for_alpha_has_a_magnitude_too() -> None:
    pictures = noise(2, 3, 12, 12).sigmoid()
    param = Alpha(Maco.like(pictures))
    assert param.image(param.start()).shape == (1, 4, 12, 12)
    assert param.image(param.start())[:, 3].std() > 0.05


@pytest.mark.parametrize("extent", [(6, 7), (5, 8), (1, 2), (4, 1)])
def test_pictures_of_a_spectrum_have_true_gradients_in_parts_and_together(extent, monkeypatch):
    """The written-out adjoint is the gradient of torch's transforms, however many channels run at once."""
    spectrum = torch.randn(2, 3, extent[0], extent[1] // 2 + 1, dtype=torch.complex128, requires_grad=True)
    width = extent[1]
    mirrors = [0] if width % 2 else [0, width // 2]
    rows = torch.view_as_real(torch.fft.ifft(spectrum, dim=-2, norm="ortho"))
    real = torch.ones_like(rows)
    real[..., mirrors, 1] = 0
    expected = torch.fft.irfft(torch.view_as_complex(rows * real), n=width, dim=-1, norm="ortho")
    weights = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad((expected * weights).sum(), spectrum)
    for together in (1, 2**22):
        monkeypatch.setattr(_spectrum, "_TOGETHER", together)
        picture = _spectrum.to_picture(spectrum, width)
        torch.testing.assert_close(picture, expected, rtol=1e-12, atol=1e-12)
        (picture_gradient,) = torch.autograd.grad((picture * weights).sum(), spectrum)
        torch.testing.assert_close(picture_gradient, gradient, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda waves: _spectrum.to_picture(waves, width), spectrum)
    assert torch.autograd.gradgradcheck(lambda waves: _spectrum.to_picture(waves, width), spectrum)
