"""Gradients through norms are right in every layout, where torch's (2.14.1, on the CPU) are not.

Plain autograd is no oracle here, so that all is checked by finite differences in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations, product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.attribution import (
    LRP,
    DeepLift,
    GuidedBackprop,
    InputGradient,
    IntegratedGradients,
    ShapleyCAM,
    SmoothGradient,
)
from netlens.flat import FlatModel, Rule, Rules, vjp
from netlens.flat.running import guarded
from netlens.objectives import logit

CHANNELS = 6
SIZES = {2: (), 3: (4,), 4: (3, 4), 5: (2, 3, 2)}


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 with random weights and statistics, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if value.is_floating_point():
            random = torch.rand(value.shape, generator=generator)
            value.data = random + 0.5 if "var" in name else random - 0.5
    return module.double().eval()


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def differences(function: Callable[[Tensor], Tensor], x: Tensor, step: float = 1e-5) -> Tensor:
    """The gradient of a number, by central differences; x is contiguous."""
    at, gradient = x.clone(), torch.zeros_like(x)
    for i in range(x.numel()):
        ends = []
        for sign in (1, -1):
            at.view(-1)[i] = x.view(-1)[i] + sign * step
            ends.append(float(function(at)))
        at.view(-1)[i] = x.view(-1)[i]
        gradient.view(-1)[i] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)


def layouts(value: Tensor) -> Iterator[Tensor]:
    """The same values in memory in every order of the dimensions, and with gaps between them."""
    for order in permutations(range(value.ndim)):
        back = [order.index(i) for i in range(value.ndim)]
        yield value.permute(order).contiguous().permute(back)
    yield torch.stack([value, value], -1)[..., 0]


def norms() -> dict[str, tuple[int, Callable[[Tensor], Tensor]]]:
    cases: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {}
    for dims, batch, instance in (
        (3, nn.BatchNorm1d, nn.InstanceNorm1d),
        (4, nn.BatchNorm2d, nn.InstanceNorm2d),
        (5, nn.BatchNorm3d, nn.InstanceNorm3d),
    ):
        cases[f"{batch.__name__}"] = dims, seeded(batch(CHANNELS))
        cases[f"{batch.__name__} by the batch"] = dims, seeded(batch(CHANNELS, track_running_stats=False))
        cases[f"{instance.__name__}"] = dims, seeded(instance(CHANNELS, affine=True))
        cases[f"{instance.__name__} of records"] = dims, seeded(instance(CHANNELS, track_running_stats=True))
    cases["rows"] = 2, seeded(nn.BatchNorm1d(CHANNELS))
    mean, var = random(CHANNELS), random(CHANNELS, seed=2).square() + 0.5
    cases["F.batch_norm"] = 4, lambda x: F.batch_norm(x, mean, var)
    cases["F.instance_norm"] = 4, lambda x: F.instance_norm(x, weight=mean, bias=var)
    cases["torch.batch_norm"] = 4, lambda x: torch.batch_norm(x, mean, var, mean, var, False, 0.1, 1e-5, False)
    cases["torch.native_batch_norm"] = (
        4,
        lambda x: torch.native_batch_norm(x, mean, var, mean, var, False, 0.1, 1e-5)[0],
    )
    for groups in (1, 3, CHANNELS):
        cases[f"GroupNorm of {groups}"] = 4, seeded(nn.GroupNorm(groups, CHANNELS))
    cases["LayerNorm"] = 4, seeded(nn.LayerNorm((3, 4)))
    cases["LayerNorm of the last"] = 4, seeded(nn.LayerNorm(4))
    cases["RMSNorm"] = 4, seeded(nn.RMSNorm(4))
    return cases


NORMS = norms()
WRONG_IN_TORCH = [
    name for name, (dims, _) in NORMS.items() if dims > 3 and not name.startswith(("Group", "Layer", "RMS"))
]


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("name", NORMS)
def test_norms_read_gradients_of_every_layout(name, n):
    dims, norm = NORMS[name]
    x, weights = random(n, CHANNELS, *SIZES[dims]), random(n, CHANNELS, *SIZES[dims], seed=3)
    expected = differences(lambda at: (norm(at) * weights).sum(), x)
    for i, layout in enumerate(layouts(x)):
        if dims == 5 and i % 7:  # of 121 layouts, 18
            continue
        point = layout.requires_grad_()
        output = guarded(norm, point)
        for gradient in layouts(weights):
            (got,) = torch.autograd.grad(output, point, gradient, retain_graph=True)
            close(got, expected)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (name, shape)
        for name in ("BatchNorm2d", "InstanceNorm2d of records", "F.batch_norm")
        for shape in [(1, CHANNELS, 1, 5), (1, CHANNELS, 5, 1), (1, 1, 3, 4), (2, CHANNELS, 1, 1)]
        if shape[2:] != (1, 1) or "Instance" not in name  # torch refuses an instance norm of one number
    ],
)
def test_norms_of_lines_and_points(name, shape):
    norm = seeded(type(NORMS[name][1])(shape[1], track_running_stats=True)) if name != "F.batch_norm" else None
    if norm is None:
        mean, var = random(shape[1]), random(shape[1], seed=2).square() + 0.5
        norm = lambda x: F.batch_norm(x, mean, var)  # noqa: E731
    x, weights = random(*shape), random(*shape, seed=3)
    expected = differences(lambda at: (norm(at) * weights).sum(), x)
    for layout in layouts(x):
        point = layout.requires_grad_()
        output = guarded(norm, point)
        for gradient in layouts(weights):
            close(torch.autograd.grad(output, point, gradient, retain_graph=True)[0], expected)


class Tokens(nn.Module):
    """Maps to tokens, of which each has its own weight: the gradient at the norm comes transposed."""

    def __init__(self, norm: nn.Module, before: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, CHANNELS, 3), norm, nn.Linear(CHANNELS, 4)
        self.before = before if before is not None else nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.before(self.conv(x))).flatten(2).transpose(1, 2)
        places = torch.linspace(-1, 1, tokens.shape[1], dtype=x.dtype, device=x.device)[:, None]
        return self.head((tokens.sigmoid() * places).sum(1))


class InPlace(Tokens):
    def forward(self, x: Tensor) -> Tensor:
        tokens = F.relu(self.norm(self.before(self.conv(x))), inplace=True).flatten(2).transpose(1, 2)
        places = torch.linspace(-1, 1, tokens.shape[1], dtype=x.dtype, device=x.device)[:, None]
        return self.head((tokens.square() * places).sum(1))


class Calls(Tokens):
    def forward(self, x: Tensor) -> Tensor:
        x = self.before(self.conv(x))
        x = F.batch_norm(x, self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias)
        x = F.instance_norm(F.gelu(x.flatten(2).transpose(1, 2).transpose(1, 2).view(x.shape)))
        return self.head(x.flatten(2).transpose(1, 2).tanh().cumsum(1).square().mean(1))


class ByValue(Tokens):
    """Stays opaque: what it does depends on what it sees."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(-x if x.sum() > 1e9 else x)


