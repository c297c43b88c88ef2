"""Films: bounded, evenly spaced, and files that others can read."""

from __future__ import annotations

import io

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

from netlens.playground._film import MOST, SIDE, STILL, Film, gif, mp4
from netlens.results import Provenance, Render


def filmed(steps, size=(24, 33), channels=3):
    """A film of pictures that become brighter, and the last of them as a result."""
    film = Film()
    for step in range(steps + 1):
        if film.wants(step):
            film = film.grown(step, torch.full((1, channels, *size), step / steps))
    render = Render(
        torch.ones(1, channels, *size), torch.zeros(steps, 1), (0,), Provenance("OptVis", "net", "channel('a', 1)")
    )
    return film, render


@pytest.mark.parametrize("steps", [1, 10, 47, 48, 500, 1777])
def test_a_film_has_few_frames_evenly_spaced_from_the_start(steps):
    film, _ = filmed(steps)
    frame_steps = [shot.step for shot in film.shots]
    assert len(frame_steps) <= MOST
    assert frame_steps == list(range(0, steps + 1, film.every))
    assert len(frame_steps) >= min(steps + 1, MOST // 2)


def test_a_film_goes_on():
    film, _ = filmed(60)
    assert not film.wants(film.shots[-1].step)
    assert film.grown(100 * film.every, torch.zeros(1, 3, 8, 8)).shots[:-1] == film.shots


def test_large_frames_are_made_smaller():
    film = Film().grown(0, torch.zeros(1, 3, 2 * SIDE, SIDE))
    assert film.shots[0].pixels.shape == (SIDE, SIDE // 2, 3)
    assert film.nbytes == SIDE * SIDE // 2 * 3


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(24, 33), (300, 301)])
def test_a_gif_shows_the_frames_and_then_the_result(size, channels):
    film, render = filmed(10, size, channels)
    with Image.open(io.BytesIO(gif(film, render))) as file:
        assert file.n_frames == 11  # two equal frames are one
        assert min(file.size) >= min(size) and file.width % 2 == file.height % 2 == 0
        levels = []
        for i in range(file.n_frames):
            file.seek(i)
            levels.append(np.asarray(file.convert("RGB")).mean())
    assert levels == sorted(levels) and levels[-1] > 250


@pytest.mark.parametrize("size", [(24, 33), (300, 301)])
def test_an_mp4_shows_the_frames_and_then_the_result(size):
    film, render = filmed(10, size)
    frames = iio.imread(mp4(film, render), plugin="FFMPEG", extension=".mp4")
    assert len(frames) == 11 + 1 + STILL
    levels = frames.reshape(len(frames), -1).mean(1)
    expected = [255 * min(i, 10) / 10 for i in range(len(frames))]
    assert np.abs(levels - expected).max() < 6  # of 255, as films are compressed
    assert frames.shape[1] % 2 == frames.shape[2] % 2 == 0
    assert abs(frames.shape[2] / frames.shape[1] - size[1] / size[0]) < 0.02
