"""The rescale rule layer by layer: multipliers times changes are the change behind the layer, however it is written."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils import _pytree as pytree

from netlens.attribution import LRP
from netlens.flat import FlatModel
from netlens.flat.operations import RECTIFIERS
from netlens.objectives import logit
from netlens.rules.rescale import rescale


class Calls(nn.Module):
    """A network that is one function of its input."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def multipliers(network: nn.Module, x: Tensor, r: Tensor, weights: Tensor | None = None) -> Tensor:
    """The multipliers at x, against r, of the sum of the weighted outputs."""
    flat = FlatModel.from_nn_Module(network)
    view = flat.with_rules(rescale(flat, r))
    x = x.clone().requires_grad_()
    output = view(x)
    (gradient,) = torch.autograd.grad(output, x, torch.ones_like(output) if weights is None else weights)
    return gradient


def vector(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pairs(*shape: int) -> list[tuple[Tensor, Tensor]]:
    """Inputs and references: far, near in all degrees, equal in places, and all the same."""
    x, r = 2 * drawn(*shape), 2 * drawn(*shape, seed=1)
    places = torch.arange(x.numel()).view(shape)
    degrees = 10.0 ** -(places % 17).double()
    return [(x, r), (x, x + degrees * drawn(*shape, seed=2)), (x, torch.where(places % 3 == 0, x, r)), (x, 0 * x)]


def check(network: nn.Module, shape: tuple[int, ...], positive: bool = False, rtol: float = 1e-10) -> None:
    """Complete for every pair, for each sample and each weighting of outputs; the gradient where nothing changes."""
    network = network.double().eval()
    for x, r in pairs(*shape):
        x, r = (x.abs() + 0.1, r.abs() + 0.1) if positive else (x, r)
        before, after = network(r).detach(), network(x).detach()
        weights = drawn(*after.shape, seed=3)
        factors = multipliers(network, x, r, weights)
        parts, rise = (factors * (x - r)).flatten(1).sum(1), (weights * (after - before)).flatten(1).sum(1)
        size = (weights * after).abs().flatten(1).sum(1) + (weights * before).abs().flatten(1).sum(1)
        assert torch.isfinite(factors).all()
        assert ((parts - rise).abs() <= rtol * size).all(), (parts, rise)
    x = pairs(*shape)[0][0]
    x = x.abs() + 0.1 if positive else x
    point = x.clone().requires_grad_()
    output = network(point)
    weights = drawn(*output.shape, seed=3)
    (gradient,) = torch.autograd.grad(output, point, weights)
    assert_close(multipliers(network, x, x, weights), gradient, rtol=1e-9, atol=1e-11)


GATES = (nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.Softsign, nn.LogSigmoid, nn.Tanhshrink, nn.Softshrink)


@pytest.mark.parametrize("kind", [*RECTIFIERS, *GATES], ids=lambda kind: kind.__name__)
def test_elementwise_modules(kind):
    layer = kind(0.2, 0.1) if kind is nn.Threshold else kind()
    check(nn.Sequential(nn.Identity(), layer), (3, 4, 60), rtol=1e-9)


@pytest.mark.parametrize(
    "function",
    [
        *(torch.exp, torch.expm1, torch.sin, torch.erf, torch.abs, torch.square),
        *(lambda x: x**2, lambda x: x**3, lambda x: 2**x, lambda x: x.clamp(-0.5, 1), lambda x: x.clamp(max=0.3)),
        *(lambda x: x * x, lambda x: x * x * x, lambda x: x * torch.sigmoid(x), lambda x: torch.cosh(x)),
    ],
)
def test_elementwise_functions(function):
    check(Calls(function), (3, 4, 60), rtol=1e-9)


@pytest.mark.parametrize(
    "function",
    [
        *(torch.sqrt, torch.rsqrt, torch.log, torch.log1p, torch.reciprocal, lambda x: x**0.3, lambda x: 1 / x),
        *(lambda x: x / (x + 1), lambda x: x / x.mean(1, keepdim=True), lambda x: x / x.sum((1, 2), keepdim=True)),
        *(lambda x: (x + 2) / x.flip(1), lambda x: x / x, lambda x: x**x, lambda x: (x.div(2) / 3).sqrt()),
    ],
)
def test_functions_of_positive_numbers(function):
    check(Calls(function), (3, 4, 60), positive=True, rtol=1e-9)


@pytest.mark.parametrize(
    "function",
    [
        *(lambda x: torch.where(x > 0, x, 0.2 * x), lambda x: torch.where(x.abs() < 1, x, 0.0)),
        *(lambda x: x.where(x > 0, x.flip(1)), lambda x: x.masked_fill(x < 0.3, 0.3), lambda x: x * (x > 0)),
    ],
)
def test_choices_by_the_activation(function):
    """A mask that the input makes differs from the reference's; what it switches has a slope of its own."""
    check(Calls(function), (3, 4, 60), rtol=1e-9)


def unpacked(x: Tensor) -> Tensor:
    values, _ = x.max(1, keepdim=True)
    return values - x


POOLS = {
    "plain": (nn.MaxPool2d(2), (2, 3, 8, 8)),
    "overlapping": (nn.MaxPool2d(3, 1, 1), (2, 3, 7, 6)),
    "ceil": (nn.MaxPool2d(3, 2, ceil_mode=True), (2, 3, 8, 9)),
    "dilated": (nn.MaxPool2d(2, 1, 1, 2), (2, 3, 7, 8)),
    "oblong": (nn.MaxPool2d((3, 2), (2, 1), (1, 0)), (2, 3, 7, 8)),
    "1d": (nn.MaxPool1d(3, 2, 1), (2, 3, 11)),
    "3d": (nn.MaxPool3d(3, 2, 1), (2, 2, 5, 6, 5)),
    "adaptive 1d": (nn.AdaptiveMaxPool1d(4), (2, 3, 11)),
    "adaptive": (nn.AdaptiveMaxPool2d((3, 4)), (2, 3, 7, 9)),
    "adaptive 3d": (nn.AdaptiveMaxPool3d(2), (2, 2, 5, 5, 5)),
    "function": (Calls(lambda x: F.max_pool2d(x, 3, stride=2, padding=1)), (2, 3, 8, 8)),
    "rectified": (nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 1)), (2, 3, 8, 8)),
    "amax": (Calls(lambda x: x.amax((2, 3))), (2, 3, 5, 6)),
    "amax of the middle": (Calls(lambda x: x.amax(1, keepdim=True)), (2, 3, 5, 6)),
    "amin": (Calls(lambda x: torch.amin(x, dim=(-1, 1))), (2, 3, 5, 6)),
    "maximum": (Calls(lambda x: torch.maximum(x, x.flip(1))), (2, 3, 5, 6)),
    "max of two": (Calls(lambda x: torch.max(x, x.flip(1))), (2, 3, 5, 6)),
    "one row of the max of two": (
        Calls(lambda x: torch.max(x.movedim(1, 0), x.flip(1).movedim(1, 0))[1]),
        (2, 3, 5, 6),
    ),
    "maximum, masked": (
        Calls(lambda x: torch.maximum(x, x.new_tensor([-torch.inf, 0, 0.1])[:, None, None])),
        (2, 3, 5, 6),
    ),
    "max along channels": (Calls(lambda x: torch.max(x, 1, keepdim=True)[0] * x.sigmoid()), (2, 3, 5, 6)),
    "max, unpacked": (Calls(unpacked), (2, 3, 5, 6)),
    "min along rows": (Calls(lambda x: x - x.min(dim=2, keepdim=True).values), (2, 3, 5, 6)),
    "minimum, broadcast": (Calls(lambda x: torch.minimum(x, x.mean(1, keepdim=True))), (2, 3, 5, 6)),
}


