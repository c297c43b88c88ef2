"""One operation has one meaning, however it is spelled: every method gives what it gives for the module."""

import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from netlens.attribution import (
    LRP,
    AttentionRollout,
    Deconvolution,
    DeepLift,
    ExcitationBackprop,
    FullGrad,
    GradCAM,
    GradientRollout,
    GuidedBackprop,
    Saliency,
)
from netlens.flat import FlatModel
from netlens.flat.layers import OfUnitSize, QuickGELU, Standardized, Written
from netlens.flat.operations import is_kind
from netlens.objectives import logit
from netlens.rules import COMPOSITES, Epsilon, EpsilonPlus

METHODS = {
    "saliency": Saliency(),
    "guided backprop": GuidedBackprop(),
    "deconvnet": Deconvolution(),
    "DeepLIFT": DeepLift(baselines=0.3),
    "excitation backprop": ExcitationBackprop(),
    "FullGrad": FullGrad(),
    "GradCAM": GradCAM("conv"),
    **{f"LRP {name}": LRP(name) for name in COMPOSITES},
}
RECTIFYING = ("guided backprop", "deconvnet")  # which refuse a network without rectifiers


class Around(nn.Module):
    """Convolutions before and behind an operation: a function, or a module."""

    def __init__(self, operation):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3)
        self.operation = operation
        self.last = nn.Conv2d(6, 6, 3)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(self.last(self.operation(self.conv(2 * x))).mean((2, 3)))


def image(seed=0):
    return torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def flattened(operation):
    network = Around(operation).double().eval()
    return network, FlatModel.from_nn_Module(network)


def assert_one_meaning(spelled, module, methods=METHODS, tolerance=1e-10):
    """The outputs of `spelled` are its own to the last bit, and all methods give what they give for `module`."""
    network, flat = flattened(spelled)
    _, other = flattened(module)
    x = image()
    assert torch.equal(flat(x), network(x))
    for name, method in methods.items():
        values, wanted = (method(one, x, logit(1)).values for one in (flat, other))
        assert_close(values, wanted, rtol=tolerance, atol=tolerance, msg=f"{name}: {values} for {wanted}")
    return flat


def only_positive(x):
    x = x.clone()
    x[x < 0] = 0
    return x


