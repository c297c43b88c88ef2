"""A layer is named by a number as Python counts: negative ones from the end, and numpy's whole numbers like others."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from netlens import NetLens
from netlens.attribution import METHODS, AttentionMap, GradCAM, IntegratedGradients, Saliency, together
from netlens.errors import LayerNotFound, NetLensError
from netlens.evaluation import randomized
from netlens.flat import FlatModel, Hooks
from netlens.flat.edits import zero
from netlens.objectives import channel, content, logit
from tests.networks.families import case_of

BY_LAYER = [name for name, method in METHODS.items() if any(field.name == "layer" for field in fields(method))]


@pytest.fixture(scope="module")
def flat() -> FlatModel:
    torch.manual_seed(0)
    trunk = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
    return FlatModel.from_nn_Module(randomized(network).double())


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randn(2, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("number", [-5, np.int64(-5), np.int32(2), np.uint8(2), 2], ids=repr)
def test_a_number_is_the_layer_that_it_counts_to(flat, x, number):
    key = "2"
    assert flat.key(number) == key and flat.find(number) == [key] and flat.keys_of([number, "0"]) == ["0", key]
    assert torch.equal(flat(x, until=number), flat(x, until=key))
    assert list(flat.record(x, layers=number)) == [key]
    with Hooks(flat, number) as hooks:
        flat(x)
    assert torch.equal(hooks[number].activation, flat(x, until=key))
    with Hooks(flat, [number], edit={number: zero(np.int64(0))}):
        assert (flat(x, until=key)[:, 0] == 0).all()
    for wrt in (number, key):
        assert Saliency()(flat, x, logit(0), wrt=wrt).provenance.layer == key
    by_number = Saliency()(flat, x, channel(number, 1), wrt=0).values
    assert_close(by_number, Saliency()(flat, x, channel(key, 1), wrt="0").values, rtol=0, atol=0)
    assert content(number, x[:1]).names == (number,)


@pytest.mark.parametrize("name", [name for name in BY_LAYER if name != "attention_map"])
def test_every_method_takes_a_number_as_its_layer(flat, x, name):
    method = METHODS[name]
    last = "3"
    expected = method(layer=last)(flat, x, logit(0))
    for number in (-4, 3, np.int64(3), np.int16(-4)):
        attribution = method(layer=number)(flat, x, logit(0))
        assert (
            attribution.provenance.layer
            == expected.provenance.layer
            == ("input" if name == "guided_grad_cam" else last)
        )
        assert attribution.provenance.options["layer"] == int(number)  # and not the word for it in numpy
        assert_close(attribution.values, expected.values, rtol=0, atol=0)


def test_several_numbers_are_several_layers(flat, x):
    expected = GradCAM(layer=["1", "3"])(flat, x, logit(0))
    for numbers in ([1, 3], (-6, -4), np.array([1, 3]), [np.int64(1), "3"]):
        attribution = GradCAM(layer=numbers)(flat, x, logit(0))
        assert attribution.provenance.layer == "3"
        assert_close(attribution.values, expected.values, rtol=0, atol=0)


def test_the_facade_takes_numbers(flat, x):
    lens = NetLens(flat, x)
    expected = lens.grad_cam(layer="3").values
    for number in (-4, np.int64(3)):
        assert torch.equal(lens.grad_cam(layer=number).values, expected)
        assert torch.equal(lens.grad_cam(wrt=number).values, expected)
        with together([GradCAM(), Saliency()], flat, x, lens.objective, wrt=number) as shared:
            assert torch.equal(GradCAM()(flat, shared, lens.objective, wrt=number).values, expected)
    assert torch.equal(lens.saliency(wrt=-2).values, lens.saliency(wrt="5").values)


def test_a_number_beyond_the_layers_and_what_is_no_number_are_refused(flat, x):
    for number in (7, -8, np.int64(7)):
        with pytest.raises(LayerNotFound, match=f"sequential has 7 layers; there is no layer {int(number)}"):
            GradCAM(layer=number)(flat, x, logit(0))
    for wrong in (True, 1.0, np.float64(1), [True]):
        with pytest.raises(NetLensError, match=r"GradCAM: layer is .*, but must be"):
            GradCAM(layer=wrong)(flat, x, logit(0))


def test_counts_are_whole_numbers_of_numpy_too(flat, x):
    plain = IntegratedGradients(n_steps=3)(flat, x, logit(0)).values
    assert torch.equal(IntegratedGradients(n_steps=np.int64(3))(flat, x, logit(0)).values, plain)
    for name, count in (
        ("gradient_shap", "n_samples"),
        ("deep_lift_shap", "n_samples"),
        ("guided_integrated_gradients", "n_steps"),
    ):
        method = METHODS[name]
        values = [method(**{count: number})(flat, x, logit(0)).values for number in (2, np.int64(2))]
        assert torch.equal(*values)


def test_attention_maps_are_counted_by_numpy_too():
    case = case_of("vit")
    expected = AttentionMap(-2)(case.flat, case.x, logit(0)).values
    assert torch.equal(AttentionMap(np.int64(-2))(case.flat, case.x, logit(0)).values, expected)
