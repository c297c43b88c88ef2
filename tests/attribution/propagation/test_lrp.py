"""Relevance is conserved, equals zennit's, and is the same at any layer however it is read."""

import copy
import warnings

import pytest
import torch
import zennit.composites as theirs
from torch import nn
from torch.testing import assert_close
from torchvision.models.resnet import Bottleneck
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.torchvision import ResNetCanonizer

from netlens.attribution import LRP, ExcitationBackprop, InputXGradient, Saliency
from netlens.errors import LayerNotFound, NetLensError, NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel, Hooks, Rule, vjp
from netlens.objectives import channel, layer, logit
from netlens.rules import COMPOSITES, Epsilon, EpsilonGammaBox, relevance
from tests.networks.narrow import NarrowResNet, NarrowVGG

SHIFTS = ("bias", "in_proj_bias", "running_mean", "class_token", "pos_embedding", "relative_position_bias_table")


def without_biases(module):
    """The network without anything that is added to activations, so that a merged norm has no bias either."""
    network = copy.deepcopy(module)
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if name.rsplit(".", 1)[-1] in SHIFTS:
                value.zero_()
    return network


def cuts(flat):
    """Layers that all of the network passes through."""
    return [
        key for key in flat.layers if flat.frontier(key) == (key,) and not isinstance(flat.layers[key], nn.Identity)
    ]


def sums(relevances):
    return {key: values.reshape(len(values), -1).sum(1) for key, values in relevances.items()}


# conservation


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus_flat"])
def test_nothing_is_lost_at_any_cut(case, composite):
    flat = FlatModel.from_nn_Module(without_biases(case.module))
    chosen = COMPOSITES[composite](epsilon=0, stabilizer=0, attention="constant")
    keys = ["input", *cuts(flat)]
    totals = sums(LRP(chosen).relevances(flat, case.x, logit(list(case.targets)), keys))
    value = flat.logits(flat(case.x)).detach()[range(3), list(case.targets)]
    assert list(totals) == keys and value.abs().min() > 1e-6
    if composite == "epsilon_plus_flat" and case.name == "mobilenet":
        # a depthwise filter of which no weight is positive where its input is: z+ has nothing to share
        keys = [key for key in keys if key.startswith(("flatten", "classifier"))]
    for key in keys:
        assert_close(totals[key], value, rtol=1e-9, atol=1e-12, msg=lambda text, key=key: f"at {key}: {text}")


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_what_each_softmax_absorbs_is_all_that_attention_loses(cases, name):
    case = cases[name]
    flat = FlatModel.from_nn_Module(without_biases(case.module))
    objective = logit(list(case.targets))
    after = flat.find(nn.Softmax)
    before = [flat.program.steps[[s.key for s in flat.program.steps].index(key)].reads[0] for key in after]
    totals = sums(LRP(Epsilon(epsilon=0)).relevances(flat, case.x, objective, ["input", *after, *before]))
    absorbed = sum(totals[key] for key in after) - sum(totals[key] for key in before)
    value = flat(case.x).detach()[range(3), list(case.targets)]
    assert_close(totals["input"] + absorbed, value, rtol=1e-9, atol=1e-12)
    assert absorbed.abs().min() > 1e-3 * value.abs().min()


class Gated(nn.Module):
    """Squeeze and excitation, a smooth rectifier, and a residual."""

    def __init__(self):
        super().__init__()
        self.conv, self.squeeze, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        x = nn.functional.silu(self.conv(x))
        gate = torch.sigmoid(self.squeeze(x.mean((2, 3))))
        return self.head((x * gate[:, :, None, None] + x).mean((2, 3)))


@pytest.mark.parametrize("gates", ["constant", "uniform"])
def test_gates_lose_nothing_and_held_constant_they_take_nothing(gates):
    flat = FlatModel.from_nn_Module(without_biases(randomized(Gated()).double()))
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    method = LRP(Epsilon(epsilon=0, gates=gates))
    assert_close(sums(method.relevances(flat, x, logit(1), ["input"]))["input"], flat(x).detach()[:, 1])
    if gates == "uniform":
        relevances = sums(method.relevances(flat, x, logit(1), ["sigmoid", "mul"]))
        assert_close(relevances["sigmoid"], relevances["mul"] / 2)
    else:
        with pytest.raises(NotApplicable, match="does not depend on 'sigmoid'"):
            method(flat, x, logit(1), wrt="sigmoid")


