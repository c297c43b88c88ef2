"""Signals as curves, volumes and clips as strips and films, images of any number of bands."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from netlens.errors import NetLensError, NotApplicable
from netlens.results import Attribution, Provenance, read_provenance
from netlens.show import Look, film, overlay, panel
from netlens.show._curve import (
    HEIGHT,
    WIDTH,
)
from netlens.show._overlay import (
    photograph,
)
from netlens.show._strip import (
    chosen_frames,
)

GAP = 6  # white pixels between the slices of a strip


def explained(values, image, reduction="signed"):
    return Attribution(values, image, Provenance("Occlusion", "net", "logit(0)", targets=(0,)), reduction=reduction)


def is_red(pixels):
    red, green, blue = pixels[..., 0].astype(int), pixels[..., 1].astype(int), pixels[..., 2].astype(int)
    return (red - green > 60) & (red - blue > 60)


def is_blue(pixels):
    red, green, blue = pixels[..., 0].astype(int), pixels[..., 1].astype(int), pixels[..., 2].astype(int)
    return (blue - green > 60) & (blue - red > 60)


@pytest.mark.parametrize("channels", [1, 2, 12])
def test_a_curve_is_colored_at_the_times_that_matter(channels):
    values = torch.zeros(1, channels, 100)
    values[0, 0, 20:30], values[0, 0, 70:80] = 1.0, -1.0
    drawn = overlay(explained(values, torch.randn(1, channels, 100)))[0]
    assert drawn.shape == (HEIGHT, WIDTH, 4)
    for colored, (start, stop) in ((is_red(drawn), (20, 30)), (is_blue(drawn), (70, 80))):
        columns = np.nonzero(colored.sum(0) > 40)[0]
        left, width = 0.085 * WIDTH, 0.905 * WIDTH  # of the axes, in pixels
        times = (columns - left) / width * 100
        assert start - 1 <= times.min() <= start + 1 and stop - 1 <= times.max() <= stop + 1


def test_a_panel_of_curves_has_one_row_for_each_attribution():
    signal = torch.randn(1, 1, 50)
    a = explained(torch.randn(1, 1, 50), signal)
    one, two = panel([a]).shape, panel([a, a]).shape
    assert one[1] == two[1] and two[0] > one[0] + HEIGHT


def test_a_signal_has_one_style():
    with pytest.raises(NetLensError, match="a signal is drawn as a curve, so it has no style 'heat_map'"):
        overlay(explained(torch.randn(1, 1, 50), torch.randn(1, 1, 50)), Look(style="heat_map"))


def test_a_strip_holds_the_slices_in_their_order_and_the_overlay_lies_below_its_slice():
    volume = torch.zeros(1, 1, 8, 10, 10)
    volume[0, 0] = torch.linspace(0, 1, 8)[:, None, None]
    values = torch.zeros(1, 1, 8, 10, 10)
    values[0, 0, 3, 2, 7] = 1.0
    frames = chosen_frames(8)
    photo, drawn = photograph(volume)[0], overlay(explained(values, volume, "magnitude"))[0]
    side = photo.shape[0]
    assert photo.shape == drawn.shape and photo.shape[1] == len(frames) * side + (len(frames) - 1) * GAP
    for place, frame in enumerate(frames):
        part = photo[:, place * (side + GAP) : place * (side + GAP) + side]
        assert (part[..., 0] == round(255 * frame / 7)).all()
    lit = np.nonzero((drawn[..., 0] > 200) & (drawn[..., 2] < 200))
    assert frames[2] == 3 and side % 10 == 0
    pixel = side // 10
    assert (lit[0].min(), lit[0].max()) == (2 * pixel, 3 * pixel - 1)
    left = 2 * (side + GAP) + 7 * pixel
    assert (lit[1].min(), lit[1].max()) == (left, left + pixel - 1)


def test_a_film_shows_one_slice_after_another_and_knows_its_provenance(tmp_path):
    clip = torch.full((1, 3, 5, 16, 16), 0.5)
    values = torch.zeros(1, 3, 5, 16, 16)
    values[0, 0, 4] = 1.0
    result = explained(values, clip)
    path = result.save(tmp_path / "clip.gif", duration=120)
    assert read_provenance(path) == result.provenance
    with Image.open(path) as saved:
        assert saved.n_frames == 5 and saved.info["duration"] == 120
        red = []
        for frame in range(5):
            saved.seek(frame)
            red.append(int(is_red(np.array(saved.convert("RGB"))).sum()))
    assert red[4] > 1000 and max(red[:4]) == 0


def test_only_slices_make_a_film():
    with pytest.raises(NotApplicable, match="a film needs volumes or clips"):
        film(explained(torch.randn(1, 3, 8, 8), torch.rand(1, 3, 8, 8)))
    with pytest.raises(NetLensError, match="at least one attribution"):
        film([])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 12])
def test_any_number_of_bands_is_drawn(count):
    image = torch.rand(1, count, 20, 20)
    drawn = photograph(image)[0][::20, ::20, :3].astype(float) / 255
    expected = image[0].permute(1, 2, 0) if count == 3 else image[0].mean(0)[..., None].expand(-1, -1, 3)
    assert np.abs(drawn - expected.numpy()).max() < 0.51 / 255
    assert overlay(explained(torch.randn(1, count, 20, 20), image)).shape == (1, 400, 400, 4)


def test_a_chosen_triple_is_red_green_and_blue():
    image = torch.rand(1, 5, 20, 20)
    drawn = photograph(image, (3, 2, 1))[0][::20, ::20, :3].astype(float) / 255
    assert np.abs(drawn - image[0, [3, 2, 1]].permute(1, 2, 0).numpy()).max() < 0.51 / 255
    result = explained(torch.randn(1, 5, 20, 20), image)
    assert panel(result, bands=(3, 2, 1)).shape == panel(result).shape
    with pytest.raises(NetLensError, match="the input has the bands 0 to 4"):
        panel(result, bands=(3, 2, 5))
    with pytest.raises(NetLensError, match="give one, or three"):
        panel(result, bands=(3, 2))


def test_the_header_of_a_film_is_its_comment():
    data = film(explained(torch.randn(1, 1, 2, 8, 8), torch.rand(1, 1, 2, 8, 8)), header={"a": ["b", 1]})
    with Image.open(BytesIO(data)) as saved:
        assert json.loads(saved.info["comment"]) == {"a": ["b", 1]}
