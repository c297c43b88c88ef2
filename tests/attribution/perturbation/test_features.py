"""Features and their masks; feature ablation against captum and with a pencil."""

from __future__ import annotations

import sys
from dataclasses import replace

import captum.attr as captum
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import (
    FeatureAblation,
    KernelShap,
    Lime,
    ShapleyValueSampling,
    chunks_of,
    patches,
    superpixels,
)
from netlens.attribution.mixing import mixing
from netlens.attribution.perturbation._masks import (
    default_mask,
    numbered,
)
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.grid import layout_at
from netlens.flat.layout import layout_of
from netlens.objectives import logit

METHODS = [
    FeatureAblation(),
    ShapleyValueSampling(n_samples=3),
    KernelShap(n_samples=41),
    Lime(n_samples=40, alpha=0),
]
IDS = [type(method).__name__ for method in METHODS]


class Formula(nn.Module):
    """A network that is a formula of its inputs."""

    def __init__(self, formula) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(*(x[:, i] for i in range(self.formula.__code__.co_argcount)))[:, None]


def masks_of(case, per_sample: bool) -> Tensor:
    """Features of any shape, with numbers that have gaps."""
    generator = torch.Generator().manual_seed(5)
    shape = (3 if per_sample else 1, *case.x.shape[1:])
    return 3 * torch.randint(0, 6, shape, generator=generator) - 4


# captum


def against_captum(case, mask, baselines, **options):
    def forward(x):
        scores = case.module(x)
        scores = scores["logits"] if isinstance(scores, dict) else scores
        return scores if scores.ndim == 2 else scores[:, None]

    theirs = captum.FeatureAblation(forward).attribute(case.x, baselines, list(case.targets), feature_mask=mask)
    ours = FeatureAblation(mask, baselines=baselines, **options)(case.flat, case.x, logit(list(case.targets))).values
    assert theirs.abs().max() > 0
    assert (ours - theirs).abs().max() <= 1e-10 * theirs.abs().max()


@pytest.mark.parametrize("per_sample", [False, True])
def test_feature_ablation_is_captums(case, per_sample):
    against_captum(case, masks_of(case, per_sample), 0.3)


def test_feature_ablation_is_captums_with_a_picture_as_the_baseline(core_case):
    baseline = torch.randn_like(core_case.x[:1])
    against_captum(core_case, patches(*core_case.x.shape[2:], 9)[None, None], baseline)
    against_captum(core_case, superpixels(core_case.flat, core_case.x, 9), baseline.expand_as(core_case.x))


def test_feature_ablation_of_single_entries_is_captums_default(cases):
    case = cases["vectors"]
    theirs = captum.FeatureAblation(case.module).attribute(case.x, target=list(case.targets))
    assert_close(FeatureAblation()(case.flat, case.x, logit(list(case.targets))).values, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["resnet", "vit", "vectors"])
def test_feature_ablation_at_a_layer_is_captums(cases, name):
    case = cases[name]
    wrt = case.family.middle
    activation = case.flat(case.x, until=wrt)
    mask = (torch.arange(activation[0].numel()) * 7 % 5).view(1, *activation.shape[1:])
    layer = case.module.get_submodule(wrt)
    theirs = captum.LayerFeatureAblation(case.module, layer).attribute(
        case.x, layer_baselines=0.1, target=list(case.targets), layer_mask=mask
    )
    ours = FeatureAblation(mask, baselines=0.1)(case.flat, case.x, logit(list(case.targets)), wrt=wrt).values
    assert (ours - theirs).abs().max() <= 1e-10 * theirs.abs().max()