class Within(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.stem, self.inner, self.last = nn.Conv2d(3, 3, 1), inner, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.inner(self.stem(x)))


def maps(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, CHANNELS, 3), *middle, nn.Conv2d(CHANNELS, 5, 3), nn.Flatten(), nn.LazyLinear(4))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(x)


BUILT: dict[str, Callable[[], nn.Module]] = {
    "batch norm to tokens": lambda: Tokens(nn.BatchNorm2d(CHANNELS)),
    "instance norm to tokens": lambda: Tokens(nn.InstanceNorm2d(CHANNELS)),
    "group norm to tokens": lambda: Tokens(nn.GroupNorm(3, CHANNELS)),
    "in place": lambda: InPlace(nn.BatchNorm2d(CHANNELS)),
    "calls": lambda: Calls(nn.BatchNorm2d(CHANNELS)),
    "opaque": lambda: Within(ByValue(nn.BatchNorm2d(CHANNELS))),
    "opaque instance norm": lambda: Within(ByValue(nn.InstanceNorm2d(CHANNELS, affine=True))),
    "SiLU": lambda: maps(nn.InstanceNorm2d(CHANNELS), nn.SiLU()),
    "GELU": lambda: maps(nn.InstanceNorm2d(CHANNELS), nn.GELU()),
    "ELU": lambda: maps(nn.InstanceNorm2d(CHANNELS), nn.ELU()),
    "Tanh": lambda: maps(nn.InstanceNorm2d(CHANNELS), nn.Tanh()),
    "ReLU": lambda: maps(nn.InstanceNorm2d(CHANNELS), nn.ReLU()),
    "Upsample": lambda: maps(nn.InstanceNorm2d(CHANNELS), nn.Upsample(scale_factor=2)),
    "Dropout": lambda: maps(nn.InstanceNorm2d(CHANNELS), nn.Dropout2d()),
    "residual": lambda: maps(Residual()),
    "nothing": lambda: maps(nn.InstanceNorm2d(CHANNELS, affine=True)),
    "by the batch": lambda: maps(nn.BatchNorm2d(CHANNELS, track_running_stats=False), nn.SiLU()),
}
IMAGE = random(1, 3, 7, 8, seed=5)


def network(name: str) -> nn.Module:
    module = BUILT[name]()
    module(IMAGE.float())  # lazy layers learn their size
    return seeded(module, seed=7)


def score(module: nn.Module) -> Callable[[Tensor], Tensor]:
    return torch.no_grad()(lambda x: module(x)[0, 1])


@pytest.mark.parametrize("name", BUILT)
def test_the_gradient_of_one_image_is_that_of_differences(name):
    module = network(name)
    values = InputGradient()(FlatModel.from_nn_Module(module), IMAGE, logit(1)).values
    close(values, differences(score(module), IMAGE))


@pytest.mark.parametrize("name", [name for name in BUILT if name != "by the batch"])
def test_integrated_gradients_are_complete(name):
    module = network(name)
    values = IntegratedGradients(n_steps=200)(FlatModel.from_nn_Module(module), IMAGE, logit(1)).values
    difference = score(module)(IMAGE) - score(module)(torch.zeros_like(IMAGE))
    torch.testing.assert_close(values.sum(), difference, rtol=1e-3, atol=1e-5)


