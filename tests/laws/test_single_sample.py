"""Networks whose forward takes one sample only: methods run their variants, and users their batches, one by one."""

from __future__ import annotations

import warnings
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from netlens import NetLens
from netlens.attribution import (
    METHODS,
    DeepLift,
    GradCAM,
    InformationBottleneck,
    IntegratedGradients,
    Method,
    Occlusion,
    Saliency,
    SmoothGradient,
    together,
)
from netlens.attribution.mixing import mixing
from netlens.attribution.singly import takes_one
from netlens.errors import NetLensWarning, NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.objectives import logit, output
from tests.small import small


class Turned(nn.Module):
    """A network that looks sharper at one side, by places turned by one matrix; `many` has a row of it each."""

    def __init__(self, many: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.turn = nn.Parameter(torch.tensor([[0.9, 0.2, 0.05], [-0.1, 1.1, 0.02]]))
        self.second = nn.Conv2d(4, 6, 3, padding=1)
        self.last = nn.ReLU()
        self.head = nn.Linear(6, 5)
        self.many = many

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        turn = self.turn.expand(x.shape[0], 2, 3) if self.many else self.turn[None]
        places = F.affine_grid(turn, x.shape, align_corners=False)
        x = x * (2 + places[..., :1].permute(0, 3, 1, 2))
        return self.head(self.last(self.second(x)).mean((2, 3)))


class Squeezed(Turned):
    """Takes its one sample out of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        maps = self.last(self.second(self.act(self.first(x))))
        return self.head(maps[0].mean((1, 2)))[None] if not self.many else self.head(maps.mean((2, 3)))


KINDS = {"affine grid": Turned, "first of all": Squeezed}
X = torch.randn(3, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
TARGETS = [0, 3, 1]


def flats(kind: type[Turned]) -> tuple[FlatModel, FlatModel]:
    """The network that takes one sample, and the same for many."""
    torch.manual_seed(0)
    many = randomized(kind(True)).double()
    one = kind(False).double().eval()
    one.load_state_dict(many.state_dict())
    return FlatModel.from_nn_Module(one), FlatModel.from_nn_Module(many)


# what these read lies in other layers of the network that takes one sample than of the one that takes many: the mean
# over space of a map of one sample, and the places that are turned, which have biases of their own
APART = [("first of all", "cam"), ("affine grid", "full_grad")]


@pytest.mark.parametrize(("kind", "name"), [pair for pair in product(KINDS, METHODS) if pair not in APART])
def test_every_method_gives_what_it_gives_where_many_are_taken(kind, name):
    one, many = flats(KINDS[kind])
    method = small(name)
    expected = answer(method, many, X)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", ".* covers ")  # of occlusion
        values = answer(method, one, X)
        single = answer(method, one, X[:1])
        again = answer(method, one, X)
    if expected is None:
        assert values is None and single is None
        return
    assert_close(values, expected, rtol=1e-8, atol=1e-11)
    assert_close(again, values, rtol=0, atol=0)
    assert_close(single, expected[:1], rtol=1e-8, atol=1e-11)
    messages = [str(warning.message) for warning in record if issubclass(warning.category, NetLensWarning)]
    assert len(messages) <= 1  # none by what never runs more than one to the end
    assert all(text.startswith(f"{one.name} takes only one sample at a time") for text in messages)


@pytest.mark.parametrize("name", [name for name in METHODS if ("affine grid", name) not in APART])
def test_one_sample_alone_is_explained_too_with_variants_one_by_one(name):
    one, many = flats(Turned)
    method = small(name)
    expected = answer(method, many, X[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NetLensWarning)
        values = answer(method, one, X[:1])
    assert (expected is None) == (values is None)
    if expected is not None:
        assert_close(values, expected, rtol=1e-8, atol=1e-11)


def answer(method: Method, flat: FlatModel, x: Tensor) -> Tensor | None:
    try:
        return method(flat, x, logit(TARGETS[: len(x)])).values
    except NotApplicable as refusal:
        assert "one sample" not in str(refusal)
        return None


def test_the_warning_names_the_network_and_why_and_comes_once():
    one, _ = flats(Turned)
    with pytest.warns(
        NetLensWarning, match=r"turned takes only one sample at a time, .* one by one: .*(batch|size|grid)"
    ):
        IntegratedGradients(n_steps=3)(one, X[:1], logit(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Occlusion(4, 4)(one, X[:1], logit(0))
        Saliency()(one, X, logit(0))
        Saliency()(one, X[:, :, :7], logit(0))


def test_nothing_is_said_or_tried_where_one_sample_is_all_that_runs():
    one, _ = flats(Turned)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Saliency()(one, X[:1], logit(0))
        GradCAM("last")(one, X[:1], logit(0))
        assert mixing(one, X) == ()


def test_options_with_a_row_for_each_sample_are_taken_apart_with_them():
    one, many = flats(Turned)
    baselines = torch.rand(3, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mask = torch.arange(9 * 8).view(1, 1, 9, 8) // torch.tensor([6, 9, 12]).view(3, 1, 1, 1)
    methods = [
        IntegratedGradients(n_steps=4, baselines=baselines),
        DeepLift(baselines=baselines),
        METHODS["feature_ablation"](feature_mask=mask, baselines=baselines),
        METHODS["deep_lift_shap"](baselines=baselines),
        METHODS["gradient_shap"](baselines=baselines, n_samples=4),
        SmoothGradient(n_samples=2, method=IntegratedGradients(n_steps=2, baselines=baselines)),
        InformationBottleneck("last", n_steps=2, n_samples=2, reference=baselines),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NetLensWarning)
        for method in methods:
            attribution, expected = (method(flat, X, logit(TARGETS)) for flat in (one, many))
            assert_close(attribution.values, expected.values, rtol=1e-8, atol=1e-11)
            for name in expected.diagnostics.keys() & {"completeness_gap"}:
                assert_close(attribution.diagnostics[name], expected.diagnostics[name], rtol=1e-7, atol=1e-10)


def test_the_facade_explains_a_batch_and_several_methods_at_once():
    one, many = flats(Turned)
    expected = NetLens(many, X)
    with pytest.warns(NetLensWarning, match="one sample"):
        lens = NetLens(one, X)
    assert_close(lens.logits, expected.logits)
    attributions, wanted = (
        each.attribute(["saliency", "grad_cam", "eigen_cam", "occlusion"]) for each in (lens, expected)
    )
    for attribution, other in zip(attributions, wanted, strict=True):
        assert_close(attribution.values, other.values, rtol=1e-8, atol=1e-11)
    fresh, _ = flats(Turned)
    with pytest.warns(NetLensWarning, match="one sample"), together([Saliency()], fresh, X, logit(0)) as x:
        assert_close(Saliency()(fresh, x, logit(0)).values, Saliency()(many, X, logit(0)).values)
    several = NetLens(one, X[:1], target=[0, 1, 2])
    assert_close(several.saliency().values, NetLens(many, X[:1], target=[0, 1, 2]).saliency().values)


def test_what_fails_for_other_reasons_says_so():
    one, many = flats(Turned)
    assert takes_one(many, X) is None
    wide = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    for flat in (one, many):
        with pytest.raises(RuntimeError, match="channels"):
            Saliency()(flat, wide, logit(0))
    of_all = output(lambda scores: scores[:, 0] * scores.mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NetLensWarning)
        with pytest.raises(NotApplicable, match="needs a whole batch, but turned takes only one sample"):
            Saliency()(one, X, of_all)
