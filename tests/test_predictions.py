"""What a network says: its own probabilities, its regions, its heads, and what a lens does without classes."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens import NetLens
from netlens.attribution import METHODS
from netlens.errors import ClassNotFound, NetLensError, NetLensWarning, NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import logit, output, region, similarity
from tests.networks.endings import PROBABILITIES, Two, X, flat, last, network, other, scores, tokens
from tests.small import small

# many targets here are chosen without a look at what the random network predicts
pytestmark = pytest.mark.filterwarnings("ignore:.*does not predict:netlens.errors.NetLensWarning")


def shown(lens: NetLens) -> Tensor:
    """(N, classes): the probabilities by class."""
    rows = lens.predictions(k=9)
    return torch.tensor(
        [[p.probability for p in sorted(row, key=lambda p: p.index)] for row in rows], dtype=torch.float64
    )


@pytest.mark.parametrize("name", PROBABILITIES)
def test_probabilities_are_those_of_the_network(name: str) -> None:
    end, activation = PROBABILITIES[name]
    model = flat(end)
    plain = NetLens(flat(scores), X)
    for x in (X, X[:1]):
        lens = NetLens(model, x)
        outputs = model(x).reshape(len(x), -1)
        assert torch.equal(lens.scores.probabilities, outputs.exp() if activation == "log_softmax" else outputs)
        assert lens.targets == plain.targets[: len(x)]
        assert_close(lens.logits, plain.logits[: len(x)])
        assert_close(lens.saliency().values, plain.saliency().values[: len(x)])
    assert torch.equal(shown(NetLens(model, X)), NetLens(model, X).scores.probabilities)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_explains_the_scores_and_not_the_probabilities(name: str) -> None:
    outcomes = []
    for end in (scores, lambda net, y: scores(net, y).softmax(1), lambda net, y: scores(net, y).sigmoid().squeeze()):
        try:
            outcomes.append(small(name)(flat(end), X, logit([1, 3])).values)
        except NotApplicable as reason:
            outcomes.append(type(reason))
    for probable in outcomes[1:]:
        if isinstance(probable, Tensor):
            assert_close(probable, outcomes[0])
        else:
            assert probable is outcomes[0]


def test_each_of_several_sigmoids_is_a_prediction() -> None:
    model = flat(lambda net, y: torch.sigmoid(scores(net, y)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for c in range(5):
            probability = model(X)[:, c]
            if (probability > 0.5).all():
                NetLens(model, X, target=c)
    unlikely = int(model(X).mean(0).argmin())
    assert (model(X)[:, unlikely] < 0.5).all()
    with pytest.warns(NetLensWarning, match="does not predict"):
        NetLens(model, X, target=unlikely)


@pytest.mark.parametrize(
    ("end", "exclusive"),
    [
        (lambda net, y: net.map(y).sigmoid(), False),
        (lambda net, y: net.map(y).sigmoid().squeeze(), False),
        (lambda net, y: net.maps(y).softmax(1), True),
        (lambda net, y: net.maps(y).sigmoid(), False),
        (last, True),
        (lambda net, y: last(net, y).sigmoid(), False),
    ],
)
def test_a_map_is_explained_where_the_class_is_predicted(end: Any, exclusive: bool) -> None:
    model = flat(end)
    lens = NetLens(model, X)
    maps = network(lambda net, y: net.map(y) if lens.logits.shape[1] == 1 else net.maps(y))
    if end is last or (lens.logits.shape[1] == 5 and model(X).shape[-1] == 5):
        maps = network(lambda net, y: last(net, y).permute(0, 3, 1, 2))
    leaf = X.clone().requires_grad_()
    scored = maps(leaf)
    inside = scored.argmax(1, keepdim=True) == torch.arange(scored.shape[1])[:, None, None] if exclusive else scored > 0
    counts = inside.sum((2, 3))
    assert lens.targets == tuple(counts.argmax(1).tolist())
    classes = list(lens.targets)
    chosen, where = scored[[0, 1], classes], inside[[0, 1], classes].to(X)
    where = where + (where.sum((1, 2)) == 0)[:, None, None]  # predicted nowhere: the whole image
    (expected,) = torch.autograd.grad(((chosen * where).sum((1, 2)) / where.sum((1, 2))).sum(), leaf)
    assert_close(lens.saliency().values, expected.abs())
    if (counts > 0).any(1).all():
        assert_close(lens.saliency(objective=region(classes)).values, expected.abs())


def test_a_volume_is_explained_where_the_class_is_predicted() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(1, 4, 3), nn.Tanh(), nn.Conv3d(4, 3, 1)).double()
    x = torch.rand(2, 1, 6, 7, 8, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    maps = net(leaf)
    predicted = maps.argmax(1)
    lens = NetLens(net, x)
    assert lens.targets == tuple(int(p.flatten().mode().values) for p in predicted)
    expected = sum(maps[i, c][predicted[i] == c].mean() for i, c in enumerate(lens.targets))
    assert_close(lens.saliency().values, torch.autograd.grad(expected, leaf)[0].abs())


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(
    "end",
    [
        lambda net, y: scores(net, y)[:, :1].squeeze(),
        lambda net, y: scores(net, y)[:, :1].squeeze(1),
        lambda net, y: scores(net, y)[:, 0],
        lambda net, y: scores(net, y)[:, :1],
        lambda net, y: scores(net, y)[:, :1].view(-1),
        lambda net, y: scores(net, y)[:, :1].flatten(),
    ],
)
def test_one_score_for_one_sample_and_for_two(end: Any, n: int) -> None:
    x = X[:n]
    lens = NetLens(flat(end), x)
    expected = network(scores)(x)[:, :1]
    assert_close(lens.logits, expected)
    assert_close(shown(lens), expected.sigmoid())
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(scores)(leaf)[:, 0].sum(), leaf)
    assert_close(lens.saliency().values, gradient.abs())
    occluded = [each.occlusion(window=4, stride=4).values for each in (lens, NetLens(flat(scores), x, [0] * n))]
    assert_close(*occluded)


@pytest.mark.parametrize("wrap", [Two, lambda age, sex: {"age": age, "sex": sex}])
def test_a_target_names_a_head(wrap: Any) -> None:
    model = flat(lambda net, y: wrap(scores(net, y), other(net, y).softmax(1)))
    lens = NetLens(model, X, target=("sex", [0, 1]))
    assert lens.targets == (0, 1) and repr(lens.objective) == "logit(('sex', [0, 1]))"
    assert_close(shown(lens), network(lambda net, y: other(net, y).softmax(1))(X))
    leaf = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(other)(leaf)[[0, 1], [0, 1]].sum(), leaf)
    assert_close(lens.saliency().values, gradient.abs())
    assert NetLens(model, X, target="sex: 1").targets == (1, 1)
    copies = NetLens(model, X[:1], target=("age", [0, 3]))
    assert_close(copies.saliency().values, NetLens(flat(scores), X[:1], target=[0, 3]).saliency().values)
    with pytest.raises(NotApplicable, match=r"several outputs: 'age', 'sex'"):
        NetLens(model, X, target=1)
    with pytest.raises(NotApplicable, match=r"several outputs: 'age', 'sex'"):
        NetLens(model, X).saliency()
    with pytest.raises(NotApplicable, match=r"several outputs: 'age', 'sex'"):
        NetLens(model, X, target=("height", 1))
    with pytest.raises(ClassNotFound, match="no class 3; its 3 classes"):
        NetLens(model, X, target=("sex", 3))


def test_classes_are_the_names_of_one_head() -> None:
    net = network(lambda net, y: {"logits": scores(net, y), "sex": other(net, y)})
    names = ["cat", "dog", "owl", "fox", "elk"]
    assert NetLens(net, X, target=("sex", 2), classes=names).saliency().provenance.target_names is None
    assert NetLens(net, X, target="owl", classes=names).saliency().provenance.target_names == ("owl", "owl")
    assert NetLens(net, X, target=["owl", "elk"], classes=names).targets == (2, 4)
    assert NetLens(net, X, target=("owl", "elk"), classes=names).targets == (2, 4)


def test_without_classes_a_lens_takes_an_objective() -> None:
    model = flat(lambda net, y: nn.functional.normalize(scores(net, y), dim=-1))
    lens = NetLens(model, X)
    assert lens.targets == () and "no class" in repr(lens)
    for ask in (lens.predictions, lens.saliency, lambda: lens.logits, lambda: lens.objective):
        with pytest.raises(NotApplicable, match="gives an embedding"):
            ask()
    with pytest.raises(NotApplicable, match="gives an embedding"):
        NetLens(model, X, target=2)
    like = similarity(X.flip(0))
    similarity_lens = NetLens(model, X, objective=like)
    assert_close(similarity_lens.saliency().values, lens.saliency(objective=like).values)
    assert similarity_lens.objective is like and repr(similarity_lens).endswith("explains: similarity())")
    with pytest.raises(NetLensError, match="a target or an objective, not both"):
        NetLens(model, X, target=1, objective=like)


def test_an_objective_takes_the_place_of_a_target() -> None:
    lens = NetLens(flat(scores), X, objective=logit(1) - logit(2))
    assert_close(lens.saliency().values, NetLens(flat(scores), X).saliency(objective=logit(1) - logit(2)).values)
    assert lens.predictions()[0][0].index == int(flat(scores)(X)[0].argmax())
    depths = flat(lambda net, y: {"predicted_depth": net.map(y)[:, 0]})
    mean = output(lambda out: out["predicted_depth"].mean((1, 2)), "mean depth")
    leaf = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(lambda net, y: net.map(y))(leaf).mean((1, 2, 3)).sum(), leaf)
    assert_close(NetLens(depths, X, objective=mean).saliency().values, gradient.abs())


def test_rows_of_scores_are_explained_by_an_index() -> None:
    model = flat(lambda net, y: net.linear(tokens(net, y)))
    with pytest.raises(NotApplicable, match=r"a row for each of 80 tokens.*logit\(\(row, class\)\)"):
        NetLens(model, X).saliency()
    leaf = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(lambda net, y: net.linear(tokens(net, y)))(leaf)[:, 7, 2].sum(), leaf)
    assert_close(NetLens(model, X, objective=logit((7, 2))).saliency().values, gradient.abs())


def test_an_input_of_another_shape_unrolls_the_network_again() -> None:
    def asks(net: Any, y: Tensor) -> Tensor:
        return scores(net, y[..., :6] if y.shape[-1] > 9 else y).softmax(1)

    net = network(asks)
    model = FlatModel.from_nn_Module(net, example=X)
    wide = torch.rand(2, 3, 12, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert_close(NetLens(model, wide).scores.probabilities, net(wide))
    assert_close(NetLens(model, X).scores.probabilities, net(X))


def test_a_squeezed_score_of_a_network_that_takes_one_sample() -> None:
    def one(net: Any, y: Tensor) -> Tensor:
        return scores(net, y.view(1, 4, 10, 8))[:, :1].sigmoid().squeeze()

    with pytest.warns(NetLensWarning, match="only one sample at a time"):
        lens = NetLens(flat(one), X)
    expected = network(scores)(X)[:, :1]
    assert_close(lens.logits, expected)
    assert_close(shown(lens), expected.sigmoid())
    plain = NetLens(flat(lambda net, y: scores(net, y)[:, :1]), X)
    assert_close(lens.saliency().values, plain.saliency().values)


class PerSample(nn.Module):
    """Holds data of each sample of a batch of two."""

    data: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.linear = network(scores), nn.Linear(7, 3)
        self.register_buffer("data", torch.rand(2, 2, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.cat([self.encoder(x), self.data], 1))


def test_a_network_that_needs_its_whole_batch_is_explained_or_refused_in_one_line() -> None:
    model = FlatModel.from_nn_Module(PerSample().double())
    leaf = X.clone().requires_grad_()
    lens = NetLens(model, X, target=[0, 2])
    (gradient,) = torch.autograd.grad(model(leaf)[[0, 1], [0, 2]].sum(), leaf)
    assert_close(lens.saliency().values, gradient.abs())
    with pytest.raises(NotApplicable, match="runs with 2 samples, but not with one") as refused:
        lens.occlusion(window=4, stride=4)
    assert "\n" not in str(refused.value)
    with pytest.raises(NetLensError, match="runs with two samples, but not with one"):
        NetLens(model, X[:1])