APART = [name for name in BUILT if name != "by the batch"]


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *product([DeepLift(), SmoothGradient(n_samples=3)], APART),
        # what has a rectifier
        *product([GuidedBackprop()], [name for name in APART if "LU" in name or "in place" in name]),
        # what has no gates, of which the signal is a constant
        *product([LRP()], [name for name in APART if "tokens" not in name]),
    ],
)
def test_one_image_is_explained_as_in_a_batch(name, method):
    # of a batch of two, torch reads all gradients of these networks right
    flat = FlatModel.from_nn_Module(network(name))
    both = torch.cat([IMAGE, random(*IMAGE.shape, seed=6)])
    alone, among = method(flat, IMAGE, logit(1)).values, method(flat, both, logit(1)).values[:1]
    torch.testing.assert_close(alone, among, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("size", [(33, 40)])
def test_larger_images(size):
    module = seeded(
        nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2), nn.InstanceNorm2d(16), nn.SiLU(), nn.Conv2d(16, 8, 3), nn.InstanceNorm2d(8)),
            *(nn.SiLU(), nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        )
    )
    x, along = random(1, 3, *size), random(1, 3, *size, seed=8)
    gradient = InputGradient()(FlatModel.from_nn_Module(module), x, logit(1)).values
    step = 1e-6
    expected = (score(module)(x + step * along) - score(module)(x - step * along)) / (2 * step)
    torch.testing.assert_close((gradient * along).sum(), expected, rtol=1e-6, atol=1e-10)


def test_a_rule_that_computes_its_norm_anew():
    def elsewhere(layer, inputs, output, gradient):
        with torch.enable_grad():
            point = inputs[0].detach().requires_grad_()
            return vjp(layer(point * 1), [point], gradient)

    flat = FlatModel.from_nn_Module(network("instance norm to tokens"))
    by_rule = flat.with_rules(Rules({nn.InstanceNorm2d: Rule(elsewhere)}))
    values = InputGradient()(by_rule, IMAGE, logit(1)).values
    close(values, differences(score(network("instance norm to tokens")), IMAGE))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(CHANNELS), nn.InstanceNorm2d(CHANNELS), nn.GroupNorm(3, CHANNELS)])
def test_second_derivatives_are_right(norm):
    module = seeded(Tokens(norm))
    flat, key = FlatModel.from_nn_Module(module), "before"
    at = flat(IMAGE, until=key)

    def rest(value: Tensor) -> Tensor:
        return flat.resume({"input": IMAGE, key: value.view(at.shape)})[0, 1]

    def slope(value: Tensor) -> Tensor:
        return differences(rest, value, 1e-3)

    step = 1e-3
    curved = (slope(at * (1 + step)) - slope(at * (1 - step))) / (2 * step)
    weights = (slope(at) - curved / 2).mean((2, 3), keepdim=True)
    expected = (weights * at).sum(1, keepdim=True).relu()
    values = ShapleyCAM(layer=key)(flat, IMAGE, logit(1)).values
    torch.testing.assert_close(values, expected, rtol=1e-3, atol=1e-6)


def test_torch_is_still_wrong():
    """If this fails, torch has mended its norms, and `flat/guard.py` may go."""
    wrong = []
    for name in WRONG_IN_TORCH:
        dims, norm = NORMS[name]
        x, weights = random(1, CHANNELS, *SIZES[dims]), random(1, CHANNELS, *SIZES[dims], seed=3)
        expected = differences(lambda at, norm=norm, weights=weights: (norm(at) * weights).sum(), x)
        point = x.clone().requires_grad_()
        gradients = [torch.autograd.grad(norm(point), point, gradient)[0] for gradient in layouts(weights)]
        if not all(torch.allclose(each, expected, rtol=1e-5, atol=1e-7) for each in gradients):
            wrong.append(name)
    assert wrong == WRONG_IN_TORCH


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, where torch's average pools are wrong")
@pytest.mark.parametrize("stride", [1, 2])
def test_average_pools_on_a_gpu(stride: int) -> None:
    network = nn.Sequential(nn.AvgPool2d(3, stride, 1), nn.Tanh()).double().cuda()
    x = torch.randn(1, 4, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradients = []
    for device, format in (("cpu", torch.contiguous_format), ("cuda", torch.channels_last)):
        flat = FlatModel.from_nn_Module(network.to(device))
        point = x.to(device).contiguous(memory_format=format).requires_grad_()
        gradients.append(torch.autograd.grad(flat(point).square().sum(), point)[0].cpu())
    torch.testing.assert_close(gradients[1], gradients[0])


def test_a_pool_that_is_called_by_keywords() -> None:
    class Pooled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > 1e9 else F.avg_pool2d(input=x, kernel_size=2)

    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(FlatModel.from_nn_Module(nn.Sequential(Pooled()))(x).sum(), x)
    assert torch.equal(gradient, torch.full_like(x, 0.25))
