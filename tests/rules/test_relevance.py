"""Each rule of relevance with pencil and paper, and as zennit has it on layers of every kind."""

import math

import pytest
import torch
import zennit.rules as theirs
from torch import nn
from torch.testing import assert_close
from zennit.composites import LayerMapComposite
from zennit.types import Linear

from netlens.errors import NetLensError, NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel, Normalize
from netlens.flat.layers import Add, Divide, MatMul, Multiply, Slot
from netlens.flat.operations import Relevance
from netlens.flat.rules import Ruled
from netlens.rules import COMPOSITES, EpsilonGammaBox, EpsilonPlus, relevance
from netlens.rules._attention_relevance import numerator, softmax, uniform
from netlens.rules._relevance_norms import (
    centered_norm,
)
from netlens.rules.composites import first_layers
from netlens.rules.excitation import of_the_same_sign
from netlens.rules.relevance_layers import role_of


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def propagated(layer, rule, inputs, at_output):
    """The relevance at each input of one layer."""
    inputs = [value.clone().requires_grad_() for value in inputs]
    return torch.autograd.grad(Ruled(layer, rule)(*inputs), inputs, at_output, allow_unused=True)


@pytest.fixture
def linear():
    """Contributions 2, -2, 3 and a bias of 1: an output of 4."""
    layer = nn.Linear(3, 1).double()
    with torch.no_grad():
        layer.weight.copy_(tensor(2, -1, -1)[None])
        layer.bias.fill_(1)
    return layer


PENCIL = {
    "epsilon 0": (relevance.epsilon(0), 12, (6, -6, 9)),
    "epsilon 2": (relevance.epsilon(2), 12, (4, -4, 6)),
    "z plus": (relevance.z_plus(0), 12, (4, 0, 6)),
    "z plus stabilized": (relevance.z_plus(2), 12, (3, 0, 4.5)),
    "z plus without bias": (relevance.z_plus(0, bias=False), 10, (4, 0, 6)),
    "alpha 2 beta 1": (relevance.alpha_beta(2, 1, 0), 12, (8, -12, 12)),
    "alpha 1 beta 0": (relevance.alpha_beta(1, 0, 0), 12, (4, 0, 6)),
    "gamma": (relevance.gamma(0.5, 0), 14, (6, -4, 9)),
    "z box": (relevance.z_box(-3.0, 3.0, 0), 15, (8, 1, 6)),
    "flat": (relevance.flat(0), 12, (4, 4, 4)),
    "w square": (relevance.w_square(0), 7, (4, 1, 1)),
}


@pytest.mark.parametrize("name", PENCIL)
def test_with_a_pencil(name, linear):
    rule, before, expected = PENCIL[name]
    (got,) = propagated(linear, rule, [tensor(1, 2, -3)[None]], tensor(before)[None])
    assert_close(got, tensor(*expected)[None])


def test_gamma_favors_the_sign_of_the_output(linear):
    with torch.no_grad():
        for weight in linear.parameters():
            weight.neg_()
    (got,) = propagated(linear, relevance.gamma(0.5, 0), [tensor(1, 2, -3)[None]], tensor(14)[None])
    assert_close(got, tensor(6, -4, 9)[None])


def test_a_total_of_zero_has_nothing_to_give_at_epsilon_0(linear):
    (got,) = propagated(linear, relevance.epsilon(0), [tensor(1, 2, 1)[None]], tensor(5)[None])
    assert linear(tensor(1, 2, 1)).item() == 0 and got.tolist() == [[0, 0, 0]]


def call(kind, function):
    return kind(function, (Slot(0), Slot(1)), {})


