"""Guided backprop and deconvnet say where they do not reach: rectifiers inside layers that a trace left whole."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.attribution import Deconvolution, GuidedBackprop, GuidedGradCAM, InputGradient, Saliency, SmoothGradient
from netlens.errors import NetLensWarning, NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.objectives import logit

RECTIFYING = {
    "a module": lambda part, x: part.act(x),
    "a function": lambda part, x: F.relu(x),
    "in place": lambda part, x: (x + 0).relu_(),
    "a smooth one": lambda part, x: F.gelu(x),
    "a clamp": lambda part, x: x.clamp(min=0),
    "with a weight": lambda part, x: F.prelu(x, part.slope),
    "of six": lambda part, x: F.relu6(x),
}
OTHERS = {
    "nothing": lambda part, x: x * 2,
    "a sigmoid": lambda part, x: torch.sigmoid(x),
    "a clamp elsewhere": lambda part, x: x.clamp(-1, 1e3).clamp(max=5.0),
}
METHODS = [GuidedBackprop(), Deconvolution(), GuidedGradCAM()]


class Whole(nn.Module):
    """A part that decides on its data, so that no trace goes through it."""

    def __init__(self, what) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU() if what is RECTIFYING["a module"] else nn.Identity()
        self.register_buffer("slope", torch.full((1,), 0.2))
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.what(self, x) if x.sum() > -1e9 else x


def flat_of(what, outside: nn.Module) -> FlatModel:
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)]
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), outside, Whole(what), nn.Conv2d(4, 4, 1), *head)
    return FlatModel.from_nn_Module(randomized(network).double())


X = torch.randn(2, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("what", RECTIFYING)
def test_one_warning_names_the_opaque_layers_that_hold_rectifiers(what, method):
    flat = flat_of(RECTIFYING[what], nn.ReLU())
    assert list(flat.opaque) == ["2"]
    with pytest.warns(NetLensWarning, match="rectifiers inside the opaque layers of sequential: '2'") as record:
        method(flat, X, logit(0))
    rules = "deconvnet" if isinstance(method, Deconvolution) else "guided"
    assert len(record) == 1 and str(record[0].message).split()[0] == rules


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("what", OTHERS)
def test_nothing_is_said_of_parts_that_hold_none(what, method):
    flat = flat_of(OTHERS[what], nn.ReLU())
    assert list(flat.opaque) == ["2"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method(flat, X, logit(0))


def test_only_what_lies_between_counts_and_only_for_rules():
    flat = flat_of(RECTIFYING["a function"], nn.ReLU())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Saliency()(flat, X, logit(0))
        InputGradient()(flat, X, logit(0))
        SmoothGradient(n_samples=2)(flat, X, logit(0))
        GuidedBackprop()(flat, X, logit(0), wrt="2")  # from its output on, the gradient passes none
    with pytest.warns(NetLensWarning, match="'2'"):
        GuidedBackprop()(flat, X, logit(0), wrt="0")


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_a_network_without_rectifiers_outside_is_told_where_they_may_lie(method):
    flat = flat_of(RECTIFYING["a function"], nn.Identity())
    with pytest.raises(
        NotApplicable, match=r"no layer of .* matches; .*2 of 8 layers are inside '2', .*; no rule reaches them"
    ):
        method(flat, X, logit(0))


def test_scripted_parts_are_looked_into():
    torch.manual_seed(0)
    block = torch.jit.script(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)]
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), block, *head).double().eval())
    with pytest.warns(NetLensWarning, match="'2'"):
        GuidedBackprop()(flat, X, logit(0))