RELU = {
    "F.relu": F.relu,
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "threshold": lambda x: F.threshold(x, 0, 0),
    "nn.Threshold": nn.Threshold(0, 0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "maximum with a number": lambda x: torch.maximum(x, torch.tensor(0.0)),
    "x.max": lambda x: x.max(torch.zeros_like(x)),
    "max with new_zeros": lambda x: torch.max(x, x.new_zeros(())),
    "max with zeros": lambda x: torch.max(x, torch.zeros(x.shape, dtype=x.dtype, device=x.device)),
    "mask": lambda x: x * (x > 0),
    "mask as numbers": lambda x: (x >= 0).to(x.dtype) * x,
    "mask of floats": lambda x: x * (x > 0).float(),
    "where": lambda x: torch.where(x > 0, x, 0),
    "where not": lambda x: torch.where(x < 0, torch.zeros_like(x), x),
    "x.where": lambda x: x.where(x > 0, torch.zeros_like(x)),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0),
    "assigned": only_positive,
    "absolute": lambda x: (x + x.abs()) / 2,
    "half of the absolute": lambda x: 0.5 * (torch.abs(x) + x),
}
RELU6 = {
    "F.relu6": F.relu6,
    "hardtanh": lambda x: F.hardtanh(x, 0, 6),
    "nn.Hardtanh": nn.Hardtanh(0, 6),
    "clamp": lambda x: x.clamp(0, 6),
    "relu and clamp": lambda x: F.relu(x).clamp(max=6),
    "minimum of maximum": lambda x: torch.minimum(torch.maximum(x, torch.tensor(0.0)), torch.tensor(6.0)),
}
ACTIVATIONS = {
    nn.ReLU: RELU,
    nn.ReLU6: RELU6,
    lambda: nn.LeakyReLU(0.1): {
        "maximum": lambda x: torch.maximum(x, 0.1 * x),
        "where": lambda x: torch.where(x > 0, x, 0.1 * x),
        "two halves": lambda x: F.relu(x) - 0.1 * F.relu(-x),
    },
    nn.ELU: {
        "where": lambda x: torch.where(x > 0, x, torch.exp(x) - 1),
        "two halves": lambda x: F.relu(x) - F.relu(1 - torch.exp(x)),
    },
    nn.SELU: {
        "where": lambda x: 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * (torch.exp(x) - 1)),
    },
    nn.Hardswish: {
        "relu6": lambda x: x * F.relu6(x + 3) / 6,
        "gate": lambda x: x * (F.relu6(x + 3) / 6),
        "clamp": lambda x: x * torch.clamp(x + 3, 0, 6) / 6,
    },
    nn.Hardsigmoid: {"relu6": lambda x: F.relu6(x + 3) / 6, "clamp": lambda x: torch.clamp(x / 6 + 0.5, 0, 1)},
    nn.SiLU: {
        "sigmoid": lambda x: x * torch.sigmoid(x),
        "quotient": lambda x: x / (1 + torch.exp(-x)),
        "in place": lambda x: x.clone().mul_(torch.sigmoid(x)),
    },
    nn.GELU: {
        "erf": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
        "another order": lambda x: x * 0.5 * (1.0 + torch.erf(x * 0.7071067811865476)),
    },
    lambda: nn.GELU("tanh"): {
        "tanh": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3)))),
        "factored": lambda x: 0.5 * x * (1 + torch.tanh(x * math.sqrt(2 / math.pi) * (1 + 0.044715 * x * x))),
    },
    nn.Mish: {
        "softplus": lambda x: x * torch.tanh(F.softplus(x)),
        "log": lambda x: x * torch.tanh(torch.log(1 + torch.exp(x))),
    },
    nn.Sigmoid: {
        "quotient": lambda x: 1 / (1 + torch.exp(-x)),
        "other quotient": lambda x: torch.exp(x) / (1 + torch.exp(x)),
        "reciprocal": lambda x: torch.reciprocal(1 + torch.exp(-x)),
    },
    nn.Tanh: {
        "sigmoid": lambda x: 2 * torch.sigmoid(2 * x) - 1,
        "quotient": lambda x: (torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x)),
    },
    nn.Softplus: {
        "log": lambda x: torch.log(1 + torch.exp(x)),
        "log1p": lambda x: torch.log1p(x.exp()),
        "logaddexp": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    },
    nn.LogSigmoid: {"log": lambda x: torch.log(torch.sigmoid(x)), "function": F.logsigmoid},
    nn.Softsign: {"quotient": lambda x: x / (1 + x.abs()), "function": F.softsign},
    nn.Tanhshrink: {"function": F.tanhshrink, "difference": lambda x: x - torch.tanh(x)},
}
ONE_BY_ONE = [(make, name, spelled) for make, family in ACTIVATIONS.items() for name, spelled in family.items()]
UNRECTIFIED = (nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.LogSigmoid, nn.Softsign, nn.Tanhshrink)


def named(case):
    return f"{type(case[0]()).__name__}, {case[1]}"


@pytest.mark.parametrize("case", ONE_BY_ONE, ids=named)
def test_activations(case):
    make, _, spelled = case
    module = make()
    rectifies = not isinstance(module, UNRECTIFIED)
    methods = METHODS if rectifies else {k: v for k, v in METHODS.items() if k not in RECTIFYING}
    # torch's own derivative of a Hardsigmoid has the sixth in float32
    assert_one_meaning(spelled, module, methods, 1e-7 if isinstance(module, nn.Hardsigmoid) else 1e-10)


SOFTMAX = {
    "plain": lambda x, d: x.exp() / x.exp().sum(d, keepdim=True),
    "once": lambda x, d: (lambda e: e / e.sum(dim=d, keepdim=True))(torch.exp(x)),
    "less the maximum": lambda x, d: (lambda e: e / e.sum(d, keepdim=True))((x - x.amax(d, keepdim=True)).exp()),
    "less the values of max": lambda x, d: (lambda e: e / e.sum(d, True))((x - x.max(d, keepdim=True)[0]).exp()),
    "unsqueezed": lambda x, d: (lambda e: e / e.sum(d).unsqueeze(d))(torch.exp(x)),
    "logsumexp": lambda x, d: torch.exp(x - x.logsumexp(d, keepdim=True)),
}
LOG_SOFTMAX = {
    "function": lambda x, d: F.log_softmax(x, d),
    "logsumexp": lambda x, d: x - x.logsumexp(d, keepdim=True),
    "logarithm": lambda x, d: torch.log(torch.softmax(x, d)),
    "sum": lambda x, d: x - x.exp().sum(d, keepdim=True).log(),
}
UNRECTIFIED_METHODS = {k: v for k, v in METHODS.items() if k not in RECTIFYING}
# FullGrad scales the map of each layer, also where it is a bias that a norm takes away again, which is rounding alone
OF_ANY_LAYOUT = {k: v for k, v in UNRECTIFIED_METHODS.items() if k != "FullGrad"}


