"""Excitation backprop is a probability: each layer hands on all that it gets, but where nothing excites it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from benchmarks.probability import watched
from netlens.attribution import LRP, ExcitationBackprop
from netlens.evaluation import randomized
from netlens.fast import (
    folded,
)
from netlens.flat import FlatModel, Rule
from netlens.flat.operations import Relevance
from netlens.flat.running import Step
from netlens.objectives import logit
from netlens.rules import Epsilon, relevance
from netlens.rules.excitation import Excitation
from netlens.rules.relevance_layers import role_of
from netlens.weights import build


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X = drawn(2, 3, 8, 8, seed=1)
ONE = torch.ones(2, dtype=torch.float64)

# single operations, between layers without biases


class Between(nn.Module):
    """An operation on maps (N, 4, 8, 8) of both signs, and a head, without biases."""

    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.operation = nn.Conv2d(3, 4, 3, padding=1, bias=False).double(), operation
        with torch.no_grad():
            self.conv.weight.copy_(drawn(4, 3, 3, 3, seed=2))
            size = operation(self.conv(X)).flatten(1).shape[1]
        self.head = nn.Linear(size, 5, bias=False).double()
        with torch.no_grad():
            self.head.weight.copy_(drawn(5, size, seed=3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.operation(self.conv(x)).flatten(1))


W, V, M = drawn(4, 4, 3, 3, seed=4), drawn(4, seed=5), drawn(8, 8, seed=6)
OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    # sums, and what stands beside a constant
    "a number added": lambda y: y + 3.0,
    "taken from a number": lambda y: 1 - y,
    "a table added": lambda y: y + V.view(4, 1, 1),
    "a constant of its shape added": lambda y: y + torch.ones_like(y),
    "a difference": lambda y: y - 0.3 * y.flip(1),
    "a weighed difference": lambda y: torch.add(y, y.roll(1, 1), alpha=-0.5),
    "a sum": lambda y: y.sum((2, 3)),
    "a mean": lambda y: y.mean(1),
    "a sum of a stack": lambda y: torch.stack([y, y.flip(2)]).sum(0),
    "a running sum": lambda y: y.cumsum(2),
    "an average pool": lambda y: F.avg_pool2d(y, 2),
    "bilinear": lambda y: F.interpolate(y, scale_factor=2, mode="bilinear"),
    "bicubic": lambda y: F.interpolate(y, scale_factor=2, mode="bicubic"),
    # values alone
    "negative": lambda y: -y,
    "root": lambda y: (y * y + 1).sqrt(),
    "exponential": lambda y: y.exp(),
    "square": lambda y: y**2,
    "magnitude": lambda y: y.abs(),
    "one over": lambda y: 1 / (y + 9),
    "whole": lambda y: y.floor(),
    "clamped": lambda y: y.clamp(min=-0.1),
    "gelu": F.gelu,
    "hardswish": F.hardswish,
    "prelu": lambda y: F.prelu(y, V[:1]),
    "batch norm": lambda y: F.batch_norm(y, V, V.abs() + 1),
    # norms
    "softmax": lambda y: y.softmax(1),
    "log softmax": lambda y: y.log_softmax(1),
    "normalize": F.normalize,
    "layer norm": lambda y: F.layer_norm(y, y.shape[1:]),
    "divided by a deviation": lambda y: y / y.std(1, keepdim=True),
    # products
    "convolution": lambda y: F.conv2d(y, W, V),
    "standardized convolution": lambda y: F.conv2d(y, W / W.norm()),
    "linear": lambda y: F.linear(y, M, M[0]),
    "matrix": lambda y: y @ M,
    "bilinear map": lambda y: F.bilinear(y, y.flip(1), M[:2, :, None].expand(-1, -1, 8).contiguous()),
    "gram": lambda y: y.flatten(2) @ y.flatten(2).transpose(1, 2),
    "einsum": lambda y: torch.einsum("nchw,ncvw->nhv", y, y),
    "cosine attention": lambda y: (
        (F.normalize(y.flatten(2)) @ F.normalize(y.flatten(2)).mT * 4.6).softmax(-1) @ y.flatten(2)
    ),
    "fused attention": lambda y: F.scaled_dot_product_attention(*[y.flatten(2).mT] * 3),
    "a gate": lambda y: y * torch.sigmoid(y.mean((2, 3), keepdim=True)),
    "a highway": lambda y: (1 - torch.sigmoid(y)) * y.tanh() + torch.sigmoid(y) * y.flip(1),
    "a product": lambda y: y * y.flip(1),
    # selections, masks and integers
    "a mask": lambda y: y * (y > 0),
    "a choice": lambda y: torch.where(y > 0, y, y.flip(1)),
    "the larger": lambda y: torch.maximum(y, y.flip(1)),
    "sorted": lambda y: y.sort(1)[0],
    "the two largest": lambda y: y.topk(2, 1)[0],
    "one hot times": lambda y: y * F.one_hot(y.argmax(1), 4).movedim(-1, 1),
    "one hot added": lambda y: y + F.one_hot(y.argmax(1), 4).movedim(-1, 1).double(),
    "indices times": lambda y: y * y.max(1, keepdim=True)[1],
    "the place of the largest": lambda y: y.gather(1, y.argmax(1, keepdim=True)),
    "ranks added": lambda y: y + y.argsort(1),
    "detached": lambda y: y + y.detach(),
    # arrangements
    "padded": lambda y: F.pad(y, (1, 1, 1, 1)),
    "reflected": lambda y: F.pad(y, (1, 1, 1, 1), mode="reflect"),
    "patches": lambda y: F.unfold(y, 3),
    # what nothing is known of
    "columns": lambda y: torch.column_stack(y.relu().unbind(1)),
    "variance": lambda y: torch.var_mean(y, (2, 3))[0],
    "cosine": lambda y: F.cosine_similarity(y, y.flip(1)),
    "distance": lambda y: torch.cdist(y.flatten(2), y.flatten(2).flip(1)),
    "norm": lambda y: y.norm(dim=1),
    "log of a sum": lambda y: y.logsumexp(1),
    "interpolated": lambda y: torch.lerp(y, y.flip(1), 0.3),
    "waves": lambda y: torch.fft.rfft2(y).abs(),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_hands_on_all_that_it_gets(name: str) -> None:
    values = ExcitationBackprop()(FlatModel.from_nn_Module(Between(OPERATIONS[name])), X, logit(2)).values
    assert values.min() >= 0
    assert_close(values.flatten(1).sum(1), ONE, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["cosine", "variance", "waves"])
def test_samples_do_not_meet(name: str) -> None:
    flat = FlatModel.from_nn_Module(Between(OPERATIONS[name]))
    together = ExcitationBackprop()(flat, X, logit(2)).values
    for i in range(2):
        assert_close(together[i : i + 1], ExcitationBackprop()(flat, X[i : i + 1], logit(2)).values)


# by hand


def layers(*weights: Sequence[Sequence[float]], biases: Sequence[float] | None = None) -> nn.Sequential:
    """Linear layers of these weights with a GELU between them."""
    modules: list[nn.Module] = []
    for i, rows in enumerate(weights):
        linear = nn.Linear(len(rows[0]), len(rows), bias=biases is not None and i == 0).double()
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(rows))
            if biases is not None and i == 0:
                linear.bias.copy_(torch.tensor(biases))
        modules += [linear, nn.GELU()]
    return nn.Sequential(*modules[:-1])


def at(network: nn.Module, *x: float) -> list[float]:
    sample = torch.tensor([x], dtype=torch.float64)
    return ExcitationBackprop()(FlatModel.from_nn_Module(network), sample, logit(0)).values[0].tolist()


def test_what_nothing_raises_is_shared_by_what_lowers_it() -> None:
    # gelu(-1) < 0 excites by its negative weight; it is made of -0.75 and -0.25
    assert at(layers([[-3.0, -1.0]], [[-2.0]]), 0.25, 0.25) == pytest.approx([0.75, 0.25])


def test_what_is_raised_is_shared_by_what_raises_it() -> None:
    # below 0 as well, but something raises it: as the paper has it
    assert at(layers([[-3.0, 1.0]], [[-2.0]]), 0.25, 0.25) == pytest.approx([0.0, 1.0])


def test_what_a_bias_alone_raises_ends() -> None:
    # hidden 0.5 by its bias, and 1 by the second input
    hidden = F.gelu(torch.tensor([0.5, 1.0], dtype=torch.float64))
    share = float(hidden[1] / hidden.sum())
    network = layers([[-2.0, 0.0], [0.0, 1.0]], [[1.0, 1.0]], biases=[1.0, 0.0])
    assert at(network, 0.25, 1.0) == pytest.approx([0.0, share])


class Joined(nn.Module):
    """A constant beside the input, in a sum or as a channel of its own."""

    def __init__(self, joined: bool) -> None:
        super().__init__()
        self.joined, self.token = joined, nn.Parameter(torch.ones(1, 1, dtype=torch.float64))
        self.head = nn.Linear(2 if joined else 1, 1, bias=False).double()
        with torch.no_grad():
            self.head.weight.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([x, self.token.expand(x.shape[0], -1)], 1) if self.joined else x + self.token)


@pytest.mark.parametrize(("joined", "share"), [(False, 1.0), (True, 0.75)])
def test_a_constant_takes_nothing_in_a_sum_and_its_own_in_a_place_of_its_own(joined: bool, share: float) -> None:
    assert at(Joined(joined), 3.0) == pytest.approx([share])


def test_a_complement_of_a_gate_is_a_gate() -> None:
    class Highway(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (nn.Linear(3, 4, bias=False).double() for _ in range(2))
            self.head = nn.Linear(4, 2, bias=False).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.head((1 - torch.sigmoid(self.a(x))) * self.b(x))

    flat, x = FlatModel.from_nn_Module(randomized(Highway())), drawn(2, 3)
    values = LRP(Epsilon(epsilon=0, stabilizer=0))(flat, x, logit(1), wrt="b").values
    assert_close(values.sum(1), flat(x)[:, 1].detach())


# networks


@dataclass(frozen=True)
class Before(Excitation):
    """z⁺ alone in convolutions and linear layers."""

    def weights(self, flat: FlatModel, step: Step, first: bool) -> Rule:
        return relevance.z_plus(0, bias=False)


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "googlenet"])
def test_where_nothing_was_lost_nothing_changes(name: str) -> None:
    flat = FlatModel.from_nn_Module(randomized(build(name)).double())
    x = drawn(1, 3, 64, 64)
    view = folded(flat)
    values = ExcitationBackprop()(flat, x, logit(3)).values
    plain = view.with_rules(Before()(view))
    at_input = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(plain.logits(plain(at_input))[0, 3], at_input)
    assert_close(values, expected, rtol=1e-9, atol=1e-15)
    assert_close(values.sum(), ONE[0], rtol=1e-9, atol=0)


def raisers(layer: Any, x: Tensor, sign: int) -> Tensor:
    """How many products of weight and input have a sign, for each output."""
    counts = []
    for one in (1, -1):
        weight, value = ((sign * one * layer.weight > 0).double(), (one * x > 0).double())
        counts.append(
            F.linear(value, weight) if isinstance(layer, nn.Linear) else layer._conv_forward(value, weight, None)
        )
    return counts[0] + counts[1]


SMALL = {
    **dict.fromkeys(("mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "efficientnet_b0"), 64),
    **dict.fromkeys(("mnasnet0_5", "regnet_y_400mf", "densenet121", "squeezenet1_1", "convnext_tiny"), 64),
    **dict.fromkeys(("swin_t", "swin_v2_t"), 64),
    "vit_b_32": 224,
}


@pytest.mark.parametrize("name", SMALL)
def test_a_network_keeps_nothing_but_where_nothing_excites(name: str) -> None:
    flat = folded(FlatModel.from_nn_Module(randomized(build(name)).double()))
    losses: dict[str, float] = defaultdict(float)

    def look(step: Step, layer: Any, inputs: Sequence[Tensor], output: Any, relevance_: Any, lost: float) -> None:
        role = role_of(layer)
        if role is Relevance.WEIGHTS:
            x = inputs[0].detach()
            ends = (raisers(layer, x, 1) == 0) & ((output >= 0) | (raisers(layer, x, -1) == 0))
            assert lost == pytest.approx(float((relevance_ * ends).sum()), abs=1e-10), step.key
            losses["unexcited"] += lost
        elif role is Relevance.ARRANGES and abs(lost) > 1e-10:
            assert type(layer).__name__ == "Concatenate" and name == "vit_b_32", step.key
            losses["constants"] += lost
        else:
            assert abs(lost) < 1e-10, step.key

    values = watched(flat, drawn(1, 3, SMALL[name], SMALL[name]), logit(3), look)
    assert values.min() >= 0
    assert float(values.sum()) + losses["unexcited"] + losses["constants"] == pytest.approx(1, abs=1e-9)