# LRP-0


@pytest.mark.parametrize("name", ["resnet", "branches", "plain", "densenet", "dict", "vectors"])
def test_at_epsilon_0_it_is_the_input_times_the_gradient(cases, name):
    """On networks of plain rectifiers, with their biases: at the input and inside."""
    case = cases[name]
    for wrt in ("input", case.family.middle, case.family.late):
        if name == "branches" and wrt == "norm":
            continue  # the norm's activation is that of the convolution, too, where it is folded
        objective = logit(list(case.targets)) - 0.5 * logit(2)
        got = LRP("epsilon", epsilon=0)(case.flat, case.x, objective, wrt=wrt).values
        expected = InputXGradient()(case.flat, case.x, objective, wrt=wrt).values
        assert_close(got, expected, rtol=1e-8, atol=1e-10 * expected.abs().max().item())


class Normed(nn.Module):
    """A residual block behind a layer norm, whose deviation may be held constant."""

    constant_deviation = False

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.mlp, self.head = nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.first(x)
        y = self.held_norm(x) if self.constant_deviation else self.norm(x)
        return self.head(x + torch.relu(self.mlp(y)))

    def held_norm(self, x):
        deviation = (x.var(-1, keepdim=True, unbiased=False) + self.norm.eps).sqrt().detach()
        return (x - x.mean(-1, keepdim=True)) / deviation * self.norm.weight + self.norm.bias


def test_at_epsilon_0_norms_give_the_gradient_with_their_deviation_held():
    network = randomized(Normed()).double()
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    got = LRP("epsilon", epsilon=0)(FlatModel.from_nn_Module(network), x, logit(1)).values
    network.constant_deviation = True
    leaf = x.clone().requires_grad_()
    assert_close(got, x * torch.autograd.grad(network(leaf)[:, 1].sum(), leaf)[0], rtol=1e-9, atol=1e-12)


# zennit


