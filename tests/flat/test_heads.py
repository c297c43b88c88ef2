"""What an output is: its last activation, its layout, its parts, and what holds no scores of classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.errors import ClassNotFound, NotApplicable
from netlens.flat import Adapter, FlatModel
from netlens.flat.heads import heads_of
from netlens.flat.keys import OUTPUT, SCORES, part
from netlens.objectives import Record, log_probability, logit, region
from tests.networks.endings import (
    PROBABILITIES,
    Ends,
    Two,
    X,
    divided,
    divided_by_a_root,
    flat,
    last,
    network,
    other,
    scores,
    tokens,
)


def value(model: FlatModel, objective: Any, x: Tensor = X) -> Tensor:
    result: Tensor = objective(Record(model, model.record(x, layers=objective.layers)))
    return result


def scores_of(net: Ends, x: Tensor = X) -> Tensor:
    return scores(net, torch.tanh(net.conv(x)))


@pytest.mark.parametrize("name", PROBABILITIES)
def test_scores_are_those_before_the_last_activation(name: str) -> None:
    end, activation = PROBABILITIES[name]
    model, net = flat(end), network(end)
    assert heads_of(model).entries[None].activation == activation
    for x in (X, X[:1]):  # a squeeze drops the dimension of a single sample
        expected = scores_of(net, x)
        logs = expected.sigmoid().log() if activation == "sigmoid" else expected.log_softmax(1)
        for c in (0, 3):
            assert_close(value(model, logit(c), x), expected[:, c])
            assert_close(value(model, log_probability(c), x), logs[:, c])
        if x is X:  # of the output alone, they follow up to a number that all classes share
            logits = model.logits(model(x))
            difference = logits - expected
            assert_close(difference, difference[:, :1].expand_as(difference), rtol=1e-6, atol=1e-8)


def test_without_an_activation_the_output_itself_is_read() -> None:
    model = flat(scores)
    assert model.key(part(SCORES, None)) == OUTPUT and heads_of(model).entries[None].activation is None
    assert_close(value(model, logit(1)), model(X)[:, 1])


def test_the_probability_of_one_class_alone() -> None:
    model = flat(lambda net, y: scores(net, y).softmax(1)[:, 1])
    probability = scores_of(network(scores)).softmax(1)[:, 1]
    assert_close(value(model, logit(0)), probability.logit())
    assert_close(value(model, log_probability(0)), probability.log())


def test_probabilities_that_are_resized_are_no_sigmoid_of_resized_scores() -> None:
    model = flat(lambda net, y: nn.functional.interpolate(net.map(y).sigmoid(), scale_factor=2.0, mode="bilinear"))
    assert_close(value(model, log_probability((0, 3, 4))), model(X)[:, 0, 3, 4].log())


@pytest.mark.parametrize("end", [last, lambda net, y: last(net, y).softmax(-1)], ids=["scores", "softmax"])
def test_channels_that_come_last_are_classes(end: Any) -> None:
    model = flat(end)
    maps = flat(last)(X)
    assert maps.shape == (2, 10, 8, 5)
    assert_close(value(model, logit(2)), maps[..., 2].mean((1, 2)))
    assert_close(value(model, logit((3, 7, 2))), maps[:, 3, 7, 2])  # an index is one of the output as it is
    assert_close(value(model, log_probability((3, 7, 2))), maps.log_softmax(-1)[:, 3, 7, 2])
    mask = torch.zeros(10, 8)
    mask[3, 7] = 1
    assert_close(value(model, region(2, mask)), maps[:, 3, 7, 2])
    if end is last:
        assert_close(model.logits(model(X)), maps.permute(0, 3, 1, 2))


def test_a_map_of_one_class_may_have_lost_its_channel() -> None:
    maps = network(lambda net, y: net.map(y))(X)
    for end in (
        lambda net, y: net.map(y).sigmoid(),
        lambda net, y: net.map(y).sigmoid().squeeze(1),
        lambda net, y: net.map(y).sigmoid()[:, 0],
        lambda net, y: net.map(y).sigmoid().squeeze(),
    ):
        for x, expected in ((X, maps), (X[:1], maps[:1])):
            assert_close(value(flat(end), logit(0), x), expected.mean((1, 2, 3)))
            inside = (expected > 0).to(expected)
            assert_close(value(flat(end), region(0), x), (expected * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)))


NO_SCORES = {
    "unit length": (lambda net, y: nn.functional.normalize(scores(net, y), dim=-1), "similarity"),
    "divided by its norm": (divided, "similarity"),
    "divided by the root of a sum": (divided_by_a_root, "similarity"),
    "layer norm of a token": (lambda net, y: net.norm(tokens(net, y))[:, 0], "similarity"),
    "layer norm of maps": (lambda net, y: net.norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), "similarity"),
    "a name of embeddings": (lambda net, y: {"image_embeds": scores(net, y)}, "similarity"),
    "tokens and their summary": (
        lambda net, y: {"last_hidden_state": net.norm(tokens(net, y)), "pooler_output": scores(net, y)},
        "similarity",
    ),
    "scores of tokens": (lambda net, y: net.linear(tokens(net, y)), r"logit\(\(row, class\)\)"),
    "boxes beside scores": (
        lambda net, y: torch.cat([tokens(net, y), net.linear(tokens(net, y))], -1),
        r"Adapter\(detections=",
    ),
    "depths from 0": (lambda net, y: net.map(y).relu(), r"output\(lambda out: out.mean\(\(1, 2, 3\)\)\)"),
    "one number for each position": (lambda net, y: net.map(y)[:, 0], r"output\(lambda out: out.mean\(\(1, 2\)\)\)"),
    "a name of depths": (lambda net, y: {"predicted_depth": net.map(y)[:, 0]}, r"out\['predicted_depth'\]"),
    "one number for the batch": (lambda net, y: scores(net, y).mean(), "one for each sample"),
}


@pytest.mark.parametrize("name", NO_SCORES)
def test_what_holds_no_scores_is_refused_with_the_objective_to_use(name: str) -> None:
    end, message = NO_SCORES[name]
    model = flat(end)
    for objective in (logit(0), log_probability(0)):
        with pytest.raises(NotApplicable, match=message):
            value(model, objective)
    with pytest.raises(NotApplicable, match=message):
        model.logits(model(X))


def test_one_number_of_many_rows_has_an_index() -> None:
    model = flat(lambda net, y: net.linear(tokens(net, y)))
    assert_close(value(model, logit((70, 2))), model(X)[:, 70, 2])


def test_a_classifier_that_was_taken_away_leaves_an_embedding() -> None:
    net = network(scores)
    net.linear = nn.Identity()
    assert FlatModel.from_nn_Module(net).logits(X[:, :, 0, 0]).shape == (2, 3)  # a name that says nothing
    body = nn.Sequential()
    body.add_module("conv", nn.Conv2d(3, 4, 3))
    body.add_module("pool", nn.AdaptiveAvgPool2d(1))
    body.add_module("flatten", nn.Flatten())
    body.add_module("fc", nn.Identity())
    model = FlatModel.from_nn_Module(body.double())
    with pytest.raises(NotApplicable, match="gives an embedding"):
        model.logits(model(X))


@pytest.mark.parametrize("wrap", [Two, lambda age, sex: {"age": age, "sex": (sex,), "scale": 3}])
def test_a_head_has_a_name(wrap: Any) -> None:
    model = flat(lambda net, y: wrap(scores(net, y), other(net, y).softmax(1)))
    net = network(scores)
    features = torch.tanh(net.conv(X)).mean((2, 3))
    for head, expected in (("age", net.linear(features)), ("sex", net.other(features))):
        assert_close(value(model, logit((head, 1))), expected[:, 1])
        assert_close(value(model, logit((head, [2, 0]))), expected[[0, 1], [2, 0]])
        assert_close(value(model, logit((head, [2, 0])).take([1, 1]), X[[1, 1]]), expected[[1, 1], [0, 0]])
        assert_close(value(model, log_probability((head, 1))), expected.log_softmax(1)[:, 1])
    assert logit(("sex", [2, 0])).targets(model, 2) == (2, 0)
    with pytest.raises(NotApplicable, match=r"several outputs: 'age', 'sex'.*target=\('age', class\)"):
        value(model, logit(1))
    with pytest.raises(ClassNotFound, match="no output 'height'; its outputs are 'age', 'sex'"):
        value(model, logit(("height", 1)))
    with pytest.raises(ClassNotFound, match=r"no class 3; its 3 classes"):
        value(model, logit(("sex", 3)))
    with pytest.raises(ClassNotFound, match="names an output, but no class"):
        value(model, logit(("sex",)))


def test_an_item_of_a_tuple_has_an_index() -> None:
    model = flat(lambda net, y: (scores(net, y), net.maps(y).softmax(1)))
    maps = network(lambda net, y: net.maps(y))(X)
    assert_close(value(model, logit((0, 3))), model(X)[0][:, 3])
    assert_close(value(model, logit((1, 3))), maps[:, 3].mean((1, 2)))
    assert_close(value(model, logit(("1", 3, 4, 5))), maps[:, 3, 4, 5])
    with pytest.raises(NotApplicable, match=r"several outputs: 0, 1.*target=\(0, class\)"):
        value(model, logit(3))
    # the index of an output that is a single tensor stays one
    assert_close(value(flat(lambda net, y: net.linear(tokens(net, y))), logit((1, 3))).shape, torch.Size([2]))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net, y: (scores(net, y), y.mean((2, 3))),
        lambda net, y: {"features": other(net, y), "logits": scores(net, y)},
        lambda net, y: {"aux": net.map(y), "out": scores(net, y).softmax(1)},
        lambda net, y: {"feature_maps": y, "prediction": scores(net, y)},
    ],
)
def test_the_head_that_holds_scores_needs_no_name(wrap: Any) -> None:
    assert_close(value(flat(wrap), logit(2)), scores_of(network(scores))[:, 2])


def test_an_adapter_knows_better() -> None:
    net = network(lambda net, y: nn.functional.normalize(scores(net, y), dim=-1))
    model = FlatModel.from_nn_Module(net, adapter=Adapter(logits=lambda out: 10 * out))
    assert_close(value(model, logit(2)), 10 * net(X)[:, 2])
    assert_close(value(model, log_probability(2)), (10 * net(X)).log_softmax(1)[:, 2])


def test_views_and_surgery_read_the_output_as_it_is_then() -> None:
    model = flat(lambda net, y: scores(net, y).softmax(1))
    without = model.remove("softmax")
    assert without.key(part(SCORES, None)) == OUTPUT and model.key(part(SCORES, None)) == "linear"
    assert_close(value(without, logit(1)), value(model, logit(1)))
    assert_close(value(model.cut("conv"), logit(1)), model(X, until="conv")[:, 1].mean((1, 2)))