@pytest.mark.parametrize("dim", [1, -1])
@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax(name, dim):
    assert_one_meaning(lambda x: SOFTMAX[name](x, dim), nn.Softmax(dim), UNRECTIFIED_METHODS)


@pytest.mark.parametrize("name", LOG_SOFTMAX)
def test_log_softmax(name):
    assert_one_meaning(lambda x: LOG_SOFTMAX[name](x, 1), nn.LogSoftmax(1), UNRECTIFIED_METHODS)


LOG_SUM = {
    "plain": lambda x: torch.log(torch.exp(x).sum(1, keepdim=True)),
    "less the maximum": lambda x: (lambda m: m + (x - m).exp().sum(1, keepdim=True).log())(x.amax(1, keepdim=True)),
    "without the dimension": lambda x: (x.amax(1) + torch.log(torch.exp(x - x.amax(1, keepdim=True)).sum(1))).unsqueeze(
        1
    ),
}


@pytest.mark.parametrize("name", LOG_SUM)
def test_logarithms_of_sums(name):
    written, called = LOG_SUM[name], lambda x: torch.logsumexp(x, 1, keepdim=True)
    assert_one_meaning(lambda x: x + written(x.tanh()), lambda x: x + called(torch.tanh(x)), OF_ANY_LAYOUT)


def over_channels(norm):
    """A norm over the last dimension, of maps with channels first."""
    return lambda x: norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def of_variance(dims, eps=1e-3):
    return lambda x: (x - x.mean(dims, keepdim=True)) / torch.sqrt(x.var(dims, keepdim=True, unbiased=False) + eps)


def of_squares(dims, eps=1e-3):
    def norm(x):
        centered = x - x.mean(dims, keepdim=True)
        return centered * torch.rsqrt(centered.pow(2).mean(dims, keepdim=True) + eps)

    return norm


def of_convnext(x):
    u = x.mean(1, keepdim=True)
    s = (x - u).pow(2).mean(1, keepdim=True)
    return (x - u) / torch.sqrt(s + 1e-3)


def of_both(dims):
    def norm(x):
        variance, mean = torch.var_mean(x, dims, keepdim=True, correction=0)
        return (x - mean) / (variance + 1e-3) ** 0.5

    return norm


def root(dims, eps=1e-3):
    return lambda x: x * torch.rsqrt(x.square().mean(dims, keepdim=True) + eps)


def of_llama(x):
    x = x.to(x.dtype)
    return (x / (x.pow(2).mean(-1, keepdim=True) + 1e-3).sqrt()).to(x.dtype)


