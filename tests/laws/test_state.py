"""The user's module is untouched, also by parts that keep state: state is read, and never written back."""

from collections import deque

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens import NetLens
from netlens.attribution import METHODS
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from tests.small import small


class Branching(nn.Module):
    """Abstract: a part that cannot be traced, because its control flow depends on the data."""

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x) if bool((x.abs() < 1e30).all()) else x


class Counting(Branching):
    def __init__(self):
        super().__init__()
        self.n = 0
        self.register_buffer("run", torch.ones(3))

    def compute(self, x):
        self.n += 1
        self.run.mul_(0.9).add_(x.mean((0, 2, 3)) * 0.1)
        return x * self.n + self.run.view(-1, 1, 1)


class Training(Branching):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def compute(self, x):
        self.norm.train()
        return self.norm(x)


class Remembering(Branching):
    """In a list, a dict, a deque and an attribute that did not exist."""

    def __init__(self):
        super().__init__()
        self.means, self.named = [], {}
        self.last: deque[Tensor] = deque(maxlen=2)

    def compute(self, x):
        self.means.append(x.mean())
        self.named[len(self.named)] = x.sum()
        self.last.append(x)
        self.latest = x
        return x * len(self.means) * len(self.named) * len(self.last)


class Constrained(nn.Module):
    """Its forward replaces the values of a weight, as networks of EEG do to bound their norms."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        self.conv.weight.data = torch.renorm(self.conv.weight.data, 2, 0, 0.3)
        return self.conv(x)


class Statistics(nn.Module):
    """Functions that write what they see into the statistics that they are given."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        x = F.batch_norm(x, self.norm.running_mean, self.norm.running_var, training=True)
        return F.instance_norm(x, self.norm.running_mean, self.norm.running_var, self.norm.weight, use_input_stats=True)


class Switched(nn.Module):
    """A layer that the forward itself puts into train mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        self.norm.train()
        return self.norm(x)


PARTS = [Counting, Training, Remembering, Constrained, Statistics, Switched]


def network(part: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 3, 3, padding=1), part(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)
    return nn.Sequential(*layers).double().eval()


def image(n: int = 1) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def state_of(module: nn.Module) -> dict:
    """All tensors, and all attributes of each part, of which lists and dicts by their length."""
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for name, part in module.named_modules():
        for attribute, value in vars(part).items():
            sized = isinstance(value, (list, dict, deque))
            state[f"{name}:{attribute}"] = len(value) if sized else value
    return state


def assert_same(before: dict, after: dict) -> None:
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = torch.equal(value, after[name]) if isinstance(value, Tensor) else value == after[name]
        assert same, name


@pytest.mark.parametrize("part", PARTS)
def test_two_runs_give_what_the_network_gives_first(part):
    module = network(part)
    before, flat = state_of(module), FlatModel.from_nn_Module(module)
    first, second = flat(image(2)), flat(image(2))
    assert torch.equal(first, second)
    assert_same(before, state_of(module))
    assert torch.allclose(first, network(part)(image(2)), rtol=0, atol=1e-14)


def test_weights_that_change_afterwards_are_seen():
    module = network(Constrained)
    flat = FlatModel.from_nn_Module(module)
    flat(image())
    with torch.no_grad():
        module[1].conv.weight.mul_(0.1)
    assert torch.equal(flat(image()), module(image()))
    assert torch.equal(flat(image()), module(image()))


@pytest.mark.parametrize("part", PARTS)
def test_a_summary_changes_nothing(part):
    module = network(part)
    before = state_of(module)
    assert "linear" in str(FlatModel.from_nn_Module(module).summary((1, 3, 8, 8))).lower()
    assert_same(before, state_of(module))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.filterwarnings("ignore::netlens.errors.NetLensWarning")
def test_no_method_changes_it_and_each_gives_the_same_twice(part):
    module = network(part)
    before, lens = state_of(module), NetLens(module, image(), target=1)
    for name in METHODS:
        try:
            first, second = (lens.attribute(small(name)).values for _ in range(2))
        except NotApplicable:
            pass
        else:
            assert torch.equal(first, second), name
        assert_same(before, state_of(module))
