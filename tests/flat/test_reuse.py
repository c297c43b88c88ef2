"""Reuse of memory: the same numbers, and nothing that anybody holds is ever overwritten."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.evaluation import randomized
from netlens.flat import FlatModel, Hooks
from netlens.weights import build


@pytest.fixture(scope="module", params=["resnet18", "mobilenet_v2", "mobilenet_v3_small", "densenet121"])
def flat(request: pytest.FixtureRequest) -> FlatModel:
    return FlatModel.from_nn_Module(randomized(build(request.param)))


def test_it_happens_and_changes_no_number(flat: FlatModel) -> None:
    with torch.no_grad():
        assert flat.program.in_place(flat.inputs, flat.program.outputs, frozenset())
    x = torch.randn(2, 3, 64, 64)
    with Hooks(flat, list(flat.layers)):  # who may hold on to everything has nothing overwritten
        expected = flat(x)
    assert torch.equal(flat(x), expected)
    with torch.no_grad():
        assert torch.equal(flat(x), expected)
    with torch.inference_mode():
        assert torch.equal(flat(x), expected)


def test_it_changes_no_gradient(flat: FlatModel) -> None:
    x = torch.randn(2, 3, 64, 64, requires_grad=True)
    with Hooks(flat, list(flat.layers)):
        (expected,) = torch.autograd.grad(flat(x)[:, 1].sum(), x)
    (gradient,) = torch.autograd.grad(flat(x)[:, 1].sum(), x)
    assert torch.equal(gradient, expected)


def test_what_hooks_hold_stays_as_it_was(flat: FlatModel) -> None:
    x = torch.randn(1, 3, 64, 64)
    keys = flat.find(nn.BatchNorm2d)
    with Hooks(flat, list(flat.layers)) as hooks:
        flat(x)[0, 1].backward()
    expected = [(hooks[key].activation, hooks[key].gradient) for key in keys]
    for layers in (keys, keys[::3]):
        with Hooks(flat, layers) as hooks:
            flat(x)[0, 1].backward()
        for key, (activation, gradient) in zip(keys, expected, strict=True):
            if key in layers:
                assert torch.equal(hooks[key].activation, activation) and torch.equal(hooks[key].gradient, gradient)


def test_what_is_recorded_stays_as_it_was(flat: FlatModel) -> None:
    x = torch.randn(1, 3, 64, 64)
    keys = list(flat.layers)
    expected = flat.record(x, layers=keys)
    for layers in (keys, keys[::2], keys[1::3]):
        with torch.no_grad():
            recorded = flat.record(x, layers=layers)
        assert all(torch.equal(recorded[key], expected[key]) for key in layers)


def test_what_a_suffix_starts_from_stays_as_it_was(flat: FlatModel) -> None:
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for key in flat.find(nn.BatchNorm2d)[::5]:
            values = flat.record(x, layers=flat.frontier(key))
            before = {name: value.clone() for name, value in values.items()}
            flat.resume(values)
            assert all(torch.equal(values[name], value) for name, value in before.items())


def test_a_hook_of_torchs_own_keeps_what_it_saw(flat: FlatModel) -> None:
    outputs: list[tuple[Tensor, Tensor]] = []
    key = next(k for k in flat.find(nn.BatchNorm2d))
    handle = flat.layers[key].register_forward_hook(
        lambda module, args, output: outputs.append((output, output.clone()))
    )
    with torch.no_grad():
        flat(torch.randn(1, 3, 64, 64))
    handle.remove()
    assert len(outputs) == 1 and torch.equal(*outputs[0])


def test_an_input_that_is_rectified_at_once_is_not_touched() -> None:
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.ReLU(), nn.Linear(4, 2)))
    x = torch.randn(3, 2, 2)
    before = x.clone()
    with torch.no_grad():
        flat(x)
    assert torch.equal(x, before)


class _Aliases(nn.Module):
    """A value under three names, of which one is read after it was rectified."""

    def __init__(self, late: bool) -> None:
        super().__init__()
        self.conv, self.first, self.second, self.relu = nn.Conv2d(3, 4, 1), nn.Identity(), nn.Identity(), nn.ReLU()
        self.late = late

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        first = self.first(maps)
        second = maps if self.late else self.second(maps)
        rectified = self.relu(first)
        return rectified + (self.second(second) if self.late else second)


@pytest.mark.parametrize("late", [False, True])
def test_a_value_of_several_names_is_not_overwritten_while_one_is_read(late: bool) -> None:
    module = _Aliases(late).eval()
    x = torch.randn(1, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(FlatModel.from_nn_Module(module)(x), module(x))


def test_it_happens_behind_names_that_nobody_reads_any_more() -> None:
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Identity(), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    assert set(flat.program.in_place(flat.inputs, flat.program.outputs, frozenset())) == {"2"}
    assert not flat.program.in_place(flat.inputs, flat.program.outputs, frozenset({"0"}))
    assert not flat.program.in_place(flat.inputs, (*flat.program.outputs, "1"), frozenset())


class _Read(nn.Module):
    """A convolution that something else reads before a rectifier, the last one to, does."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv, self.drop, self.how = nn.Conv2d(3, 4, 1), nn.Dropout(), how

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        if self.how == "view":
            before = maps.flatten(1).view_as(maps)
        elif self.how == "part":
            before = maps.chunk(2, 1)[0].repeat(1, 2, 1, 1)
        elif self.how == "dropout":
            before = self.drop(maps)
        elif self.how == "gelu":
            before = F.gelu(maps)
        else:
            before = F.max_pool2d(maps, 3, 1, 1)
        return F.relu(maps) - before


@pytest.mark.parametrize("how", ["view", "part", "dropout", "gelu", "pool"])
def test_a_value_that_somebody_else_read_is_not_overwritten(how: str) -> None:
    module = _Read(how).eval()
    flat = FlatModel.from_nn_Module(module)
    x = torch.randn(1, 3, 6, 6, requires_grad=True)
    with torch.no_grad():
        assert torch.equal(flat(x), module(x))
    ours, theirs = (torch.autograd.grad(one(x).square().sum(), x)[0] for one in (flat, module))
    assert torch.equal(ours, theirs)