plain = {"elementwise_affine": False, "eps": 1e-3}
NORMS = {
    "variance, last": (of_variance(-1), nn.LayerNorm(7, **plain)),
    "variance, several": (of_variance((1, 2, 3)), nn.LayerNorm((6, 7, 7), **plain)),
    "variance, channels": (of_variance(1), over_channels(nn.LayerNorm(6, **plain))),
    "squares, channels": (of_squares(1), over_channels(nn.LayerNorm(6, **plain))),
    "squares, last two": (of_squares((-2, -1)), nn.LayerNorm((7, 7), **plain)),
    "as in ConvNeXt": (of_convnext, over_channels(nn.LayerNorm(6, **plain))),
    "var_mean": (of_both((2, 3)), nn.InstanceNorm2d(6, eps=1e-3)),
    "root, last": (root(-1), nn.RMSNorm(7, **plain)),
    "root, channels": (root(1), over_channels(nn.RMSNorm(6, **plain))),
    "as in Llama": (of_llama, nn.RMSNorm(7, **plain)),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms(name):
    spelled, module = NORMS[name]
    assert_one_meaning(spelled, module, OF_ANY_LAYOUT)


def test_a_norm_with_weights():
    """Weights stay steps of their own, as behind a norm that has none."""
    weight, bias = torch.rand(6, 1, 1, dtype=torch.float64) + 0.5, torch.rand(6, 1, 1, dtype=torch.float64)

    class Norm(nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.norm = norm
            self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

        def forward(self, x):
            return self.weight * self.norm(x) + self.bias

    inner = nn.LayerNorm((6, 7, 7), **plain)
    flat = assert_one_meaning(Norm(of_variance((1, 2, 3))), Norm(inner), UNRECTIFIED_METHODS)
    assert sum(is_kind(layer, Standardized) for layer in flat.layers.values()) == 1


class Attending(nn.Module):
    """Attention over places, by products that are given."""

    def __init__(self, scores, mixed, softmax):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3)
        self.parts = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.scores, self.mixed, self.softmax = scores, mixed, softmax
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = self.conv(x).flatten(2).transpose(1, 2)
        q, k, v = (part(x) for part in self.parts)
        return self.fc(self.mixed(self.softmax(self.scores(q, k)), v).mean(1))


BY_PRODUCT = (lambda q, k: q @ k.transpose(1, 2), lambda a, v: a @ v, nn.Softmax(-1))
BY_EINSUM = {
    "in order": (
        lambda q, k: torch.einsum("bqd,bkd->bqk", q, k),
        lambda a, v: torch.einsum("bqk,bkd->bqd", a, v),
        nn.Softmax(-1),
    ),
    "values first": (
        lambda q, k: torch.einsum("bqd, bkd -> bqk", q, k),
        lambda a, v: torch.einsum("bkd, bqk -> bqd", v, a),
        nn.Softmax(-1),
    ),
    "softmax written out": (
        lambda q, k: torch.einsum("bqd,bkd->bqk", q, k),
        lambda a, v: torch.einsum("bqk,bkd->bqd", a, v),
        lambda s: SOFTMAX["less the maximum"](s, -1),
    ),
}


@pytest.mark.parametrize("name", BY_EINSUM)
def test_attention_by_einsum(name):
    x = image()
    flats = [FlatModel.from_nn_Module(Attending(*parts).double().eval()) for parts in (BY_PRODUCT, BY_EINSUM[name])]
    methods = [method for key, method in UNRECTIFIED_METHODS.items() if key not in ("FullGrad", "GradCAM")]
    for method in (*methods, AttentionRollout(), GradientRollout()):
        wanted, values = (method(flat, x, logit(1)).values for flat in flats)
        assert_close(values, wanted, rtol=1e-10, atol=1e-10 * wanted.abs().max().item())


def layer_types(operation):
    """What the written-out layers of a network around an operation are known as."""
    _, flat = flattened(operation)
    return [type(layer.inner) for layer in flat.layers.values() if isinstance(layer, Written)]


class Sloped(nn.Module):
    """A rectifier whose slope is learned, or lies in a buffer, which may change in place."""

    def __init__(self, learned):
        super().__init__()
        slope = torch.tensor(0.1, dtype=torch.float64)
        if learned:
            self.slope = nn.Parameter(slope)
        else:
            self.register_buffer("slope", slope)

    def forward(self, x):
        return torch.maximum(x, self.slope * x)


NO_FORMULA = {
    "learned": Sloped(learned=True),
    "buffer": Sloped(learned=False),
    "an inner value is read elsewhere": lambda x: (lambda gate: x * gate + gate)(x.exp() / (1 + x.exp()).sqrt()),
    "read by what comes after": lambda x: (lambda y: (x + y) / 2 + 0.1 * y)(x.abs()),
    "straight through": lambda x: x + (torch.relu(x) - x).detach(),
    "a gate that passes no gradient": lambda x: x * torch.sigmoid(x).detach(),
    "a norm that passes no gradient": lambda x: x / (x.square().mean(1, keepdim=True) + 1e-3).sqrt().detach(),
    "two activations": lambda x: torch.maximum(x, x.roll(1, 1)),
    "of the batch": lambda x: x.exp() / x.exp().sum(),
    "a softmax along another dimension": lambda x: x.exp() / x.exp().sum(1, keepdim=True).mean(2, keepdim=True),
    "times one": lambda x: 1.0 * torch.relu(x),
    "nearly": lambda x: x * (x > 0.5),
}


def test_what_a_formula_is_known_as():
    assert layer_types(lambda x: x * torch.sigmoid(1.702 * x)) == [QuickGELU]
    assert layer_types(root((1, 2))) == [OfUnitSize]
    assert layer_types(of_variance(1)) == [Standardized]
    # of what comes from the nearest activation, and of the whole softmax
    assert layer_types(lambda x: (lambda y: y * torch.sigmoid(y))(3 * x)) == [nn.SiLU]
    assert layer_types(lambda x: SOFTMAX["less the maximum"](x + 3, 1)) == [nn.Softmax]


@pytest.mark.parametrize("name", NO_FORMULA)
def test_what_is_no_formula_stays_as_it_is(name):
    network, flat = flattened(NO_FORMULA[name])
    assert not any(isinstance(layer, Written) for layer in flat.layers.values())
    assert torch.equal(flat(image()), network(image()))


def test_the_gradient_at_a_kink_is_the_one_that_is_written():
    flat = FlatModel.from_nn_Module(Bare(lambda x: torch.maximum(x, torch.zeros_like(x))))
    x = torch.zeros(1, 3, requires_grad=True)
    flat(x).sum().backward()
    assert x.grad.tolist() == [[0.5, 0.5, 0.5]]


class Bare(nn.Module):
    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def forward(self, x):
        return self.operation(x)


def test_a_formula_keeps_the_name_of_its_last_step_and_can_be_copied():
    _, flat = flattened(lambda x: x * torch.sigmoid(x))
    assert list(flat.layers) == ["mul", "conv", "mul_1", "last", "mean", "fc"]
    assert flat.find(nn.SiLU) == ["mul_1"]
    assert "SiLU" in str(flat.summary((1, 3, 9, 9)))
    copied = pickle.loads(pickle.dumps(FlatModel.from_nn_Module(Bare(nn.Sequential(HardSwish())))))
    assert copied.find(nn.Hardswish) == ["operation.0.div"]


class HardSwish(nn.Module):
    def forward(self, x):
        return x * F.relu6(x + 3) / 6


class Two(nn.Module):
    """Two convolutions of the input, joined by an operation; no biases."""

    def __init__(self, join):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Conv2d(3, 6, 3, bias=False), nn.Conv2d(3, 6, 3, bias=False)
        self.join = join
        self.last = nn.Conv2d(6, 4, 3, bias=False)

    def forward(self, x):
        return self.last(self.join(self.one(x), self.two(x))).mean((2, 3))


def masked(a, b):
    a = a.clone()
    a[b < 0] = 0
    return a


CHOICES = {
    "mask": lambda a, b: a * (b > 0),
    "mask as numbers": lambda a, b: (b > 0).to(a.dtype) * a,
    "mask of floats": lambda a, b: a * (b >= 0.1).double(),
    "two masks": lambda a, b: a * (b > 0) + b * ~(b > 0),
    "mask and not": lambda a, b: a * ((b > 0) & (a < 0.5)),
    "where": lambda a, b: torch.where(b > 0, a, b),
    "where of a third": lambda a, b: torch.where(a > b, a + b, 0.5 * b),
    "where or nothing": lambda a, b: torch.where(b > 0, a, 0),
    "where or zeros": lambda a, b: torch.where(b > 0, a, torch.zeros_like(a)),
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "x.max": lambda a, b: a.max(b),
    "masked_fill": lambda a, b: a.masked_fill(b < 0, 0),
    "assigned": masked,
    "times ones": lambda a, b: (a + b) * torch.ones_like(a),
    "times signs": lambda a, b: a * torch.sign(b),
    "less zeros": lambda a, b: a + b - a.new_zeros(a.shape),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_complete_under_deep_lift(name):
    network = Two(CHOICES[name]).double().eval()
    x, baseline = image(), image(1)
    values = DeepLift(baselines=baseline)(FlatModel.from_nn_Module(network), x, logit(1)).values
    assert_close(values.flatten(1).sum(1), (network(x) - network(baseline))[:, 1].detach())


@pytest.mark.parametrize("name", CHOICES)
def test_choices_conserve_relevance(name):
    network = Two(CHOICES[name]).double().eval()
    x = image()
    for composite in (Epsilon(epsilon=0, stabilizer=0), EpsilonPlus(epsilon=0, stabilizer=0)):
        values = LRP(composite)(FlatModel.from_nn_Module(network), x, logit(1)).values
        assert_close(values.flatten(1).sum(1), network(x)[:, 1].detach())


ONE_VALUE = {
    "square": torch.square,
    "pow": lambda x: x**2,
    "clamp": lambda x: x.clamp(max=0.4),
    "clamp both": lambda x: x.clamp(-0.2, 0.3),
    "abs": torch.abs,
    "exp": torch.exp,
    "times itself": lambda x: x * x,
}


@pytest.mark.parametrize("name", ONE_VALUE)
def test_what_reads_one_value_passes_its_relevance(name):
    _, flat = flattened(ONE_VALUE[name])
    before, behind = list(flat.layers)[1:3]
    relevances = LRP(Epsilon(epsilon=0, stabilizer=0)).relevances(flat, image(), logit(1), [before, behind])
    assert_close(relevances[before], relevances[behind])


def test_what_is_nothing_at_the_probes_is_no_known_layer():
    class Root(nn.Module):
        def forward(self, x):
            x = x.relu()
            return x.sqrt() * torch.sigmoid(x.sqrt().mean((2, 3), keepdim=True))

    assert "sigmoid" in FlatModel.from_nn_Module(Root()).layers