def test_products_and_sums_with_a_pencil():
    gate, maps = tensor(2, 3).view(1, 2, 1, 1), tensor(*range(8)).view(1, 2, 2, 2)
    before = tensor(*range(8, 0, -1)).view(1, 2, 2, 2)
    to_gate, to_maps = propagated(call(Multiply, torch.mul), uniform((True, True)), [gate, maps], before)
    assert_close(to_maps, before / 2)
    assert_close(to_gate, before.sum((2, 3), keepdim=True) / 2)
    to_gate, to_maps = propagated(call(Multiply, torch.mul), uniform((False, True)), [gate, maps], before)
    assert to_gate is None and torch.equal(to_maps, before)
    top, bottom = propagated(call(Divide, torch.div), numerator((True, True)), [maps, gate], before)
    assert torch.equal(top, before) and bottom is None

    a, v = tensor(1, 2)[None], tensor(4, 3)[:, None]  # 1 * 4 + 2 * 3 = 10
    both = propagated(call(MatMul, torch.matmul), relevance.epsilon(0, (True, True)), [a, v], tensor(20)[None])
    assert_close(both, (tensor(4, 6)[None], tensor(4, 6)[:, None]))
    of_value = propagated(call(MatMul, torch.matmul), relevance.epsilon(0, (False, True)), [a, v], tensor(20)[None])
    assert of_value[0] is None
    assert_close(of_value[1], tensor(8, 12)[:, None])

    for sign in (1, -1):
        summands = [sign * tensor(3, 3), sign * tensor(-1, 1)]
        got = propagated(call(Add, torch.add), of_the_same_sign(0), summands, tensor(4, 4))
        assert_close(got, (tensor(4, 3), tensor(0, 1)))


def test_softmax_with_a_pencil():
    x = tensor(0, math.log(3))[None]  # 1/4 and 3/4
    (got,) = propagated(nn.Softmax(-1), softmax(), [x], tensor(4, 4)[None])
    assert_close(got, tensor(0, -2 * math.log(3))[None])
    masked = torch.cat([x, tensor(-math.inf)[None]], 1)
    (got,) = propagated(nn.Softmax(1), softmax(), [masked], tensor(4, 4, 0)[None])
    assert_close(got, tensor(0, -2 * math.log(3), 0)[None])


def test_a_centered_norm_with_a_pencil():
    norm = nn.LayerNorm(2, eps=0, elementwise_affine=False)
    (got,) = propagated(norm, centered_norm(0), [tensor(3, 1)[None]], tensor(4, 6)[None])
    assert_close(got, tensor(15, -5)[None])  # 3 and 1 are 2 from their mean either way: (1, -1)


NORMS = {
    "layer": nn.LayerNorm([4, 3, 3]),
    "last": nn.LayerNorm(3),
    "group": nn.GroupNorm(2, 4),
    "instance": nn.InstanceNorm2d(4, affine=True),
}


