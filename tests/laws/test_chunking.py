"""Chunks change nothing: where samples of a batch influence each other, it runs as one, or a method refuses."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import (
    METHODS,
    DeepLift,
    GradCAM,
    GradientShap,
    GuidedBackprop,
    InputGradient,
    IntegratedGradients,
    InternalInfluence,
    LayerConductance,
    Method,
    SmoothGradient,
    chunks_of,
)
from netlens.attribution.mixing import mixing
from netlens.errors import NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel, Hooks
from netlens.objectives import logit, output
from tests.small import small

Between = Callable[[nn.Module, Tensor], Tensor]


def batch_norm(part: nn.Module, x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, part.weight, part.bias, training=True)


def opaque(part: nn.Module, x: Tensor) -> Tensor:
    return batch_norm(part, x) if x.sum() > -1e9 else x


def hand_written(part: nn.Module, x: Tensor) -> Tensor:
    return (x - x.mean(0)) / (x.std((0, 2, 3), keepdim=True, correction=0) + 1)


def attention_over_the_batch(part: nn.Module, x: Tensor) -> Tensor:
    rows = x.flatten(1)
    return ((rows @ rows.T / rows.shape[1]).softmax(1) @ rows).view_as(x)


MIXED: dict[str, Between] = {
    "a module": lambda part, x: part.norm(x),
    "a function": batch_norm,
    "an opaque part": opaque,
    "by hand": hand_written,
    "attention": attention_over_the_batch,
    "a global mean": lambda part, x: x * x.abs().mean(),
    "a sum over samples": lambda part, x: x + 0.1 * x.sum(0, keepdim=True),
    "a count of them": lambda part, x: x / x.shape[0],
}
APART: dict[str, Between] = {
    "nothing": lambda part, x: x,
    "instance norm": lambda part, x: F.instance_norm(x),
    "instance norm as batch norm": lambda part, x: F.batch_norm(
        x.reshape(1, -1, *x.shape[2:]), None, None, training=True
    ).view_as(x),
    "samples last": lambda part, x: x.permute(1, 2, 3, 0).softmax(0).permute(3, 0, 1, 2),
    "rows of all samples": lambda part, x: (
        part.mix(x.permute(2, 3, 0, 1).reshape(-1, 4)).view(*x.shape[2:], -1, 4).permute(2, 3, 0, 1)
    ),
    "an opaque part": lambda part, x: x * 2 if x.sum() > -1e9 else x,
    "squeeze and excitation": lambda part, x: x * x.mean((2, 3), keepdim=True).sigmoid(),
}


class Net(nn.Module):
    def __init__(self, between: Between) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.part = Part(between)
        self.second = nn.Conv2d(4, 6, 3, padding=1)
        self.last = nn.ReLU()
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.second(self.part(self.act(self.first(x))))).mean((2, 3)))


class Part(nn.Module):
    def __init__(self, between: Between) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)
        self.weight, self.bias = nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4))
        self.mix = nn.Linear(4, 4)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.between(self, x)


def flat_of(between: Between) -> FlatModel:
    torch.manual_seed(0)
    return FlatModel.from_nn_Module(randomized(Net(between)).double())


shared = cache(flat_of)


X = torch.randn(3, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
X = X * torch.tensor([1.0, 3.0, 0.3], dtype=torch.float64)[:, None, None, None]
TARGETS = [0, 3, 1]


@pytest.mark.parametrize("kind", MIXED)
def test_what_mixes_samples_is_found(kind):
    flat = flat_of(MIXED[kind])
    (first, *_) = mixing(flat, X)
    assert first.split(".")[0] == "part"
    assert mixing(flat, X[:1]) == mixing(flat, X)
    with Hooks(flat, "first"):
        assert mixing(flat_of(MIXED[kind]), X) == mixing(flat, X)


@pytest.mark.parametrize("kind", APART)
def test_what_keeps_samples_apart_is_not_accused(kind):
    assert mixing(flat_of(APART[kind]), X) == ()


def test_each_place_where_samples_mix_is_found():
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(x - x.mean((0, 2, 3), keepdim=True))
            return torch.sigmoid(x * x.std((0, 2, 3), keepdim=True)).mean((2, 3))

    flat = FlatModel.from_nn_Module(Twice())
    assert mixing(flat, X) == ("mean", "sub", "std", "mul")  # which of two that are read together it is, no run tells
    assert IntegratedGradients()(flat, X[:1], logit(0), wrt="sigmoid").values.isfinite().all()
    for wrt in ("input", "sub", "tanh"):
        with pytest.raises(NotApplicable, match=r"of twice normalizes .*, or mixes its samples in another way"):
            IntegratedGradients()(flat, X[:1], logit(0), wrt=wrt)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["a module", "a function", "an opaque part"])
def test_no_method_depends_on_chunks(kind, name, n):
    flat, method = shared(MIXED[kind]), small(name)
    objective = logit(TARGETS[:n])
    same(in_chunks(method, flat, objective, n))


@pytest.mark.parametrize("wrapped", [DeepLift(), GuidedBackprop(), GradCAM("last"), LayerConductance(n_steps=3)])
def test_nor_does_what_smooths_another(wrapped):
    for kind in ("a module", "by hand"):
        flat = flat_of(MIXED[kind])
        method = SmoothGradient(n_samples=4, method=wrapped)
        if not (kind == "by hand" and isinstance(wrapped, DeepLift)):
            same(in_chunks(method, flat, logit(TARGETS)))


def answer(method: Method, flat: FlatModel, x: Tensor, objective) -> Tensor | None:
    try:
        return method(flat, x, objective).values
    except NotApplicable:
        return None


def in_chunks(method: Method, flat: FlatModel, objective, n: int = len(X)) -> list[Tensor | None]:
    """The answers for n samples in chunks of several sizes."""
    answers = []
    for size in (1, 3, 5, None):  # below, equal to and no multiple of the number of samples; several batches
        with chunks_of(size):
            answers.append(answer(method, flat, X[:n], objective))
    return answers


def same(answers: list[Tensor | None]) -> None:
    assert len({one is None for one in answers}) == 1
    if answers[0] is not None:
        assert answers[0].isfinite().all()
        for other in answers[1:]:
            assert_close(other, answers[0], rtol=1e-9, atol=1e-12)


def test_variants_are_batches_like_the_whole():
    """By hand: what a batch norm over the batch means for each draw is that all of the draw's samples run together."""
    flat = flat_of(MIXED["a module"])

    def gradient(x: Tensor) -> Tensor:
        point = x.clone().requires_grad_()
        return torch.autograd.grad(flat(point).gather(1, torch.tensor(TARGETS)[:, None]).sum(), point)[0]

    steps = [(i + 0.5) / 4 for i in range(4)]
    expected = sum(gradient(step * X) for step in steps) / 4
    values = InternalInfluence(n_steps=4, quadrature="riemann_middle")(flat, X, logit(TARGETS)).values
    assert_close(values, expected, rtol=1e-9, atol=1e-12)
    shap = GradientShap(n_samples=4, multiply=False)
    places, _ = shap.draws(1)
    expected = sum(gradient(place * X) for place in places) / 4
    assert_close(shap(flat, X, logit(TARGETS)).values, expected, rtol=1e-9, atol=1e-12)


def test_a_large_batch_of_samples_that_change_each_other_is_not_taken_apart():
    for kind in ("a module", "by hand"):
        flat = flat_of(MIXED[kind])
        x = torch.randn(70, 3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        point = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(flat(point)[:, 2].sum(), point)
        assert_close(InputGradient()(flat, x, logit(2)).values, expected, rtol=1e-9, atol=1e-12)


def test_an_objective_of_the_whole_batch_is_evaluated_on_whole_batches():
    flat = flat_of(APART["nothing"])
    together = output(lambda scores: scores[:, 0] * scores[:, 1].mean())
    for method in (GradientShap(n_samples=5), SmoothGradient(n_samples=5), InternalInfluence(n_steps=5)):
        same(in_chunks(method, flat, together))
    # one that looks at each sample alone may run in any chunks, whether it says so or not
    alone = output(lambda scores: scores[:, 0] * scores[:, 1])
    rows: list[int] = []

    def noting(x: Tensor) -> Tensor:
        rows.append(len(x))
        return x

    with Hooks(flat, "first", gradients=False, edit=noting), chunks_of(6):
        GradientShap(n_samples=8)(flat, X, alone)
    assert max(rows) == 6
