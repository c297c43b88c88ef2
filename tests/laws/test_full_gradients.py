"""In full gradients takes part what carries a gradient from the image and is real, and the parts sum to the score.

The second half: where an operation lacks a derivative, another way to the same number, or an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.attribution import FullGrad, GradCAM, ShapleyCAM, full_gradients
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import logit

CHANNELS = 6


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 with random weights and statistics, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        random = torch.rand(value.shape, generator=generator, dtype=torch.float64)
        value.data = random + 0.5 if "var" in name else random - 0.5 if value.is_floating_point() else value
    return module.eval()


def image(n: int = 2) -> Tensor:
    return torch.randn(n, 3, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Around(nn.Module):
    """A convolution, some operation on its maps, and a head on the means of what comes of them."""

    def __init__(self, operation: Callable[[Around, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, CHANNELS, 3), nn.Linear(CHANNELS, 4)
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.to_tokens = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.cells = nn.LSTM(CHANNELS, CHANNELS, batch_first=True)
        self.grid = nn.Parameter(torch.zeros(1, 4, 4, 2))
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        maps = self.operation(self, self.conv(x))
        return self.head(maps.tanh().flatten(2).mean(2))


class ByValue(nn.Module):
    """Stays opaque, as what it does depends on what it sees."""

    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        return self.operation(-x if x.sum() > 1e9 else x)


class Within(nn.Module):
    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.inner, self.head = nn.Conv2d(3, CHANNELS, 3), ByValue(operation), nn.Linear(CHANNELS, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(self.conv(x)).tanh().flatten(2).mean(2))


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        gate = x.sigmoid()
        return gradient * (gate + x * gate * (1 - gate))


class SwishOnce(Swish):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return Swish.backward(ctx, gradient)


def tokens(net: Around, x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def attention(net: Around, x: Tensor) -> Tensor:
    query, key, value = net.to_tokens(tokens(net, x)).chunk(3, -1)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def heads(net: Around, x: Tensor) -> Tensor:
    parts = net.to_tokens(tokens(net, x)).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
    return mixed.transpose(1, 2).flatten(2).transpose(1, 2)


def norm_by_tensors(net: Around, x: Tensor) -> Tensor:
    norm = net.norm
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.1, 1e-5)


def by_variance(net: Around, x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, 1, keepdim=True)
    return (x - mean) / (variance + 0.1).sqrt()


LACKING = {  # a derivative of forward mode, of fused attention also second ones
    "attention": attention,
    "causal attention of heads": heads,
    "grid_sample by x": lambda net, x: F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1).tanh(), align_corners=False),
    "grid_sample by weights": lambda net, x: F.grid_sample(
        x, net.grid.expand(x.shape[0], -1, -1, -1), align_corners=False
    ),
    "distances": lambda net, x: torch.cdist(x.flatten(2), x.flatten(2).flip(1)),
    "batch norm of tensors": norm_by_tensors,
    "LSTM": lambda net, x: net.cells(tokens(net, x))[0].transpose(1, 2),
}
UNREAL = {
    "argmax": lambda net, x: x * F.one_hot(x.argmax(1), CHANNELS).permute(0, 3, 1, 2),
    "softmax, then argmax": lambda net, x: x * F.one_hot(x.softmax(1).argmax(1), CHANNELS).permute(0, 3, 1, 2),
    "boolean mask": lambda net, x: x * (x > 0),
    "mask of numbers": lambda net, x: x * (x > 0).to(x.dtype),
    "where": lambda net, x: torch.where(x > 0, x, 0.3),
    "topk": lambda net, x: x.flatten(2).topk(3, -1)[0],
    "indices": lambda net, x: x.flatten(2).gather(2, x.flatten(2).topk(3, -1)[1]),
    "sort": lambda net, x: x.flatten(2).sort(-1)[0].square(),
    "complex": lambda net, x: torch.fft.rfft2(x).abs(),
    "detached": lambda net, x: x + x.softmax(1).detach() * x.detach(),
    "straight through": lambda net, x: x + (x.round() - x).detach(),
    "several": by_variance,
}
OPAQUE = {
    "function of one's own": Swish.apply,
    "attention": lambda x: F.scaled_dot_product_attention(*[x.flatten(2).transpose(1, 2)] * 3).transpose(1, 2),
}


def networks() -> dict[str, Callable[[], nn.Module]]:
    around = {name: lambda operation=operation: Around(operation) for name, operation in (LACKING | UNREAL).items()}
    return around | {
        f"opaque {name}": lambda operation=operation: Within(operation) for name, operation in OPAQUE.items()
    }


NETWORKS = networks()
CUT = ("straight through", "detached")  # whose gradient is not that of differences, on purpose


def parts_of(flat: FlatModel, x: Tensor) -> dict[str, Tensor]:
    return dict(full_gradients(flat, x, logit(1)))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_parts_sum_to_the_score(name):
    module = seeded(NETWORKS[name]())
    flat = FlatModel.from_nn_Module(module)
    parts = parts_of(flat, image())
    total = sum(part.flatten(1).sum(1) for part in parts.values())
    torch.testing.assert_close(total, module(image())[:, 1].detach(), rtol=1e-9, atol=1e-11)
    assert all(part.is_floating_point() for part in parts.values())
    assert FullGrad()(flat, image(), logit(1)).diagnostics["completeness_gap"].abs().max() < 1e-10


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in CUT])
def test_a_bias_is_the_value_less_its_slope_along_the_inputs(name):
    """By central differences of the network behind the first convolution, all of whose later biases sum to this."""
    module = seeded(NETWORKS[name]())
    flat = FlatModel.from_nn_Module(module)
    parts, x = parts_of(flat, image(1)), image(1)
    at = module.conv(x).detach()

    def score(value: Tensor) -> Tensor:
        with torch.no_grad():
            return flat.resume({"input": x, "conv": value})[0, 1]

    later = sum(part.sum() for key, part in parts.items() if key not in ("input", "conv"))
    step = 1e-5
    slope = (score(at * (1 + step)) - score(at * (1 - step))) / (2 * step)
    torch.testing.assert_close(later, score(at) - slope, rtol=1e-6, atol=1e-8)


def test_masks_are_no_layers():
    """`x * mask` is a rectifier, however the mask is spelled: it has no part of its own."""
    for name in ("boolean mask", "mask of numbers"):
        flat = FlatModel.from_nn_Module(seeded(NETWORKS[name]()))
        parts = parts_of(flat, image())
        multiplied = [key for key, part in parts.items() if key.startswith("mul") and part.abs().max() > 1e-12]
        assert not multiplied
        assert not any(key.startswith(("gt", "to")) for key in parts)


def test_statistics_are_no_inputs():
    """Running statistics that are passed as tensors are constants: the part is that of the module."""
    module = seeded(Around(norm_by_tensors))
    as_module = seeded(Around(lambda net, x: net.norm(x)))
    parts, expected = (list(parts_of(FlatModel.from_nn_Module(net), image()).values()) for net in (module, as_module))
    torch.testing.assert_close(parts, expected)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in CUT])
def test_second_derivatives_by_differences(name):
    """Shapley-CAM weighs by the mean of gradient - 1/2 Hessian * activation."""
    module = seeded(NETWORKS[name]())
    flat, x = FlatModel.from_nn_Module(module), image(1)
    at = module.conv(x).detach()

    def slope(value: Tensor) -> Tensor:
        point = value.clone().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(flat.resume({"input": x, "conv": point})[0, 1], point)[0]

    step = 1e-5
    curved = (slope(at * (1 + step)) - slope(at * (1 - step))) / (2 * step)
    weights = (slope(at) - curved / 2).mean((2, 3), keepdim=True)
    values = ShapleyCAM(layer="conv")(flat, x, logit(1)).values
    torch.testing.assert_close(values, (weights * at).sum(1, keepdim=True).relu(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("method", [FullGrad(), ShapleyCAM(layer="conv")])
def test_what_cannot_be_differentiated_twice_is_named(method):
    flat = FlatModel.from_nn_Module(seeded(Within(SwishOnce.apply)))
    GradCAM(layer="conv")(flat, image(), logit(1))
    with pytest.raises(NotApplicable, match=r"layer 'inner' of within \(ByValue\)"):
        method(flat, image(), logit(1))


def test_a_layer_that_the_score_does_not_depend_on_is_named():
    flat = FlatModel.from_nn_Module(seeded(Around(lambda net, x: (x > 0).to(x.dtype))))
    with pytest.raises(NotApplicable, match="'conv'"):
        ShapleyCAM(layer="conv")(flat, image(), logit(1))
    with pytest.raises(NotApplicable, match="'input'"):
        FullGrad()(flat, image(), logit(1))
