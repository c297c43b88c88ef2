"""Objectives: one number per sample, their algebra, and what they say about a wrong class, channel or position."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import SwinTransformer, VisionTransformer

from netlens.classes import ClassNames
from netlens.errors import ClassNotFound, LayerNotFound, NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.keys import SCORES
from netlens.objectives import Objective, Record, channel, direction, layer, logit, neuron, output

X = torch.randn(3, 3, 8, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def flat() -> FlatModel:
    torch.manual_seed(0)
    trunk = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)]
    names = ClassNames(["heron", "ibis", "stork", "crane", "egret"])
    return FlatModel.from_nn_Module(nn.Sequential(*trunk).double(), classes=names)


def value(flat: FlatModel, objective: Objective, x: Tensor = X) -> Tensor:
    return objective(Record(flat, flat.record(x, layers=objective.layers)))


# what each one is


def test_the_definitions(flat):
    logits, maps, features = flat(X), flat(X, until="1"), flat(X, until="3")
    assert_close(value(flat, logit(0)), logits[:, 0])
    assert_close(value(flat, layer("1")), (maps**2).mean((1, 2, 3)))
    assert_close(value(flat, channel("1", 0)), maps[:, 0].mean((1, 2)))
    assert_close(value(flat, channel("3", 3)), features[:, 3])
    assert_close(value(flat, neuron("1", 2, 7, 0)), maps[:, 2, 7, 0])
    assert_close(value(flat, neuron("1", 2, y=1)), maps[:, 2, 1, 5])
    assert_close(value(flat, channel("input", 1)), X[:, 1].mean((1, 2)))
    vector = torch.arange(4.0)
    assert_close(value(flat, direction("1", vector)), torch.einsum("nchw,c->n", maps, vector.double()) / 80)
    assert_close(value(flat, output(lambda scores: scores.amax(1), "best")), logits.amax(1))


def test_a_neuron_is_by_default_the_one_in_the_middle(flat):
    assert_close(value(flat, neuron("1", 0)), flat(X, until="1")[:, 0, 4, 5])
    odd = X[..., :7, :9]
    assert_close(value(flat, neuron("1", 0), odd), flat(odd, until="1")[:, 0, 3, 4])
    assert_close(value(flat, neuron("3", 1)), flat(X, until="3")[:, 1])


def test_the_algebra(flat):
    a, b = value(flat, logit(1)), value(flat, channel("1", 2))
    one, other = logit(1), channel("1", 2)
    assert_close(value(flat, one + other), a + b)
    assert_close(value(flat, one - other), a - b)
    assert_close(value(flat, -one), -a)
    assert_close(value(flat, 2 * one - (other - one * 3) / 4), 2 * a - (b - 3 * a) / 4)
    assert_close(value(flat, sum([one, other, one])), 2 * a + b)
    assert_close(value(flat, np.float64(2) * one), 2 * a)
    assert value(flat, 0 * one).abs().max() == 0
    assert set((one + other - one).layers) == {SCORES, "1"}


def test_a_combination_reads_as_it_was_written():
    assert repr(logit(207) - 0.5 * logit(3)) == "logit(207) - 0.5 * logit(3)"
    assert repr(-logit("owl") + channel("layer3", 12)) == "-logit('owl') + channel('layer3', 12)"
    assert repr(2 * (neuron("a", 1, 2, 3) - layer("b"))) == "2 * neuron('a', 1, y=2, x=3) - 2 * layer('b')"
    assert repr(logit(torch.tensor([1, 2]))) == "logit([1, 2])"


@pytest.mark.parametrize("wrong", [lambda: logit(1) * logit(2), lambda: logit(1) * layer("1")])
def test_two_objectives_have_no_product(wrong):
    with pytest.raises(TypeError, match="two objectives cannot be multiplied"):
        wrong()


@pytest.mark.parametrize(
    "wrong", [lambda: logit(1) + 1, lambda: 1 + logit(1), lambda: logit(1) * "2", lambda: logit(1) - None]
)
def test_what_is_no_objective_does_not_add(wrong):
    with pytest.raises(TypeError):
        wrong()


# classes


@pytest.mark.parametrize(
    "target",
    [[2, 0, 4], torch.tensor([2, 0, 4]), np.array([2, 0, 4]), ["stork", "heron", "egret"], ["stork", 0, np.int64(4)]],
)
def test_a_target_for_each_sample(flat, target):
    logits = flat(X)
    assert_close(value(flat, logit(target)), logits[range(3), [2, 0, 4]])
    assert logit(target).targets(flat, 3) == (2, 0, 4)
    selection = logit(target).take([2, 0, 2, 2])
    assert_close(value(flat, selection, X[[2, 0, 2, 2]]), logits[[2, 0, 2, 2], [4, 2, 4, 4]])
    both = (logit(target) - channel("1", 0)).take(range(1, 3))
    assert_close(value(flat, both, X[1:]), value(flat, logit(target) - channel("1", 0))[1:])


@pytest.mark.parametrize("target", [3, "crane", torch.tensor(3), np.int64(3), (3,)])
def test_one_target_for_all_samples(flat, target):
    assert_close(value(flat, logit(target)), flat(X)[:, 3])
    assert logit(target).targets(flat, 3) == (3, 3, 3)
    assert_close(value(flat, logit(target).take([1, 1]), X[[1, 1]]), flat(X)[[1, 1], 3])


@pytest.mark.parametrize("target", [5, -1, [0, 1, 99], (7,), (-1,), (0, 0)])
def test_a_class_out_of_range_names_the_range(flat, target):
    with pytest.raises(ClassNotFound, match=r"classes are 0 to 4|output of a sample is \(5,\)"):
        value(flat, logit(target))


@pytest.mark.parametrize("target", [1.0, torch.tensor([0.2, 1.0, 2.0]), None, [[1], [2], [3]], "pelican"])
def test_what_is_no_class_is_refused(flat, target):
    with pytest.raises(ClassNotFound) as caught:
        value(flat, logit(target))
    assert "\n" not in str(caught.value)


def test_as_many_targets_as_images(flat):
    with pytest.raises(NetLensError, match="target has 2 classes for 3 images"):
        value(flat, logit([1, 2]))


def test_names_need_names():
    flat = FlatModel.from_nn_Module(nn.Linear(2, 3))
    with pytest.raises(ClassNotFound, match="linear has no class names, so it has no class 'owl'"):
        value(flat, logit("owl"), torch.zeros(1, 2))


def test_scores_in_other_shapes():
    x = torch.randn(2, 3, 6, 6)
    maps = FlatModel.from_nn_Module(nn.Conv2d(3, 4, 3))
    assert_close(value(maps, logit(2), x), maps(x)[:, 2].mean((1, 2)))
    assert_close(value(maps, logit((2, 3, 0)), x), maps(x)[:, 2, 3, 0])
    single = FlatModel.from_nn_Module(nn.Sequential(nn.Flatten(), nn.Linear(108, 1), nn.Flatten(0)))
    assert single(x).shape == (2,)
    assert_close(value(single, logit(0), x), single(x))
    with pytest.raises(ClassNotFound, match="its 1 classes are 0 to 0"):
        value(single, logit(1), x)


# layers


@pytest.mark.parametrize("index", [4, -1])
def test_a_channel_out_of_range_names_the_range(flat, index):
    for objective in (channel("1", index), neuron("1", index)):
        with pytest.raises(NetLensError, match=f"layer '1' has no channel {index}; its channels are 0 to 3"):
            value(flat, objective)


@pytest.mark.parametrize(("y", "x"), [(8, 0), (0, 10), (-1, 0), (0, -1)])
def test_a_position_out_of_range_names_the_size(flat, y, x):
    with pytest.raises(NetLensError, match=rf"no position \({y}, {x}\); the map of '1' is 8 by 10"):
        value(flat, neuron("1", 0, y, x))


def test_other_mistakes(flat):
    with pytest.raises(LayerNotFound, match="no layer 'conv1'"):
        value(flat, channel("conv1", 0))
    with pytest.raises(NetLensError, match=r"vector has shape \(3,\), but layer '1' needs \(4,\)"):
        value(flat, direction("1", torch.zeros(3)))
    with pytest.raises(NotApplicable, match=r"one number per sample \(N,\), not \(3, 5\)"):
        value(flat, output(lambda scores: scores))


@pytest.mark.parametrize("named", ["relu", "re*", nn.ReLU])
def test_a_layer_by_path_glob_or_type_is_the_last_that_it_names(named):
    module = nn.Sequential()
    module.add_module("relu", nn.Sequential(nn.ReLU(), nn.Conv2d(3, 2, 1), nn.ReLU()))
    flat = FlatModel.from_nn_Module(module.double())
    assert_close(value(flat, channel(named, 1)), flat(X, until="relu.2")[:, 1].mean((1, 2)))


@pytest.mark.parametrize("name", ["output", "input"])
def test_a_layer_that_is_called_output_or_input_does_not_hide_the_networks(name):
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(name, nn.Linear(4, 4))
            self.last = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(getattr(self, name)(x).relu())

    flat = FlatModel.from_nn_Module(Named())
    x = torch.randn(2, 4)
    assert_close(value(flat, logit(1), x), flat(x)[:, 1])


# tokens


def test_tokens_of_a_vit_are_a_map_without_the_class_token():
    torch.manual_seed(0)
    vit = FlatModel.from_nn_Module(VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5))
    x = torch.randn(2, 3, 32, 32)
    key = "encoder.layers.encoder_layer_0"
    tokens = vit(x, until=key)
    assert tokens.shape == (2, 17, 16)
    assert_close(value(vit, channel(key, 7), x), tokens[:, 1:, 7].mean(1))
    assert_close(value(vit, neuron(key, 7, 1, 3), x), tokens[:, 1 + 4 + 3, 7])
    assert_close(value(vit, neuron(key, 7), x), tokens[:, 1 + 2 * 4 + 2, 7])
    assert_close(value(vit, layer(key), x), tokens.square().mean((1, 2)))
    with pytest.raises(NetLensError, match="its channels are 0 to 15"):
        value(vit, channel(key, 16), x)


def test_maps_of_a_swin_have_their_channels_last():
    torch.manual_seed(0)
    swin = FlatModel.from_nn_Module(SwinTransformer([2, 2], 8, [2, 2], [2, 2], [4, 4], num_classes=5))
    x = torch.randn(2, 3, 32, 40)
    maps = swin(x, until="features.1")
    assert maps.shape == (2, 16, 20, 8)
    assert_close(value(swin, channel("features.1", 5), x), maps[..., 5].mean((1, 2)))
    assert_close(value(swin, neuron("features.1", 5, 3, 19), x), maps[:, 3, 19, 5])
    assert_close(value(swin, neuron("features.1", 5), x), maps[:, 8, 10, 5])
    with pytest.raises(NotApplicable, match="have no layout over the input"):  # attention mixes all places
        value(swin, channel("features.1.0.attn.mixed", 0), x)


# contracts


def test_an_objective_runs_in_parts_only_if_its_class_says_so():
    class OfTheBatch(Objective):
        layers = ("output",)

        def __call__(self, record):
            return record.logits[:, 0]

        def take(self, samples):
            return self

    assert not OfTheBatch().splits
    assert not (logit(1) - OfTheBatch()).splits
    assert (logit(1) - 2 * channel("1", 0)).splits


def test_a_record_gives_tensors_and_the_raw_values_by_another_name():
    class Two(nn.Module):
        def forward(self, x):
            return {"scores": x.mean((2, 3)), "rows": x.mean(2)}

    flat = FlatModel.from_nn_Module(Two())
    record = Record(flat, flat.record(X, layers=["output"]))
    with pytest.raises(NotApplicable, match=r"returns a dict, not a tensor; .* read record.raw"):
        record["output"]
    assert record.raw("output")["rows"].shape == (3, 3, 10)
    assert_close(record.logits, X.mean((2, 3)))


def test_the_functions_are_the_one_public_form_of_an_objective():
    from netlens import objectives

    public = [getattr(objectives, name) for name in objectives.__all__]
    made_by_functions = {Objective, objectives.PerSample}
    concrete = {one for one in public if isinstance(one, type) and issubclass(one, Objective)} - made_by_functions
    assert not concrete
