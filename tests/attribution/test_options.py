"""Options of a wrong type, and what is no method, network or picture, are refused in one line that says which."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

from netlens import NetLens, objectives, open_network
from netlens.attribution import (
    LRP,
    METHODS,
    AblationCAM,
    ExtremalPerturbation,
    FinerCAM,
    GradCAM,
    GuidedGradCAM,
    InformationBottleneck,
    IntegratedGradients,
    Occlusion,
    Saliency,
    SmoothGradient,
)
from netlens.errors import ImageError, NetLensError, NonFiniteError, TraceError, WeightsError
from netlens.flat import FlatModel, Rules
from netlens.objectives import logit
from netlens.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", METHODS)
def test_an_option_of_a_wrong_type_is_refused_by_name(name, network):
    method, flat = METHODS[name], FlatModel.from_nn_Module(network)
    for field in fields(method):
        if field.name in ("rules", "reference", "feature_mask", "composite"):
            continue
        for wrong in (object(), float("nan")):
            with pytest.raises(NetLensError, match=field.name.removesuffix("s")) as caught:
                method(**{field.name: wrong})(flat, X, logit(1))
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "method, message",
    [
        (
            lambda: GradCAM(layer=1.5),
            "GradCAM: layer is 1.5, but must be a name, a whole number, None or a list, each a name or a whole number",
        ),  # type: ignore[arg-type]
        (lambda: GradCAM(layer=[]), "names no layer; give at least one"),
        (lambda: GradCAM(fusion="sum"), "fusion is 'sum', but must be one of 'mean', 'max', 'product'"),  # type: ignore[arg-type]
        (lambda: AblationCAM(relu="no"), "relu is 'no', but must be True or False"),  # type: ignore[arg-type]
        (lambda: GuidedGradCAM(interpolation="cubic"), "interpolation is 'cubic', but must be one of"),  # type: ignore[arg-type]
        (lambda: SmoothGradient(n_samples=float("inf")), "n_samples is inf, but must be a whole number"),  # type: ignore[arg-type]
        (lambda: SmoothGradient(seed=-1), "seed is -1, but must be a whole number of at least 0"),
        (lambda: SmoothGradient(method=Saliency), "method is .*Saliency.*, but must be a Method"),  # type: ignore[arg-type]
        (lambda: SmoothGradient(method=GradCAM(layer=1.5)), "GradCAM: layer is 1.5"),  # type: ignore[arg-type]
        (
            lambda: IntegratedGradients(baselines=np.zeros((3, 8, 8))),
            "baselines is array.*, but must be a finite number, a T",
        ),  # type: ignore[arg-type]
        (lambda: FinerCAM(comparisons=[]), "names no class"),
        (
            lambda: ExtremalPerturbation(learning_rate=-1.0),
            "learning_rate is -1.0, but must be a finite number above 0",
        ),
        (
            lambda: InformationBottleneck(learning_rate=-1.0),
            "learning_rate is -1.0, but must be a finite number above 0",
        ),
        (
            lambda: InformationBottleneck(reference=torch.zeros(3, 3)),
            r"reference .* tensor \(m, 3, 8, 8\), not \(3, 3\)",
        ),
        (lambda: InformationBottleneck(reference=0), r"reference is 0, but must be a Tensor or None"),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_with_an_option_is_said(method, message, network):
    with pytest.raises(NetLensError, match=message):
        method()(FlatModel.from_nn_Module(network), X, logit(1))
    with pytest.raises(NetLensError, match=message):
        NetLens(network, X).attribute([Saliency, method()])


def test_numbers_of_numpy_and_sequences_are_options(network):
    flat = FlatModel.from_nn_Module(network)
    whole = Occlusion(window=(4, 4), stride=[4, 4], baselines=1)(flat, X, logit(1)).values
    same = Occlusion(window=np.int64(4), stride=4, baselines=np.float32(1))(flat, X, logit(1)).values  # type: ignore[arg-type]
    assert torch.equal(whole, same)


def test_what_is_no_method_rule_function_or_box_is_refused(network):
    lens = NetLens(network, X)
    for wrong in (None, 3, nn.ReLU, [3]):
        with pytest.raises(NetLensError, match="a method is a Method, its class or its name"):
            lens.attribute(wrong)  # type: ignore[call-overload]
    with pytest.raises(AttributeError, match=r"Closest: 'grad_cam'"):
        lens.gradcam()
    with pytest.raises(NetLensError, match="rules must be a mapping"):
        LRP(rules=3)
    with pytest.raises(NetLensError, match="must be a Rule"):
        Rules({nn.ReLU: lambda layer, inputs, output, gradient: gradient})  # type: ignore[dict-item]
    with pytest.raises(NetLensError, match="function is 3, but must be a function; give one of the network's output"):
        objectives.output(3)  # type: ignore[arg-type]
    with pytest.raises(NetLensError, match=r"box must be .* not 'dog'"):
        objectives.box("dog", "dog")


def test_what_is_no_network_or_input_is_refused(network):
    for name, weights in ((None, None), ("resnet18", 5), ("resnet18", True)):
        with pytest.raises(WeightsError, match=r"is opened by its name|'random' or the path of a file"):
            open_network(name, weights)  # type: ignore[arg-type]
    for x in (X.to_sparse(), X.to("meta")):
        with pytest.raises(ImageError, match="holds no picture that can be read"):
            NetLens(network, x)
    with torch.inference_mode():
        made_there = nn.Linear(4, 3)
    with pytest.raises(NetLensError, match=r"made under torch.inference_mode\(\)"):
        NetLens(made_there, torch.zeros(1, 4))
    with pytest.raises(NonFiniteError, match="the output of linear holds NaN"):
        broken = nn.Linear(4, 3)
        nn.init.constant_(broken.weight, float("nan"))
        NetLens(broken, torch.zeros(1, 4))
    with pytest.raises(NetLensError, match="sequential cannot take an input of 3x224x224"):
        NetLens(nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), torch.zeros(1, 3, 224, 224))
    with pytest.raises(NetLensError, match="sequential cannot take an input of 224"):
        NetLens(network, torch.zeros(224, 224))


def test_what_cannot_be_unrolled_or_named_is_said(network):
    with pytest.raises(TraceError, match="a scripted network has no Python code to unroll"):
        FlatModel.from_nn_Module(torch.jit.trace(network.eval(), X))
    for wrong in (15, [*range(5)], {0: "a"}):
        with pytest.raises(NetLensError, match="classes must be a list of texts"):
            NetLens(network, X, classes=wrong)  # type: ignore[arg-type]
    for k in (0, -1, 1.5):
        with pytest.raises(NetLensError, match=r"k is .*, but must be a whole number of at least 1"):
            NetLens(network, X).predictions(k)  # type: ignore[arg-type]


def test_what_is_no_preprocessing_or_size_is_refused(network):
    for wrong in ({"mean": 0.5}, {"mean": (math.nan,)}, {"std": ("x",)}, {"size": 224}):
        with pytest.raises(ImageError, match=r"Preprocessing: (mean|std|size) is .*, but must be"):
            Preprocessing(**{"size": (8, 8), "resize": 8, "mean": (0.5,), "std": (0.5,), **wrong})  # type: ignore[arg-type]
    with pytest.raises(NetLensError, match=r"preprocessing is <function .*, but must be a Preprocessing or None"):
        NetLens(network, X, preprocessing=lambda image: image)  # type: ignore[arg-type]
    for size in (0, (0, 4), "x", (1, 2, 3), 2.5):
        with pytest.raises(NetLensError, match=r"size is .*, but must be"):
            NetLens(network, X).saliency().heatmap(size=size)
