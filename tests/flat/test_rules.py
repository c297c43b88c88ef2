"""Rules change the backward of chosen layers and nothing else."""

import gc
import threading
import weakref

import pytest
import torch
import torch.nn.functional as F
import torchvision.models as tv
from captum.attr import Deconvolution, GuidedBackprop
from torch import nn

from netlens.errors import NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel, Hooks, Rule, Rules
from netlens.flat.rules import vjp
from netlens.rules import DECONVNET, GUIDED

RULES = {"guided": (GUIDED, GuidedBackprop), "deconvnet": (DECONVNET, Deconvolution)}
FUNCTIONAL = {
    "googlenet": lambda: tv.GoogLeNet(5, aux_logits=False, init_weights=False),
    "densenet": lambda: tv.DenseNet(8, (2, 3, 2), 16, num_classes=5),
}


class OnlyModules(nn.Module):
    """ReLU modules only, each used once, so that captum finds them all; a skip connection between them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 1))
        self.relu = nn.ReLU()
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        y = self.first(x)
        return self.head(self.relu(self.second(y) + y).mean((2, 3)))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return randomized(OnlyModules()).double()


@pytest.fixture
def x():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gradient(run, x, target=1):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(run(leaf)[:, target].sum(), leaf)[0]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", RULES)
def test_as_captum_on_module_rectifiers(name, network, x):
    rules, method = RULES[name]
    expected = method(network).attribute(x.clone().requires_grad_(), target=1)
    got = gradient(FlatModel.from_nn_Module(network).with_rules(rules), x)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)
    assert not torch.allclose(got, gradient(network, x))


class Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(min=0) * (ctx.saved_tensors[0] > 0)


class Deconvolved(Guided):
    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(min=0)


@pytest.mark.parametrize("name, function", [("guided", Guided), ("deconvnet", Deconvolved)])
@pytest.mark.parametrize("family", FUNCTIONAL)
def test_as_the_definition_on_functional_rectifiers(name, function, family, x, monkeypatch):
    torch.manual_seed(0)
    network = randomized(FUNCTIONAL[family]()).double()
    flat = FlatModel.from_nn_Module(network)
    plain = gradient(flat, x)
    got = gradient(flat.with_rules(RULES[name][0]), x)
    monkeypatch.setattr(F, "relu", lambda input, inplace=False: function.apply(input))  # nn.ReLU calls it too
    expected = gradient(network, x)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())
    assert not torch.allclose(got, plain)


def test_a_rule_of_ones_own_is_a_line(network, x):
    straight = Rules({nn.ReLU: Rule(lambda layer, inputs, output, gradient: (gradient,))}, name="straight")
    linear = randomized(network).double()
    got = gradient(FlatModel.from_nn_Module(network).with_rules(straight), x)
    linear.load_state_dict(network.state_dict())
    linear.first[2], linear.second[1], linear.relu = nn.Identity(), nn.Identity(), nn.Identity()
    torch.testing.assert_close(got, gradient(linear, x), rtol=1e-10, atol=1e-13)


def test_the_true_derivative_is_a_rule_that_changes_nothing(network, x):
    true = Rules({nn.Module: Rule(lambda layer, inputs, output, gradient: vjp(output, inputs, gradient))})
    flat = FlatModel.from_nn_Module(network)
    torch.testing.assert_close(gradient(flat.with_rules(true), x), gradient(flat, x), rtol=1e-12, atol=1e-15)


def test_rules_are_chosen_by_key_path_glob_and_type_and_the_last_counts(network, x):
    flat = FlatModel.from_nn_Module(network)
    stop = Rule(lambda layer, inputs, output, gradient: [torch.zeros_like(i) for i in inputs])
    true = Rule(lambda layer, inputs, output, gradient: vjp(output, inputs, gradient))
    for which in ("relu", "first", "second.*", nn.Linear):
        ruled = flat.with_rules(Rules({which: stop}))
        assert not torch.equal(gradient(ruled, x), gradient(flat, x))
        overruled = flat.with_rules(Rules({which: stop, "*": true}))
        torch.testing.assert_close(gradient(overruled, x), gradient(flat, x), rtol=1e-12, atol=1e-15)
        later = flat.with_rules(Rules({which: stop})).with_rules(Rules({"*": true}))
        torch.testing.assert_close(gradient(later, x), gradient(flat, x), rtol=1e-12, atol=1e-15)


def test_the_forward_the_flat_model_and_the_original_stay(network, x):
    flat = FlatModel.from_nn_Module(network)
    before, plain = flat(x), gradient(flat, x)
    ruled = flat.with_rules(GUIDED)
    gradient(ruled, x)
    assert torch.equal(ruled(x), before) and torch.equal(flat(x), before)
    assert torch.equal(gradient(flat, x), plain)
    torch.testing.assert_close(gradient(network, x), plain, rtol=1e-12, atol=1e-15)
    assert {t.data_ptr() for t in ruled.parameters()} == {t.data_ptr() for t in network.parameters()}
    assert list(ruled.layers) == list(flat.layers)
    assert ruled.find(nn.ReLU) == flat.find(nn.ReLU)


def test_hooks_work_under_rules(network, x):
    ruled = FlatModel.from_nn_Module(network).with_rules(GUIDED)
    with Hooks(ruled, ["first", "input"]) as hooks:
        ruled(x)[:, 1].sum().backward()
    torch.testing.assert_close(hooks["input"].gradient, gradient(ruled, x))
    assert torch.equal(hooks["first"].activation, network.first(x))


def test_two_threads_with_rules_of_their_own(network, x):
    flat = FlatModel.from_nn_Module(network)
    runs = {"plain": flat, "guided": flat.with_rules(GUIDED), "deconvnet": flat.with_rules(DECONVNET)}
    expected, got = {name: gradient(run, x) for name, run in runs.items()}, {}

    def work(name):
        got[name] = [gradient(runs[name], x) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(name,)) for name in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(value, expected[name]) for name, values in got.items() for value in values)
    assert len(got) == 3


def test_a_network_without_rectifiers_is_told():
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Linear(3, 2), nn.Tanh()))
    with pytest.raises(
        NotApplicable, match=r"guided backprop: no layer of sequential matches; its types: Linear, Tanh"
    ):
        flat.with_rules(GUIDED)


def test_a_program_under_rules_is_made_once_and_let_go_with_them(monkeypatch):
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    rules = Rules({nn.ReLU: Rule(lambda layer, inputs, output, gradient: (gradient,))})
    first, second = flat.with_rules(rules), flat.with_rules(rules)
    assert first.program is second.program and first is not second
    other = Rules({nn.ReLU: Rule(lambda layer, inputs, output, gradient: (gradient,))})
    assert flat.with_rules(other).program is not first.program
    assert FlatModel.from_nn_Module(nn.Sequential(nn.ReLU())).with_rules(rules).program is not first.program
    program = weakref.ref(first.program)
    del rules, first, second
    gc.collect()
    assert program() is None
