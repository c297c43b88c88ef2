"""In-place operations, on tensors and on views of them, compute what they do in the original and overwrite nothing."""

import copy
import pickle

import pytest
import torch
from torch import nn

from netlens.flat import FlatModel
from tests.networks import in_place as inplace
from tests.networks.in_place import CASES


class Doing(nn.Module):
    """A network whose whole forward is one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def outputs(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.fixture
def x():
    return torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("inference", [True, False])
def test_in_place_is_pure_and_equal(case, inference, x):
    with torch.inference_mode(inference):
        flat = FlatModel.from_nn_Module(Doing(case))
        clone = x.clone()
        expected = outputs(Doing(case)(x.clone()))
        got = outputs(flat(clone))
        assert not flat.opaque
        assert torch.equal(clone, x)
        for want, have in zip(expected, got, strict=True):
            assert want.dtype == have.dtype
            assert torch.equal(want, have)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_no_step_changes_what_it_reads(case, x):
    flat = FlatModel.from_nn_Module(Doing(case))
    keys = ["input", *flat.layers]
    clone = x.clone()
    values = flat.record(clone, layers=keys)
    alone = {key: flat(x.clone(), until=key) for key in keys[1:]}
    for key in keys[1:]:
        for want, have in zip(outputs(alone[key]), outputs(values[key]), strict=True):
            assert torch.equal(torch.as_tensor(want), torch.as_tensor(have)), key


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_copies_compute_the_same(case, x):
    flat = FlatModel.from_nn_Module(Doing(case))
    for twin in (pickle.loads(pickle.dumps(flat)), copy.deepcopy(flat)):
        assert all(torch.equal(a, b) for a, b in zip(outputs(twin(x)), outputs(flat(x)), strict=True))


# without gradients, or with in-place operations that autograd forbids in the original
UNDIFFERENTIABLE = (
    *(inplace.integer_arithmetic, inplace.logic, inplace.detached, inplace.flags_only),
    *(inplace.chunked, inplace.split_and_written_in_turn, inplace.unbound, inplace.interleaved),
)


@pytest.mark.parametrize("case", [c for c in CASES if c not in UNDIFFERENTIABLE], ids=lambda case: case.__name__)
def test_gradients_pass_as_in_the_original(case, x):
    def gradient(network):
        leaf = x.double().requires_grad_()
        sum(out.double().square().sum() for out in outputs(network(leaf * 1))).backward()
        return leaf.grad

    assert torch.equal(gradient(FlatModel.from_nn_Module(Doing(case))), gradient(Doing(case)))
