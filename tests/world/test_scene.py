"""The little world: reproducible, and its masks tell the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from netlens.errors import ClassNotFound
from netlens.world._backgrounds import (
    leaves,
    noise,
)
from netlens.world._shapes import (
    REACH,
    SHAPES,
)
from netlens.world._textures import (
    TEXTURES,
)
from netlens.world.scene import CLASSES, HIDDEN, MAIN, SMALL, batch, scene

SEEDS = range(60)


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask and all that lies within so many pixels of it."""
    for _ in range(pixels):
        padded = np.pad(mask, 1)
        mask = padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return mask


@pytest.mark.parametrize("seed", [0, 7, (3, 4)])
def test_a_seed_names_a_scene(seed):
    one, other = scene(seed), scene(seed)
    assert one.label == other.label
    for field in ("image", "mask", "others", "background"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert not np.array_equal(one.image, scene((9, 9)).image)


def test_an_image_of_a_batch_depends_on_the_seed_and_its_number_only():
    images, labels, masks = batch(5, 6)
    fewer, *_ = batch(5, 3)
    torch.testing.assert_close(images[:3], fewer, rtol=0, atol=0)
    for i in range(6):
        one = scene((5, i))
        np.testing.assert_array_equal(images[i].permute(1, 2, 0).numpy(), one.image)
        np.testing.assert_array_equal(masks[i].numpy(), one.mask)
        assert labels[i] == one.label


def test_the_caller_s_random_numbers_stay_as_they_were():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    batch(1, 2)
    torch.testing.assert_close(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


@pytest.mark.parametrize("size", [64, 128, 200])
def test_the_object_is_all_that_image_and_background_differ_in(size):
    for seed in SEEDS:
        one = scene(seed, size)
        differs = (one.image != one.background).any(-1)
        # smoothed edges reach a pixel beyond the mask, needle tips, thinner than one, further; and through the smoothed
        # edge of something in front, a little of the object shines
        assert (differs & ~grown(one.mask, 2)).mean() < 1e-3
        assert not (differs & ~grown(one.mask, 8) & ~grown(one.others, 1)).any()
        # two colors, a rim and shading: hardly a pixel of the object can look just as what is behind it
        assert differs[one.mask].mean() > 0.99


def test_no_pixel_is_both_the_object_s_and_another_s():
    assert not any((one.mask & one.others).any() for one in map(scene, SEEDS))


def test_the_labeled_object_dominates():
    full = math.pi * np.square(MAIN)
    for seed in SEEDS:
        one = scene(seed, 128)
        share = one.mask.mean()
        assert full[0] * (1 - HIDDEN[1]) * 0.95 < share < full[1] * 1.01
    assert 2 * SMALL[1] < MAIN[0]


def test_an_edge_detector_does_not_find_the_object():
    """Backgrounds are about as busy as objects: these hold hardly more than their share, 0.16, of the edges."""
    shares = []
    for seed in range(200):
        one = scene(seed)
        slope = np.hypot(*np.gradient(one.image.mean(-1), axis=(0, 1)))
        shares.append(slope[one.mask].sum() / slope.sum())
    assert np.mean(shares) < 0.25


@pytest.mark.parametrize("kind", [leaves, noise])
def test_a_background_is_made_of_colors_that_vary(kind):
    for seed in range(20):
        canvas = kind(np.random.default_rng(seed), 128)
        assert canvas.shape == (128, 128, 3) and canvas.dtype == np.float32
        assert canvas.std(axis=(0, 1)).max() > 0.05


def test_leaves_are_the_same_at_any_size():
    for seed in range(10):
        small, large = (leaves(np.random.default_rng(seed), size) for size in (64, 128))
        coarse = large.reshape(64, 2, 64, 2, 3).mean((1, 3))
        assert np.corrcoef(coarse.ravel(), small.ravel())[0, 1] > 0.9


def test_hardly_anything_of_the_object_is_outside_the_image():
    """Its area, hidden or not, is that of its disc: none of it is lost in clipping but the tips of a few points."""
    shares = [one.mask.mean() for one in map(scene, range(300)) if not one.others.any()]
    assert min(shares) > math.pi * MAIN[0] ** 2 * 0.97


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_the_label_changes_the_object_and_leaves_the_scene(label):
    one, drawn = scene(8, label=label), scene(8)
    assert one.label == label
    untouched = ~grown(one.mask | drawn.mask | one.others | drawn.others, 8)
    assert untouched.mean() > 0.2
    np.testing.assert_array_equal(one.image[untouched], drawn.image[untouched])


def test_a_larger_image_shows_the_same_scene():
    for seed in SEEDS:
        small, large = scene(seed, 64), scene(seed, 192)
        assert small.label == large.label
        coarse = large.mask.reshape(64, 3, 64, 3).mean((1, 3)) > 0.5
        assert (coarse != small.mask).mean() < 0.01


def test_all_classes_come_up_about_equally_often():
    counts = torch.bincount(batch(0, 450, size=16)[1], minlength=len(CLASSES))
    assert len(counts) == len(CLASSES) == len(set(CLASSES)) == 15
    assert counts.min() > 12 and counts.max() < 55


@pytest.mark.parametrize("label", [-1, 15])
def test_a_class_that_does_not_exist_is_an_error(label):
    with pytest.raises(ClassNotFound, match=r"0 to 14"):
        scene(0, label=label)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_encloses_the_area_of_the_unit_disc(name):
    step = 0.005
    x, y = np.meshgrid(*[np.arange(-2, 2, step)] * 2)
    inside = SHAPES[name](x, y) < 0
    assert inside.sum() * step**2 == pytest.approx(math.pi, rel=4e-3)
    assert np.hypot(x, y)[inside].max() < REACH


@pytest.mark.parametrize("name", SHAPES)
def test_a_distance_changes_by_one_per_unit_across_the_outline(name):
    """Otherwise edges would be smoothed over more or less than a pixel."""
    step = 0.005
    x, y = np.meshgrid(*[np.arange(-2, 2, step)] * 2)
    distance = SHAPES[name](x, y)
    slope = np.hypot(*np.gradient(distance, step))
    assert np.median(slope[np.abs(distance) < 0.02]) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", TEXTURES)
def test_a_texture_repeats_after_its_period_and_shows_both_colors(name):
    across = math.sqrt(3) if name == "dotted" else 1
    x, y = np.meshgrid(np.arange(0, 4, 0.02), np.arange(0, 4 * across, 0.02 * across))
    ink = TEXTURES[name](x, y, 20.0)
    assert ink.min() == 0 and ink.max() == 1 and 0.25 < ink.mean() < 0.75
    np.testing.assert_allclose(TEXTURES[name](x + 1, y, 20.0), ink, atol=1e-9)
    np.testing.assert_allclose(TEXTURES[name](x, y + across, 20.0), ink, atol=1e-9)