# laws that all methods over features share


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_a_linear_network_gives_each_feature_its_share(method):
    module = nn.Linear(12, 2).double()
    flat = FlatModel.from_nn_Module(module)
    x = torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 4, 4, 5, 0])
    share = (module.weight[1] * (x - 0.4)).detach()
    feature = torch.zeros(3, 6, dtype=torch.float64).index_add_(1, mask, share)
    values = replace(method, feature_mask=mask, baselines=0.4)(flat, x, logit(1)).values
    assert_close(values, feature[:, mask], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("method", [*METHODS[:2], KernelShap(n_samples=100)], ids=IDS[:3])
def test_what_adds_nothing_gets_nothing(method):
    """LIME only nearly so: to a line through random trials, what a feature does not explain may look like another's."""
    flat = FlatModel.from_nn_Module(Formula(lambda a, b, c, d, e: (a * b).sigmoid() + c * (a + b) + 0 * d))
    x = torch.tensor([[1.0, 1.0, -2.0, 5.0, 3.0]], dtype=torch.float64)
    values = method(flat, x, logit(0)).values[0]
    assert_close(values[3:], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-14)
    assert values[:3].abs().min() > 0.1


def test_ablation_with_a_pencil():
    flat = FlatModel.from_nn_Module(Formula(lambda a, b, c: a * b + 2 * c))
    x = torch.tensor([[3.0, 5.0, 7.0]], dtype=torch.float64)
    # without a, or b, the product is gone; with both in one feature it is gone once
    assert FeatureAblation()(flat, x, logit(0)).values.tolist() == [[15, 15, 14]]
    together = FeatureAblation(torch.tensor([8, 8, -1]))(flat, x, logit(0)).values
    assert together.tolist() == [[15, 15, 14]]
    assert FeatureAblation(baselines=torch.tensor([1.0, 4.0, 9.0]))(flat, x, logit(0)).values.tolist() == [[10, 3, -4]]


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_samples_may_differ_in_their_number_of_features(method, cases):
    case = cases["plain"]
    rough, fine = patches(15, 20, 3), patches(15, 20, 8)
    mask = torch.stack([rough, fine, rough + 40])[:, None]
    values = replace(method, feature_mask=mask)(case.flat, case.x, logit(list(case.targets))).values
    for i, target in enumerate(case.targets):
        single = replace(method, feature_mask=mask[i])(case.flat, case.x[i : i + 1], logit(target)).values
        assert_close(values[i : i + 1], single, rtol=1e-9, atol=1e-12)
        assert len(values[i].unique()) == (8 if i == 1 else 3)


@pytest.mark.parametrize(
    ("method", "runs"),
    [
        (FeatureAblation(), 1 + 6),
        (ShapleyValueSampling(n_samples=4), 2 + 4 * 5),
        (KernelShap(n_samples=21), 2 + 21),
        (KernelShap(n_samples=1000), 2**6),
        (Lime(n_samples=21), 21),
    ],
)
def test_no_run_is_wasted_and_none_is_larger_than_the_chunk(method, runs, cases):
    case = cases["plain"]
    batches = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            batches.append(len(x))
            return x

    flat = case.flat.prepend("counting", Counting())
    mask = patches(15, 20, 6)
    mixing(flat, case.x)  # it is told once that samples do not change each other
    # and once where the positions of the input and of the layer lie
    layout_of(flat, {"input": case.x})
    layout_at(flat, "counting", case.x.shape, case.x)
    batches.clear()
    with chunks_of(5):
        replace(method, feature_mask=mask)(flat, case.x, logit(0), wrt="counting")
    assert sum(batches) == 3 + (1 + 1 + 2)  # what comes before runs once, and once more to tell whose the rows are
    batches.clear()
    with chunks_of(5):
        replace(method, feature_mask=mask)(flat, case.x, logit(0), wrt="counting")
    assert sum(batches) == 3
    batches.clear()
    with chunks_of(5):
        replace(method, feature_mask=mask)(flat, case.x, logit(0))
    assert sum(batches) == 3 * runs and max(batches) == 5


# masks


def test_patches_divide_a_map_evenly():
    for height, width, n in ((224, 224, 50), (15, 20, 6), (7, 7, 50), (1, 9, 4), (40, 3, 5), (5, 5, 1)):
        mask = patches(height, width, n)
        count = int(mask.max()) + 1
        assert 0.7 * n < count <= n or count == height * width
        corners = [(mask == feature).nonzero() for feature in range(count)]
        extents = torch.stack([(where.amax(0) - where.amin(0) + 1) for where in corners])
        assert [len(where) for where in corners] == extents.prod(1).tolist()  # rectangles
        assert (extents.amax(0) - extents.amin(0)).max() <= 1
    with pytest.raises(NetLensError, match="n_segments is 0, but must be a whole number of at least 1"):
        patches(4, 4, 0)


def test_superpixels_follow_the_edges_of_a_picture_whatever_its_preprocessing(cases):
    flat = cases["resnet"].flat
    picture = torch.zeros(2, 3, 48, 48)
    picture[:, 0], picture[:, 1, :, :24] = 0.9, 0.8
    picture[1] = picture[1].flip(2) + 0.05
    mean, std = (
        torch.tensor(v)[:, None, None] for v in (flat.adapter.preprocessing.mean, flat.adapter.preprocessing.std)
    )
    masks = superpixels(flat, (picture - mean) / std, 16)
    assert masks.shape == (2, 1, 48, 48) and not masks.is_floating_point()
    for i, (mask, left) in enumerate(zip(masks, (True, False), strict=True)):
        count = int(mask.max()) + 1
        assert 8 <= count <= 24 and torch.equal(mask.unique(), torch.arange(count))
        sides = set(mask[..., :24].unique().tolist()), set(mask[..., 24:].unique().tolist())
        assert not sides[0] & sides[1], left
        assert torch.equal(superpixels(flat, (picture[i : i + 1] - mean) / std, 16)[0], mask)


def test_superpixels_of_noise_and_of_gray(cases):
    gray = cases["gray"]
    for case in (gray, cases["resnet"]):
        counts = superpixels(case.flat, case.x, 12).amax((1, 2, 3)) + 1
        assert (counts >= 6).all() and (counts <= 18).all()


def test_superpixels_without_scikit_image_name_the_extra(cases, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    case = cases["plain"]
    with pytest.raises(NotApplicable, match=r"pip install 'netlens\[superpixels\]', or give a feature_mask") as caught:
        FeatureAblation()(case.flat, case.x, logit(0))
    assert "\n" not in str(caught.value)
    FeatureAblation(patches(15, 20, 4))(case.flat, case.x, logit(0))
    with pytest.raises(NotApplicable, match=r"superpixels need pictures \(N, 1 or 3, H, W\), not \(2, 5\)"):
        superpixels(case.flat, torch.zeros(2, 5))


@pytest.mark.parametrize(
    ("name", "wrt", "shape"),
    [
        ("vectors", "input", (1, 9)),
        ("vit", "encoder.layers.encoder_layer_0", (1, 17, 1)),
        ("swin", "features.1", (1, 16, 16, 1)),
        ("plain", "trunk.3", (1, 1, 5, 8)),
        ("plain", "input", (3, 1, 15, 20)),
    ],
)
def test_the_default_features_are_the_places(cases, name, wrt, shape):
    case = cases[name]
    wrt = case.flat.key(wrt)
    at = case.x if wrt == "input" else case.flat(case.x, until=wrt)
    mask = default_mask(case.flat, wrt, at, 1000)
    assert mask.shape == shape
    assert (wrt == "input" and name == "plain") or mask.unique().numel() == mask.numel()
    few = default_mask(case.flat, wrt, at, 4)
    assert len(few.unique()) == (len(mask.unique()) if name in ("vectors", "vit") else 4)


def test_a_mask_that_does_not_fit_is_refused(cases):
    case = cases["plain"]
    for wrong, message in (
        (torch.zeros(3, 15, 21, dtype=torch.long), r"shape \(3, 15, 21\) does not broadcast .* \(3, 3, 15, 20\)"),
        (torch.zeros(1, 3, 3, 15, 20, dtype=torch.long), "does not broadcast"),
        (torch.zeros(15, 20), "tensor of integers .* not torch.float32"),
        ([[0, 1]], "feature_mask is .*, but must be a Tensor or None"),
    ):
        with pytest.raises(NetLensError, match=message):
            FeatureAblation(wrong)(case.flat, case.x, logit(0))


def test_features_are_numbered_sample_by_sample():
    mask, counts = numbered(torch.tensor([[7, -2, 7], [5, 9, 0]]), torch.zeros(2, 3))
    assert mask.tolist() == [[1, 0, 1], [1, 2, 0]] and counts == (2, 3)
    mask, counts = numbered(torch.tensor([True, False, True]), torch.zeros(4, 3))
    assert mask.tolist() == [[1, 0, 1]] * 4 and counts == (2,) * 4
