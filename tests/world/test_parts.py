"""Scenes of several things: what is left out is gone, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from netlens.errors import ClassNotFound
from netlens.world.parts import assembly, batch, doubled


@pytest.mark.parametrize("kind", [assembly, doubled])
def test_without_a_thing_the_image_changes_on_it_and_nowhere_else(kind):
    for seed in range(12):
        one = kind(seed)
        for mask, without in zip(one.masks, one.without, strict=True):
            changed = (one.image != without).any(-1)
            beside = mask.copy()
            for _ in range(4):  # pixels of an outline are covered by less than a half, and so are tips of stars
                beside |= sum(np.roll(beside, step, axis) for step in (1, -1) for axis in (0, 1)) > 0
            assert not changed[~beside].any()
            assert changed[mask].mean() > 0.9
        assert one.masks.sum(0).max() == 1, "things touch no other"


def test_doubled_scenes_are_one_thing_twice():
    for seed in range(12):
        one = doubled(seed)
        left, right = np.split(one.image.astype(int), 2, axis=1)
        assert np.abs(left - right).max() <= 1  # a place is a number of float32
        assert (one.without[0][:, :64] == one.image[0, 0]).all()
        assert (one.without[1][:, 64:] == one.image[0, 0]).all()


def test_an_assembly_shows_its_class_twice_and_two_others():
    first, second = assembly(3, label=4), assembly(3, label=5)
    assert (first.label, second.label) == (4, 5)
    assert first.masks.shape == (4, 128, 128)
    assert (first.image[0, 0] == second.image[0, 0]).all(), "the label does not change the background"
    assert (assembly(3, label=4).image == first.image).all()
    assert (assembly((3, 1), label=4).image != first.image).any()
    with pytest.raises(ClassNotFound, match="no class 15"):
        doubled(0, label=15)


def test_a_batch_is_its_scenes():
    images, labels, masks, without = batch(assembly, 5, 2, size=64)
    one = assembly((5, 1), 64)
    assert (images[1].numpy() == one.image.transpose(2, 0, 1)).all()
    assert (masks[1].numpy() == one.masks).all()
    assert (without[1].numpy() == one.without.transpose(0, 3, 1, 2)).all()
    assert labels[1] == one.label
