"""Several classes of one image: the same answers as one by one, from one set of perturbed runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from netlens import NetLens
from netlens.attribution import (
    RISE,
    AblationCAM,
    EigenCAM,
    GradCAM,
    IntegratedGradients,
    KernelShap,
    LayerCAM,
    Lime,
    Occlusion,
    Saliency,
    ScoreCAM,
    ShapleyCAM,
    SobolAttribution,
)
from netlens.attribution._suffix import (
    Suffix,
)
from netlens.attribution._windows import (
    Windows,
)
from netlens.attribution.method import Method
from netlens.evaluation import randomized
from netlens.flat import FlatModel, Hooks
from netlens.objectives import logit
from tests.networks.local import conv

TARGETS = [0, 3, 1]


def network() -> nn.Module:
    layers = (conv(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), conv(6, 8, 3), nn.ReLU())
    torch.manual_seed(0)
    return randomized(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 9, 5))).double()


FLAT = FlatModel.from_nn_Module(network())
IMAGE = torch.randn(1, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
COPIES = IMAGE.expand(len(TARGETS), -1, -1, -1)
QUARTERS = (torch.arange(12) // 6)[:, None] * 2 + torch.arange(12) // 6

METHODS = (
    Occlusion(window=4, stride=2),
    RISE(n_masks=20),
    ScoreCAM("5"),
    AblationCAM("5"),
    KernelShap(feature_mask=QUARTERS),
    Lime(feature_mask=QUARTERS, n_samples=12),
    SobolAttribution(n_samples=4),
)


PLAIN = (Saliency(), GradCAM("5"), LayerCAM("2"), EigenCAM("5"), ShapleyCAM("5"))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many variants each run computes."""
    counts: list[int] = []
    whole, window = Suffix._record, Windows._run_with

    def counted_whole(self, rows, at):
        counts.append(len(rows))
        return whole(self, rows, at)

    def counted_window(self, sample, windows, new):
        counts.append(len(windows))
        return window(self, sample, windows, new)

    monkeypatch.setattr(Suffix, "_record", counted_whole)
    monkeypatch.setattr(Windows, "_run_with", counted_window)
    return counts


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_classes_of_one_image_share_its_perturbed_runs(method: Method, runs: list[int]):
    apart = torch.cat([method(FLAT, IMAGE, logit(target)).values for target in TARGETS])
    count = sum(runs)
    runs.clear()
    together = method(FLAT, COPIES, logit(TARGETS)).values
    assert_close(together, apart, rtol=1e-9, atol=1e-12)
    assert 0 < sum(runs) <= count // len(TARGETS)  # fewer where a method draws the same variant twice


@pytest.mark.parametrize("method", PLAIN, ids=lambda method: type(method).__name__)
def test_classes_of_one_image_share_what_comes_before_them(method: Method):
    rows: list[int] = []

    class Counting(nn.Module):
        def forward(self, x):
            rows.append(len(x))
            return x

    targets = [*TARGETS, 2, 4, 0]
    apart = torch.cat([method(FLAT, IMAGE, logit(target)).values for target in targets])
    flat = FLAT.prepend("counting", Counting())
    for learned in (False, True):
        values = method(flat, IMAGE.expand(6, -1, -1, -1), logit(targets)).values
        assert_close(values, apart, rtol=1e-9, atol=1e-12)
        if learned:  # how layers hold samples, and that these do not change each other
            assert rows == [1]
        rows.clear()


def test_a_list_of_methods_shares_them_too_and_copies_stay_copies_in_inference_mode():
    methods = [GradCAM("5"), Saliency(), EigenCAM("5"), RISE(n_masks=20)]
    apart = [torch.cat([method(FLAT, IMAGE, logit(target)).values for target in TARGETS]) for method in methods]
    with torch.inference_mode():
        lens = NetLens(FLAT, IMAGE.clone(), target=TARGETS)
        assert lens.logits.shape == (3, 5) and len(lens.predictions(1)) == 3
        for attribution, one in zip(lens.attribute(methods), apart, strict=True):
            assert_close(attribution.values, one, rtol=1e-9, atol=1e-12)


def test_the_operations_saved_are_those_of_all_copies():
    method = Occlusion(window=4, stride=2)
    one, copies = method(FLAT, IMAGE, logit(0)).diagnostics, method(FLAT, COPIES, logit(TARGETS)).diagnostics
    full = one["macs"] + one["macs_saved"]
    assert_close(copies["macs"], torch.cat([one["macs"], torch.zeros(2, dtype=torch.float64)]))
    assert_close(copies["macs"] + copies["macs_saved"], full.expand(3))


def test_different_images_share_nothing():
    images = torch.cat([IMAGE, IMAGE + 0.1, -IMAGE])
    method = RISE(n_masks=20)
    apart = torch.cat([method(FLAT, x[None], logit(t)).values for x, t in zip(images, TARGETS, strict=True)])
    assert_close(method(FLAT, images, logit(TARGETS)).values, apart, rtol=1e-9, atol=1e-12)


def test_hooks_see_every_run():
    with Hooks(FLAT, "5") as hooks:
        Occlusion(window=6, stride=6)(FLAT, COPIES, logit(TARGETS))
        assert hooks["5"].activation.shape[1:] == (8, 3, 3)


def test_a_lens_explains_several_classes_of_one_image():
    lens = NetLens(FLAT, IMAGE, target=TARGETS)
    assert lens.targets == tuple(TARGETS) and lens.x.shape == (3, 3, 12, 12)
    attribution = lens.occlusion(window=4, stride=2)
    for i, target in enumerate(TARGETS):
        one = Occlusion(window=4, stride=2)(FLAT, IMAGE, logit(target))
        assert_close(attribution.values[i], one.values[0], rtol=1e-9, atol=1e-12)


def test_several_classes_at_a_pooled_layer_whatever_its_strides() -> None:
    module = nn.Sequential(conv(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).double()
    flat = FlatModel.from_nn_Module(module.to(memory_format=torch.channels_last))
    x = IMAGE.contiguous(memory_format=torch.channels_last)
    method = IntegratedGradients(n_steps=4)
    copies = method(flat, x.expand(2, -1, -1, -1), logit([0, 3]), "2").values
    assert_close(copies, torch.cat([method(flat, x, logit(target), "2").values for target in (0, 3)]))
