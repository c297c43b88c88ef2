"""The ground-truth score: right by hand, blind controls at chance, and good methods above both controls."""

from __future__ import annotations

import pytest
import torch

from netlens import open_network
from netlens.attribution import GradCAM, GuidedGradCAM, IntegratedGradients
from netlens.errors import NetLensError
from netlens.evaluation import EdgeDetector, RandomMap, randomized, scoreboard, share_inside
from netlens.objectives import logit
from netlens.results import Attribution, Provenance
from netlens.weights import build
from netlens.world.scene import batch


def attribution(values: torch.Tensor) -> Attribution:
    image = torch.zeros(len(values), 3, 2, 2)
    return Attribution(values, image, Provenance("m", "n", "o"), reduction="signed")


def test_by_hand() -> None:
    values = torch.tensor([[[[3.0, -5.0], [0.0, 1.0]], [[1.0, 2.0], [-1.0, 0.0]]]])
    mask = torch.tensor([[[True, False], [True, False]]])
    assert share_inside(attribution(values), mask).tolist() == pytest.approx([4 / 7])
    assert share_inside(attribution(-values.abs()), mask).tolist() == [0]
    with pytest.raises(NetLensError, match="2 masks for 1 samples"):
        share_inside(attribution(values), mask.repeat(2, 1, 1))


def test_noise_scores_the_area_of_the_object_and_explanations_beat_the_controls() -> None:
    pictures, labels, masks = batch(11, 12)
    flat = open_network()
    x = flat.adapter.preprocessing.normalize(pictures / 255)
    methods = [RandomMap(), EdgeDetector(), GradCAM(), GuidedGradCAM(), IntegratedGradients(n_steps=10)]
    scores = scoreboard(flat, x, labels.tolist(), masks, methods)
    share = {score.method: score.mean for score in scores}
    assert [score.mean for score in scores] == sorted(share.values(), reverse=True)
    assert share["RandomMap"] == pytest.approx(masks.float().mean().item(), abs=0.005)
    best = max(share["RandomMap"], share["EdgeDetector"])
    assert all(share[name] > best for name in ("GradCAM", "GuidedGradCAM", "IntegratedGradients"))


def test_the_edge_detector_sees_an_edge_and_nothing_else() -> None:
    x = torch.zeros(1, 1, 6, 6)
    x[..., 3:] = 1
    values = EdgeDetector().attribute(open_network(), x, logit(0), "input")
    assert values[0, 0, 2].tolist() == [0, 0, 4, 4, 0, 0]


def test_randomized_is_a_copy_with_nothing_at_zero_or_one() -> None:
    network = build("mnasnet0_5")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    other = randomized(network, seed=1)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    state = {key: value for key, value in other.state_dict().items() if value.is_floating_point()}
    assert not any((value == 0).any() or (value == 1).all() for value in state.values())
    again, another = randomized(network, seed=1).state_dict(), randomized(network, seed=2).state_dict()
    assert all(torch.equal(again[key], value) for key, value in state.items())
    assert not any(torch.equal(another[key], value) for key, value in state.items())