NETWORKS = {
    "vgg": (lambda: NarrowVGG(10), SequentialMergeBatchNorm, 32),
    "resnet": (lambda: NarrowResNet(10, blocks=(2, 2, 2, 2)), ResNetCanonizer, 40),
    "resnext": (lambda: NarrowResNet(10, Bottleneck, groups=4, width_per_group=8), ResNetCanonizer, 40),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    make, canonizer, size = NETWORKS[request.param]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        built = randomized(make()).double()
    for part in built.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 0.0  # zennit leaves a norm that it has merged its eps, and so scales each layer by 1 - 5e-6
    x = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return built, FlatModel.from_nn_Module(built), x, canonizer


@pytest.mark.parametrize("name", ["epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_gamma_box"])
def test_as_zennit(network, name):
    built, flat, x, canonizer = network
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    box = {"low": -mean / std, "high": (1 - mean) / std} if name == "epsilon_gamma_box" else {}
    composite = theirs.COMPOSITES[name](canonizers=[canonizer()], **box)
    seed = built(x).detach()
    seed[0, [k for k in range(10) if k != 3]] = seed[1, 1:] = 0
    with composite.context(built) as ruled:
        leaf = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(ruled(leaf), leaf, seed)
    got = LRP(name)(flat, x, logit([3, 0])).values
    assert_close(got, expected, rtol=1e-8, atol=1e-10 * expected.abs().max().item())


# layers, objectives, rules of one's own


def test_hooks_read_relevance_as_the_gradient(core_case):
    method = LRP()
    key = core_case.flat.key(core_case.family.middle)
    expected = method.relevances(core_case.flat, core_case.x, logit(0), ["input", key])
    assert_close(method(core_case.flat, core_case.x, logit(0), wrt=key).values, expected[key], rtol=1e-9, atol=1e-12)
    view = method.view(core_case.flat)
    with Hooks(view, [key], gradients=True) as hooks:
        scores = view(core_case.x)
        seed = torch.zeros_like(scores)
        seed[:, 0] = scores[:, 0].detach()
        scores.backward(seed)
    assert_close(hooks[key].gradient, expected[key], rtol=1e-9, atol=1e-12)


def test_relevance_is_linear_in_the_objective(core_case):
    late = core_case.family.late
    parts = [LRP()(core_case.flat, core_case.x, one).values for one in (logit(0), logit(3), channel(late, 1))]
    whole = LRP()(core_case.flat, core_case.x, 2 * logit(0) - logit(3) + channel(late, 1)).values
    assert_close(whole, 2 * parts[0] - parts[1] + parts[2], rtol=1e-9, atol=1e-12)


def test_relevance_starts_as_activation_times_gradient_where_the_objective_reads(core_case):
    key = core_case.flat.key(core_case.family.late)
    at, again = core_case.flat(core_case.x, until=key), LRP()(core_case.flat, core_case.x, layer(key), wrt=key).values
    assert_close(again, 2 * at.square() / at[0].numel(), rtol=1e-9, atol=1e-12)


def test_rules_of_ones_own_by_type_key_and_glob(cases):
    case = cases["resnet"]

    def biasless(part, inputs, output, relevance):
        (gradient,) = vjp(output, inputs, relevance / (inputs[0].sum() + output))
        return [inputs[0] * gradient]

    usual = LRP()(case.flat, case.x, logit(0))
    changed = [
        LRP(rules={which: rule})(case.flat, case.x, logit(0))
        for which, rule in {
            nn.Conv2d: relevance.gamma(),
            "conv1": relevance.flat(),
            "layer*.conv1": Rule(biasless),
        }.items()
    ]
    assert not any(torch.allclose(one.values, usual.values) for one in changed)
    for part in ("conv1", "layer1.0.conv2"):
        same = LRP(rules={part: relevance.z_plus()})(case.flat, case.x, logit(0))
        assert torch.equal(same.values, usual.values)
    assert changed[1].provenance.options["rules"] == "Rules(rules={'conv1': flat(1e-06)}, name='rules')"


def test_options_reach_the_composite(cases):
    case = cases["vit"]
    for options, composite in (
        ({"epsilon": 0.5}, Epsilon(epsilon=0.5)),
        ({"attention": "constant"}, Epsilon(attention="constant")),
    ):
        got, expected = (m(case.flat, case.x, logit(1)).values for m in (LRP("epsilon", **options), LRP(composite)))
        assert torch.equal(got, expected)
        assert not torch.allclose(got, LRP("epsilon")(case.flat, case.x, logit(1)).values)
    assert (
        LRP(EpsilonGammaBox(low=-1.0, high=1.0))(cases["gray"].flat, cases["gray"].x, logit(1)).values.abs().sum() > 0
    )


def test_mistakes_are_told(cases):
    case = cases["plain"]
    with pytest.raises(NetLensError, match="composite is 'epsilon_pluss', but must be one of 'epsilon', "):
        LRP("epsilon_pluss")
    with pytest.raises(LayerNotFound, match=r"no layer 'trunk\.9'"):
        LRP(rules={"trunk.9": relevance.flat()})(case.flat, case.x, logit(0))


# excitation backprop


def test_excitation_is_a_probability(case):
    flat = FlatModel.from_nn_Module(without_biases(case.module))
    values = ExcitationBackprop()(flat, case.x, logit(list(case.targets))).values
    total = values.flatten(1).sum(1)
    assert values.min() >= 0 and total.max() <= 1 + 1e-12
    # in mobilenet and swin a few units of few inputs have none that excites them, and what they had ends there
    assert total.min() > (0.85 if case.name in ("mobilenet", "swin") else 0.999)


@pytest.mark.parametrize("size", [1.0, 1e-9])
def test_excitation_with_a_pencil(size):
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
        network[2].weight.copy_(torch.tensor([[2.0, 1.0]]))
        for part in (network[0], network[2]):
            part.bias.fill_(5 * size)
    x = torch.tensor([[size, size]], dtype=torch.float64)
    # hidden 8 and 7, which excite by 16 and 7; the first is excited by 1 and 2, the second by the first input alone
    values = ExcitationBackprop()(FlatModel.from_nn_Module(network), x, logit(0)).values
    assert_close(values, torch.tensor([[16 / 3 + 7, 32 / 3]], dtype=torch.float64) / 23, rtol=1e-12, atol=0)


def test_excitation_differs_from_the_gradient(core_case):
    values = ExcitationBackprop()(core_case.flat, core_case.x, logit(0)).values
    assert not torch.allclose(values, Saliency()(core_case.flat, core_case.x, logit(0)).values)
