"""What the bundled network looks at: claims about `shapes` and the scenes of its little world, as tests.

Run it with `pytest nbs/claims --netlens-report out/claims`; docs/testing.md explains it line by line.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from netlens import NetLens, open_network
from netlens.evaluation import EdgeDetector, randomized
from netlens.testing import assert_complete, assert_ignores, assert_looks_at, assert_same_reason, assert_sane
from netlens.world.scene import Scene, scene


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Six scenes that the network has not seen; seeds of its training begin with other numbers."""
    return [scene((2026, i)) for i in range(6)]


@pytest.fixture(scope="module")
def lens(scenes: list[Scene]) -> NetLens:
    return NetLens(open_network("shapes"), [one.image for one in scenes])


def test_it_knows_the_classes(lens: NetLens, scenes: list[Scene]) -> None:
    """Without this, the claims below would be about mistakes."""
    assert list(lens.targets) == [one.label for one in scenes]


@pytest.mark.parametrize(("method", "share"), [("grad_cam", 0.4), ("integrated_gradients", 0.5), ("lrp", 0.75)])
def test_it_looks_at_the_object(lens: NetLens, scenes: list[Scene], method: str, share: float) -> None:
    masks = np.stack([one.mask for one in scenes])
    assert_looks_at(lens, masks, share, method, over="mean")


def test_it_does_not_need_the_other_things(lens: NetLens, scenes: list[Scene]) -> None:
    others = [i for i, one in enumerate(scenes) if one.others.any()]
    shown = NetLens(lens.flat, [scenes[i].image for i in others])
    assert_ignores(shown, np.stack([scenes[i].others for i in others]), 0.1, over="mean")


def test_it_needs_the_object(lens: NetLens, scenes: list[Scene]) -> None:
    """A claim that must fail: the opposite of what is so."""
    with pytest.raises(AssertionError, match="it is not so that the network shapes ignores the region"):
        assert_ignores(lens, np.stack([one.mask for one in scenes]))


def test_contributions_add_up(lens: NetLens) -> None:
    assert_complete(lens.deep_lift(), 0.001)
    assert_complete(lens.integrated_gradients(n_steps=100), 0.1)


@pytest.mark.parametrize("method", ["grad_cam", "integrated_gradients"])
def test_the_method_shows_the_network(method: str, lens: NetLens, scenes: list[Scene]) -> None:
    assert_sane(method, lens.flat, [one.image for one in scenes[:3]])


@pytest.mark.xfail(raises=AssertionError, strict=True, reason="a detector of edges knows nothing of the network")
def test_edges_show_the_network(lens: NetLens, scenes: list[Scene]) -> None:
    assert_sane(EdgeDetector(), lens.flat, [one.image for one in scenes[:3]])


def test_rounded_weights_have_the_same_reason(lens: NetLens, scenes: list[Scene]) -> None:
    """Weights of 8 bits, each layer on a scale of its own."""
    network = open_network("shapes")
    rounded = copy.deepcopy(network)
    with torch.no_grad():
        for weight in rounded.parameters():
            step = weight.abs().max() / 127
            weight.copy_((weight / step).round() * step)
    assert_same_reason(network, rounded, [one.image for one in scenes], 0.95)


def test_random_weights_have_another_reason(lens: NetLens, scenes: list[Scene]) -> None:
    with pytest.raises(AssertionError, match="it is not so that"):
        assert_same_reason(lens.flat, randomized(open_network("shapes")), [one.image for one in scenes])
