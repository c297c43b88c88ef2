"""What perturbs small regions, or runs forwards only, gives what full runs of the plain network give."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import (
    METHODS,
    FeatureAblation,
    Occlusion,
    chunks_of,
    patches,
)
from netlens.attribution import _suffix as suffix_module
from netlens.attribution import _windows as windows_module
from netlens.attribution._suffix import (
    Suffix,
)
from netlens.attribution._windows import (
    Windows,
)
from netlens.attribution.mixing import mixing
from netlens.attribution.perturbation._boxes import (
    Box,
    boxes,
)
from netlens.errors import NetLensWarning
from netlens.flat import FlatModel, Hooks
from netlens.flat.grid import layout_at
from netlens.flat.layout import layout_of
from netlens.objectives import channel, logit
from netlens.results import Attribution
from tests.applicability.table import A_CLASS, AT_A_LAYER, applying
from tests.networks.families import SOME, SPATIAL

DIFFERENT = (*SOME, "mobilenet", "swin")


def by_full_runs(monkeypatch, run) -> Attribution:
    """With neither the fast twin nor patches."""
    with monkeypatch.context() as patched:
        patched.setattr(suffix_module, "fast", lambda flat, keep=(): flat)
        patched.setattr(windows_module, "tapped_visit", lambda flat: lambda step, inputs: step.layer(*inputs))
        return run()


@applying(A_CLASS, families=DIFFERENT)
def test_the_fast_way_gives_what_full_runs_of_the_plain_network_give(method, case, monkeypatch):
    check_the_fast_way(method, case, "input", monkeypatch)


@applying(AT_A_LAYER, families=DIFFERENT)
def test_so_it_does_at_a_layer(method, case, monkeypatch):
    check_the_fast_way(method, case, case.family.middle, monkeypatch)


def check_the_fast_way(method, case, wrt, monkeypatch):
    def run():
        return method(case.flat, case.x, case.objective, wrt=wrt).values

    ours, plain = run(), by_full_runs(monkeypatch, run)
    assert plain.abs().max() > 0
    assert_close(ours, plain, rtol=1e-8, atol=1e-10 * float(plain.abs().max()))


def windows_of(case) -> int:
    """How many layers there are patches for."""
    windows = Windows.of(Suffix.of(case.flat, case.x, logit(0), "input", many=True))
    return 0 if windows is None else len(windows._of(0).local)


@pytest.mark.parametrize("case", SPATIAL, indirect=True)
@pytest.mark.parametrize("window, stride", [(1, 5), (2, 1), ((7, 4), (3, 9)), (11, 11), (100, 3)])
def test_occlusion_is_full_recomputation(case, window, stride, monkeypatch):
    """At borders and corners, on odd sizes, with windows larger than the stride, and larger than the image."""
    assert windows_of(case) > 0
    x = case.x[:1, :, :19, :16] if case.name in ("plain", "branches", "gray") else case.x[:1]
    stride = stride if stride != 1 else (3, 5)

    def run():
        return Occlusion(window, stride, baselines=0.4)(case.flat, x, logit(case.targets[0]))

    ours, full = run(), by_full_runs(monkeypatch, run)
    assert_close(ours.values, full.values, rtol=1e-9, atol=1e-11)
    assert set(ours.diagnostics) == {"macs", "macs_saved"} and not full.diagnostics


def regions(case) -> Tensor:
    """Compact ones of odd forms, one in two far corners, one in a single channel, and the rest of the picture."""
    channels, height, width = case.x.shape[1:]
    mask = torch.zeros(channels, height, width, dtype=torch.long)
    mask[:, 2:5, 3:9] = 1
    mask[:, 4:8, 3:5] = 2
    mask[:, 0, 0] = mask[:, -1, -1] = 3
    mask[-1, 9:12, 9:13] = 4
    mask[:, :4, -3:] = 5
    return mask


@pytest.mark.parametrize("case", SPATIAL, indirect=True)
@pytest.mark.parametrize("per_sample", [False, True])
def test_feature_ablation_is_full_recomputation(case, per_sample, monkeypatch):
    mask = regions(case)[None]
    if per_sample:
        mask = torch.cat([mask, mask.flip(2), mask.roll(3, 3)])

    def run(chunk=4):
        with chunks_of(chunk):
            return FeatureAblation(mask, baselines=0.2)(case.flat, case.x, logit(list(case.targets)))

    ours, full = run(), by_full_runs(monkeypatch, run)
    assert_close(ours.values, full.values, rtol=1e-9, atol=1e-11)
    assert_close(run(100).values, full.values, rtol=1e-9, atol=1e-11)
    assert set(ours.diagnostics) == {"macs", "macs_saved"} and not full.diagnostics


def test_boxes_hold_their_features():
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 7, (2, 5, 6), generator=generator)
    for feature, box in enumerate(boxes(mask, 7)):
        _, rows, columns = (mask == feature).nonzero().T
        assert box == Box(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)


def pencil() -> tuple[FlatModel, Tensor]:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 3, 1), nn.Flatten(), nn.Linear(1200, 2)
    )
    x = torch.randn(2, 1, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return FlatModel.from_nn_Module(network.double()), x


def test_the_operations_done_and_saved_with_a_pencil():
    flat, x = pencil()
    full = 400 * 2 * 9 + 400 * 3 * 2 + 1200 * 2
    # four windows of 2 by 2 in the corners reach 3 by 3 pixels, and the linear layer sees them all
    window = 9 * 2 * 9 + 9 * 3 * 2 + 1200 * 2
    result = Occlusion(window=2, stride=18)(flat, x, logit(0))
    assert result.diagnostics["macs"].tolist() == [full + 4 * window] * 2
    assert result.diagnostics["macs_saved"].tolist() == [4 * (full - window)] * 2
    assert result[1].diagnostics["macs"].tolist() == [full + 4 * window]
    # one feature is a corner, and for the other, all of the rest, nothing can be saved
    mask = torch.zeros(20, 20, dtype=torch.long)
    mask[:2, :2] = 1
    with chunks_of(1):
        result = FeatureAblation(mask)(flat, x, logit(0))
    assert result.diagnostics["macs"].tolist() == [full + window + full] * 2
    assert result.diagnostics["macs_saved"].tolist() == [full - window] * 2


def test_small_features_save_most_of_the_work(cases):
    case = cases["plain"]
    diagnostics = FeatureAblation(patches(15, 20, 75))(case.flat, case.x, logit(list(case.targets))).diagnostics
    assert (diagnostics["macs_saved"] > diagnostics["macs"]).all()


@pytest.mark.parametrize("method", [Occlusion(5, 4), FeatureAblation(patches(15, 20, 6))])
def test_hooks_see_full_runs_of_the_network_itself(method, cases):
    case = cases["plain"]
    usual = method(case.flat, case.x, logit(0))
    with Hooks(case.flat, ["trunk.0"]) as hooks:
        watched = method(case.flat, case.x, logit(0))
    assert hooks["trunk.0"].activation.shape[2:] == case.x.shape[2:]
    assert_close(watched.values, usual.values, rtol=1e-9, atol=1e-12)
    assert usual.diagnostics and not watched.diagnostics


def test_an_objective_that_reads_several_layers(cases, monkeypatch):
    """Some before the point where patches end, one after it, and the output."""
    case = cases["branches"]
    objective = logit(0) + channel("one", 1) * 0.5 - channel("norm", 0) - channel("stem", 1)
    for wrt in ("input", "max_pool2d"):
        for method in (Occlusion(3, 2), FeatureAblation(n_segments=6)):

            def run(method=method, wrt=wrt):
                return method(case.flat, case.x, objective, wrt=wrt).values

            assert_close(run(), by_full_runs(monkeypatch, run), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("convention", ["paper", "torchcam"])
def test_what_comes_before_the_layer_of_ablation_and_score_cam_runs_once(convention, cases):
    """Ablation-CAM runs the rest of the network only; Score-CAM, which changes the input, all of it."""
    case = cases["plain"]
    early: list[int] = []
    late: list[int] = []

    def counting(rows: list[int]) -> nn.Module:
        class Counting(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                rows.append(len(x))
                return x

        return Counting()

    flat = case.flat.insert_after("input", "early", counting(early)).insert_after("trunk.3", "late", counting(late))
    dead = torch.ones(8, 1, 1, dtype=torch.float64)
    dead[2] = dead[5] = 0

    class Killing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * dead

    flat = flat.insert_after("trunk.3", "killing", Killing())
    mixing(flat, case.x)  # it is told once that samples do not change each other
    # and once where the positions of the input and of the layer lie
    layout_of(flat, {"input": case.x})
    layout_at(flat, "killing", case.flat(case.x, until="trunk.3").shape, case.x)
    early.clear()
    late.clear()
    METHODS["ablation_cam"](layer="killing")(flat, case.x, logit(0))
    assert sum(early) == 3 + (1 + 1 + 2)  # once more, of two samples alone and together, to tell whose the rows are
    # each of the six channels that live, and the samples themselves
    assert sum(late) == 3 * (6 + 1)
    early.clear()
    METHODS["score_cam"](layer="killing", convention=convention)(flat, case.x, logit(0))
    black = convention != "paper"  # one run for all dead channels
    assert sum(early) == 3 * (6 + black) + 3  # and the samples themselves


def test_a_window_that_covers_everything_is_told():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    flat, x = FlatModel.from_nn_Module(network), torch.randn(2, 3, 12, 16)
    with pytest.warns(NetLensWarning, match=r"one window covers all of 'input' \(12 x 16\).*smaller window than 32"):
        values = Occlusion()(flat, x, logit(0)).values
    assert all(torch.allclose(sample, sample[0, 0, 0]) for sample in values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Occlusion(4, 2)(flat, x, logit(0)).values.std() > 0