@pytest.mark.parametrize("name", POOLS)
def test_pools(name):
    layer, shape = POOLS[name]
    check(nn.Sequential(nn.Identity(), layer), shape)


def affine(layer: nn.Module) -> nn.Module:
    for i, parameter in enumerate(layer.parameters()):
        parameter.data = 1 + 0.3 * drawn(*parameter.shape, seed=i)
    return layer


NORMS = {
    "layer": affine(nn.LayerNorm(6)),
    "layer over maps": affine(nn.LayerNorm((4, 5, 6))),
    "layer, plain": nn.LayerNorm((5, 6), elementwise_affine=False),
    "layer as a function": Calls(lambda x: F.layer_norm(x, (6,), torch.arange(6.0, dtype=torch.float64), eps=1e-3)),
    "rms": affine(nn.RMSNorm(6, eps=1e-6)),
    "rms with its own epsilon": nn.RMSNorm(6),
    "group": affine(nn.GroupNorm(2, 4)),
    "group as a function": Calls(lambda x: F.group_norm(x, 2)),
    "instance": affine(nn.InstanceNorm2d(4, affine=True)),
    "instance as a function": Calls(lambda x: F.instance_norm(x)),
    "normalized": Calls(lambda x: F.normalize(x, dim=-1)),
    "normalized along channels": Calls(lambda x: F.normalize(x)),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms(name):
    check(nn.Sequential(nn.Identity(), NORMS[name]), (3, 4, 5, 6))


def test_a_norm_of_nothing_has_moderate_multipliers():
    # from 0 to the unit vector along x: the size of 0 is 1e-12, but it is not divided by
    x = drawn(2, 5)
    factors = multipliers(Calls(lambda x: F.normalize(x, dim=1)), x, 0 * x)
    assert factors.abs().max() < 10
    assert_close((factors * x).sum(1), F.normalize(x, dim=1).sum(1), rtol=1e-12, atol=0)


def test_another_norm_goes_the_path():
    network = Calls(lambda x: F.normalize(x, p=4))
    x, r = drawn(3, 4, 5), drawn(3, 4, 5) + drawn(3, 4, 5, seed=1) / 5
    factors = multipliers(network, x, r)
    assert_close((factors * (x - r)).sum((1, 2)), (network(x) - network(r)).sum((1, 2)), rtol=1e-6, atol=0)


def test_batch_norm_by_the_batch_is_complete_over_the_batch():
    layer = affine(nn.BatchNorm2d(4, track_running_stats=False)).double()
    x, r = drawn(3, 4, 5, 6), drawn(3, 4, 5, 6, seed=1)
    weights = drawn(3, 4, 5, 6, seed=2)
    factors = multipliers(nn.Sequential(layer), x, r, weights)
    assert_close((factors * (x - r)).sum(), (weights * (layer(x) - layer(r))).sum(), rtol=1e-10, atol=0)


def test_batch_norm_by_its_statistics_is_linear():
    layer = affine(nn.BatchNorm2d(4)).double().eval()
    flat = FlatModel.from_nn_Module(nn.Sequential(layer, nn.ReLU()))
    assert list(rescale(flat, drawn(3, 4, 5, 6)).rules) == ["1"]


SOFTMAXES = {
    "last": nn.Softmax(-1),
    "channels": nn.Softmax(1),
    "2d": nn.Softmax2d(),
    "logarithm": nn.LogSoftmax(2),
    "sharp": Calls(lambda x: (300 * x).softmax(-1)),
    "function": Calls(lambda x: torch.softmax(x, dim=1)),
}


@pytest.mark.parametrize("name", SOFTMAXES)
def test_softmaxes(name):
    check(nn.Sequential(nn.Identity(), SOFTMAXES[name]), (3, 4, 5, 6), rtol=1e-9)


def test_the_multipliers_of_a_softmax_stay_small_however_far_the_scores_are():
    x, r = vector(900, 0, 0), vector(0, 0, 900)
    factors = multipliers(nn.Softmax(-1), x, r, vector(1, 0, 0))
    assert_close((factors * (x - r)).sum(), torch.ones((), dtype=torch.float64))
    assert factors.abs().max() <= 1 / 900


def test_masked_scores_get_nothing():
    mask = torch.tensor([0, -math.inf, 0, 0])
    network = Calls(lambda x: (x + mask).softmax(-1))
    x, r = drawn(2, 4), drawn(2, 4, seed=1)
    weights = drawn(2, 4, seed=2)
    factors = multipliers(network, x, r, weights)
    assert (factors[:, 1] == 0).all()
    assert_close((factors * (x - r)).sum(1), (weights * (network(x) - network(r))).sum(1), rtol=1e-12, atol=0)


PRODUCTS = {
    "two": lambda x: x * x.flip(1),
    "two, broadcast": lambda x: x * x.mean((2, 3), keepdim=True),
    "of one and a constant": lambda x: x.tanh() * torch.arange(6.0, dtype=torch.float64) * 3,
    "matrices": lambda x: torch.matmul(x, x.transpose(-2, -1)),
    "einsum": lambda x: torch.einsum("nchw,nchv->nwv", x, x.flip(1)),
    "einsum of three": lambda x: torch.einsum("nchw,nchv,nchw->nwv", x, x.flip(1), x.flip(2)),
    "by attribute": lambda x: x @ x.mT,
    "attention": lambda x: F.scaled_dot_product_attention(x, x.flip(1), x.flip(2)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name):
    # attention in one fused call is unknown, and so goes the path
    check(Calls(PRODUCTS[name]), (3, 4, 5, 6), rtol=1e-7 if name == "attention" else 1e-12)


LINEAR = {
    "shapes": lambda x: F.interpolate(F.pad(x, (1, 2)), scale_factor=2).roll(1, 2).permute(0, 2, 1, 3).flatten(2),
    "arithmetic": lambda x: 3 - x / 2 + torch.stack([x, x.flip(1)]).sum(0) - x.mean((2, 3), keepdim=True) * 2,
    "parts": lambda x: torch.cat([2 * x.chunk(2, 1)[1], x.split([1, 3], 1)[0]], 1)[:, :3].unsqueeze(1),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_layers_need_no_rule(name):
    network = Calls(LINEAR[name])
    check(nn.Sequential(network, nn.Tanh()), (3, 4, 5, 6), rtol=1e-10)
    rules = rescale(FlatModel.from_nn_Module(nn.Sequential(network, nn.Tanh())), drawn(3, 4, 5, 6)).rules
    assert list(rules) == ["1"]


class Unknown(nn.Module):
    """Kept whole: its forward can't be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid() * x.mean(1, keepdim=True) if float(x.detach().sum()) > -1e9 else x


def test_an_opaque_layer_goes_the_path():
    network = nn.Sequential(nn.Identity(), Unknown())
    assert FlatModel.from_nn_Module(network).opaque
    check(network, (3, 4, 5), rtol=1e-9)


class Sparse:
    """A container that drops what is None, as the outputs of transformers do."""

    def __init__(self, *values: Tensor | None) -> None:
        self.values = [value for value in values if value is not None]


pytree.register_pytree_node(Sparse, lambda each: (each.values, None), lambda values, _: Sparse(*values))


def test_outputs_that_nobody_reads_in_a_container_that_drops_none():
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unknown = Unknown()

        def forward(self, x: Tensor) -> Sparse:
            return Sparse(x.exp(), self.unknown.forward(x), x.argmax(1))

    class Second(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.several = Several()

        def forward(self, x: Tensor) -> Tensor:
            return self.several(x).values[1]

    assert FlatModel.from_nn_Module(Second()).opaque
    check(Second(), (3, 4, 5), rtol=1e-9)
    x = drawn(2, 4)
    flats = [FlatModel.from_nn_Module(nn.Sequential(part, nn.Linear(4, 2).double())) for part in (Second(), Unknown())]
    flats[1].layers["1"].load_state_dict(flats[0].layers["1"].state_dict())
    relevance = [LRP()(flat, x, logit(0)).values for flat in flats]
    assert_close(*relevance)


# by hand


def test_a_rectifier_across_its_kink():
    assert multipliers(nn.ReLU(), vector(3, -1, 2, -2), vector(-1, 3, 1, -1)).tolist() == [[0.75, 0.75, 1, 0]]


def test_a_product_shares_its_change_in_halves():
    network = Calls(lambda x: x[:, 0] * x[:, 1])
    # 3 * 5 from 1 * 2: the means of the other factor are 3.5 and 2, and 2 * 3.5 + 3 * 2 = 13
    assert multipliers(network, vector(3, 5), vector(1, 2)).tolist() == [[3.5, 2]]


def test_a_quotient():
    network = Calls(lambda x: x[:, 0] / x[:, 1])
    # 6 / 2 from 1 / 4: 2 / (2 + 4), and -(3 + 1/4) / (2 + 4); 5 / 3 + 2 * 3.25 / 6 = 2.75
    assert_close(multipliers(network, vector(6, 2), vector(1, 4)), vector(1 / 3, -3.25 / 6))


def test_a_quotient_whose_divisor_changes_its_sign():
    network = Calls(lambda x: x[:, 0] / x[:, 1])
    # 6 / 2 from 1 / -4 rises by 3.25, all of it by the divisor's change of 6
    assert_close(multipliers(network, vector(6, 2), vector(1, -4)), vector(0, 3.25 / 6))


def test_a_max_pool_that_rises_and_falls():
    x, r = vector(5, 1, 0, 2)[None], vector(1, 3, 4, 0)[None]
    # the window (5, 1) from (1, 3) rises by 2 at its first place, which rose by 4; (0, 2) from (4, 0) falls by 2 at the
    # first, which fell by 4
    assert multipliers(nn.MaxPool1d(2), x, r).tolist() == [[[0.5, 0, 0.5, 0]]]
    # windows that overlap add up: (5, 1, 0) and (1, 0, 2) from (1, 3, 4) and (3, 4, 0) rise by 1 and fall by 2
    assert multipliers(nn.MaxPool1d(3, 1), x, r).tolist() == [[[0.25, 0, 0.5, 0]]]


def test_what_does_not_change_keeps_its_derivative_in_a_pool():
    x, r = vector(5, 1)[None], vector(5, 3)[None]
    assert multipliers(nn.MaxPool1d(2), x, r).tolist() == [[[1, 0]]]


def test_layer_norm_of_two():
    # (a, b) becomes (c, -c) / sqrt(c^2 + eps) with c half of a - b: it depends on c alone
    layer = nn.LayerNorm(2, eps=1.0, elementwise_affine=False)
    factors = multipliers(layer, vector(4, 0), vector(2, 2), vector(1, 0))
    assert_close(factors, vector(1, -1) * (2 / math.sqrt(5)) / 4)


def test_rules_run_no_further_than_they_are_asked_to():
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError(float(x.sum()))

    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Tanh(), nn.ReLU(), Fails()))
    assert list(rescale(flat, drawn(2, 3), until=["1"]).rules) == ["0", "1"]
