"""The table of operations: one row each, and an operation that somebody adds is right everywhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import LRP, DeepLift, GuidedBackprop, Occlusion
from netlens.errors import NetLensError
from netlens.flat import FlatModel, layers, operations
from netlens.flat.operations import UNKNOWN, _questions, _table, add, innermost, operation_of
from netlens.flat.receptive import receptive_fields
from netlens.objectives import logit
from netlens.weights import build


class Square(torch.autograd.Function):
    """A function that no trace can look into."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x > 0, x * x, 0.1 * x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * torch.where(x > 0, 2 * x, 0.1)


class Activation(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Square.apply(x)


class Net(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = (
            nn.Conv2d(3, 4, 3, bias=False),
            activation,
            nn.Conv2d(4, 4, 3, bias=False),
            activation,
            nn.AdaptiveAvgPool2d(1),
        )
        self.body, self.head = nn.Sequential(*layers), nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


@pytest.fixture
def added() -> Iterator[type[nn.Module]]:
    """A type of activation that is in the table for one test."""
    kind = type("Added", (Activation,), {})
    add(kind, like=nn.SiLU)
    yield kind
    del _table.BY_TYPE[kind], _questions.LIKE[kind]


def test_an_added_activation_is_right_everywhere(added: type[nn.Module]) -> None:
    flat = FlatModel.from_nn_Module(Net(added()).double())
    x, target = torch.randn(1, 3, 12, 12, dtype=torch.float64), logit(1)
    assert not flat.opaque and sum(isinstance(layer, added) for layer in flat.layers.values()) == 2
    gap = DeepLift(baselines=0)(flat, x, target).values.sum() - (flat(x) - flat(0 * x))[0, 1]
    assert_close(gap, torch.zeros_like(gap), rtol=0, atol=1e-10)
    # each unit passes its relevance on, as a smooth activation does
    relevance = LRP("epsilon")(flat, x, target).values
    like = FlatModel.from_nn_Module(Net(nn.SiLU()).double())
    assert_close(relevance.sum(), flat(x)[0, 1], rtol=1e-4, atol=1e-6)
    assert receptive_fields(flat.program) == receptive_fields(like.program)
    assert GuidedBackprop()(flat, x, target).values.isfinite().all()
    occluded = Occlusion(window=4, stride=4)(flat, x, target).values
    for top, left in itertools.product((0, 4, 8), repeat=2):
        without = x.clone()
        without[:, :, top : top + 4, left : left + 4] = 0
        wanted = (flat(x) - flat(without))[0, 1].expand(4, 4)
        assert_close(occluded[0, 0, top : top + 4, left : left + 4], wanted, rtol=1e-9, atol=1e-12)


def test_incremental_occlusion_runs_on_patches_through_an_added_activation(added: type[nn.Module]) -> None:
    flat = FlatModel.from_nn_Module(Net(added()))
    assert operations.has_known_forward(flat.layers[1])
    assert not operations.has_known_forward(type("Own", (nn.ReLU,), {"forward": lambda self, x: x.flip(-1).relu()})())


def test_a_function_of_somebodys_own_is_not_known_by_a_name_that_it_shares() -> None:
    def relu(x: Tensor) -> Tensor:
        return x.flip(-1).relu()

    layer = layers.Apply(relu, (layers.Slot(0),), {})
    assert operation_of(layer) is UNKNOWN
    assert operation_of(layers.Apply(torch.relu, (layers.Slot(0),), {})).curve is not None


def test_what_has_no_row_cannot_be_a_model() -> None:
    with pytest.raises(NetLensError, match="'frobnicate'"):
        add("swish", like="frobnicate")
    with pytest.raises(NetLensError, match="module type or the name"):
        add(3, like=nn.ReLU)  # type: ignore[arg-type]


# in a window, each value sees the same part of the image, wherever it lies; so from the first windows to the pool
# before the classifier, no field of one size and stride exists
UNKNOWN_FIELDS = {"swin_t": 394, "swin_v2_t": 419}


@pytest.mark.parametrize(
    "name",
    [
        *("convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3"),
        *("maxvit_t", "mnasnet0_5", "mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5", "swin_t"),
        *("swin_v2_t", "vgg11_bn", "vit_b_32"),
    ],
)
def test_each_layer_has_a_receptive_field_but_those_that_are_explained(name: str) -> None:
    program = FlatModel.from_nn_Module(build(name)).program
    fields = receptive_fields(program)
    unknown = [step for step in program.steps if not step.hidden and fields[step.key] is None]
    assert len(unknown) == UNKNOWN_FIELDS.get(name, 0)
    assert all(type(innermost(step.layer)).__name__ == "Partition" for step in unknown[:1])