@pytest.mark.parametrize("name", NORMS)
def test_of_a_centered_norm_only_the_shift_keeps_a_share(name):
    layer = randomized(NORMS[name]).double()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = torch.randn(2, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (got,) = propagated(layer, centered_norm(0), [x], before)
    y, shift = layer(x).detach(), layer.bias.detach()
    shift = shift.view(1, -1, 1, 1) if name in ("group", "instance") else shift
    assert_close(got.flatten(1).sum(1), (before * (1 - shift / y)).flatten(1).sum(1), rtol=1e-9, atol=1e-9)


def test_of_a_centered_norm_the_deviation_is_a_constant():
    layer = randomized(nn.LayerNorm(5)).double()
    x = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    deviation = (x.detach().var(-1, keepdim=True, unbiased=False) + layer.eps).sqrt()
    y = (x - x.mean(-1, keepdim=True)) / deviation * layer.weight + layer.bias
    expected = x * torch.autograd.grad(y, x, before / y)[0]
    (got,) = propagated(layer, centered_norm(0), [x.detach()], before)
    assert_close(got, expected.detach())


LAYERS = {
    "linear": (nn.Linear(5, 4), (2, 5)),
    "tokens": (nn.Linear(5, 4, bias=False), (2, 3, 5)),
    "1d": (nn.Conv1d(3, 4, 3, padding=1), (2, 3, 7)),
    "2d": (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 7, 6)),
    "dilated": (nn.Conv2d(2, 3, 3, dilation=2, bias=False), (2, 2, 7, 6)),
    "reflected": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 2, 5, 6)),
    "3d": (nn.Conv3d(2, 3, 2), (2, 2, 3, 4, 3)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 4, 5)),
}
RULES = {
    "epsilon": (relevance.epsilon(0.1), theirs.Epsilon(0.1)),
    "gamma": (relevance.gamma(0.3), theirs.Gamma(0.3)),
    "z plus": (relevance.z_plus(), theirs.ZPlus()),
    "alpha beta": (relevance.alpha_beta(2, 1), theirs.AlphaBeta(2, 1)),
    "alpha beta 3 2": (relevance.alpha_beta(3, 2, 0.2), theirs.AlphaBeta(3, 2, 0.2)),
    "z box": (relevance.z_box(-2.0, 3.0), theirs.ZBox(-2.0, 3.0)),
    "flat": (relevance.flat(), theirs.Flat()),
    "w square": (relevance.w_square(), theirs.WSquare()),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("sign", ["any", "positive"])
def test_as_zennit(name, kind, sign):
    ours, rule = RULES[name]
    layer, shape = LAYERS[kind]
    layer = randomized(layer).double()
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = x.clamp(min=0) if sign == "positive" else x
    before = torch.randn(layer(x).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    network = nn.Sequential(layer)
    with LayerMapComposite([((Linear,), rule)]).context(network) as ruled:
        leaf = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(ruled(leaf), leaf, before)
    (got,) = propagated(layer, ours, [x], before)
    assert_close(got, expected, rtol=1e-9, atol=1e-12 * expected.abs().max().item())


def test_a_box_with_an_edge_per_channel_is_seen_through_what_stands_before_the_layer():
    network = randomized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))).double()
    flat = FlatModel.from_nn_Module(network)
    preprocessing = flat.adapter.preprocessing
    normalizing = flat.prepend("normalize", Normalize(preprocessing.mean, preprocessing.std))
    image = torch.rand(2, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    normalized = Normalize(preprocessing.mean, preprocessing.std)(image)
    relevances = []
    for run, x in ((flat, normalized), (normalizing, image)):
        leaf = x.clone().requires_grad_()
        relevances.append(torch.autograd.grad(run.with_rules(EpsilonGammaBox()(run))(leaf)[:, 0].sum(), leaf)[0])
    assert_close(relevances[0], relevances[1], rtol=1e-9, atol=1e-12)


def test_mistakes_are_told():
    with pytest.raises(NetLensError, match="alpha - beta must be 1"):
        relevance.alpha_beta(2, 2)
    with pytest.raises(NetLensError, match="attention is 'none', but must be one of 'attn_lrp', 'constant'"):
        EpsilonPlus(attention="none")
    with pytest.raises(NetLensError, match="gates is 'none', but must be one of 'constant', 'uniform'"):
        EpsilonPlus(gates="none")
    with pytest.raises(NetLensError, match="epsilon is -1, but must be a finite number of at least 0"):
        EpsilonPlus(epsilon=-1)
    with pytest.raises(NetLensError, match="needs a convolution or linear layer, not ReLU"):
        propagated(nn.ReLU(), relevance.z_plus(), [tensor(1)], tensor(1))
    gray = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(1, 2, 3)))
    with pytest.raises(NotApplicable, match=r"box of inputs has 3 channels, but '0' .* reads 1; give low and high"):
        EpsilonGammaBox()(gray)
    EpsilonGammaBox(low=0.0, high=1.0)(gray)


class Branched(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.after = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), nn.Conv2d(4, 2, 1)
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        x = x * 2
        y = torch.cat([self.left(x), self.right(x.flip(2))], 1)
        return self.head(self.after(y).mean((2, 3))) * torch.sigmoid(y).mean()


def test_the_first_layers_are_those_that_the_input_reaches_first():
    flat = FlatModel.from_nn_Module(Branched())
    assert first_layers(flat) == {"left", "right"}
    chosen = COMPOSITES["epsilon_plus_flat"]()(flat).rules
    assert {key: repr(rule).split("(")[0] for key, rule in chosen.items() if key in flat.layers} == {
        **dict.fromkeys(("mul", "mul_1"), "uniform"),
        **dict.fromkeys(("left", "right"), "flat"),
        "after": "z_plus",
        **dict.fromkeys(("mean", "mean_1", "head"), "epsilon"),
        "sigmoid": "pass",
    }


def test_roles():
    assert role_of(nn.Conv2d(1, 1, 1)) is Relevance.WEIGHTS
    assert role_of(nn.MaxPool2d(2)) is Relevance.ARRANGES
    assert role_of(nn.BatchNorm2d(2)) is Relevance.MIXES
    assert role_of(nn.GELU()) is Relevance.PASSES
    assert role_of(call(Add, torch.add)) is Relevance.MIXES
    assert role_of(call(MatMul, torch.matmul)) is Relevance.CONTRACTS
