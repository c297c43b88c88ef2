"""Norms, convolutions and linear layers that are called as functions are the layers of torch."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.attribution import LRP, DeepLift, GradCAM
from netlens.evaluation import randomize_
from netlens.fast import fast
from netlens.flat import FlatModel
from netlens.flat.receptive import receptive_fields
from netlens.objectives import logit
from netlens.survey.fingerprint import fingerprint


class ByFunctions(nn.Module):
    """The layers of a module, each called as a function."""

    def __init__(self, modules: nn.Sequential) -> None:
        super().__init__()
        self.parts = modules

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = called(part, x)
        return x


def called(part: Any, x: Tensor) -> Tensor:
    if isinstance(part, nn.ConvTranspose2d):
        places = part.stride, part.padding, part.output_padding, part.groups, part.dilation
        return F.conv_transpose2d(x, part.weight, part.bias, *places)
    if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[part.weight.ndim - 2]
        return function(
            x, part.weight, part.bias, part.stride, part.padding, dilation=part.dilation, groups=part.groups
        )
    if isinstance(part, nn.modules.batchnorm._BatchNorm):
        tensors = part.running_mean, part.running_var, part.weight, part.bias
        return F.batch_norm(x, *tensors, part.training, part.momentum or 0.1, part.eps)
    if isinstance(part, nn.LayerNorm):
        return F.layer_norm(x, part.normalized_shape, part.weight, part.bias, part.eps)
    if isinstance(part, nn.RMSNorm):
        return F.rms_norm(x, part.normalized_shape, weight=part.weight, eps=part.eps)
    if isinstance(part, nn.GroupNorm):
        return F.group_norm(x, part.num_groups, part.weight, part.bias, part.eps)
    if isinstance(part, nn.InstanceNorm2d):
        return F.instance_norm(x, None, None, part.weight, part.bias, True, part.momentum or 0.1, part.eps)
    if isinstance(part, nn.Linear):
        return F.linear(x, part.weight, bias=part.bias)
    output: Tensor = part(x)
    return output


def maps() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1, groups=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.GroupNorm(4, 8), nn.InstanceNorm2d(8, affine=True), nn.ConvTranspose2d(8, 6, 2, 2), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(6), nn.RMSNorm(6), nn.Linear(6, 3)),
    )


def signals() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3)
    )


def volumes() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)
    )


CASES: dict[Callable[[], nn.Sequential], tuple[int, ...]] = {
    maps: (2, 3, 12, 12),
    signals: (2, 3, 12),
    volumes: (2, 3, 6, 6, 6),
}


def pair(make: Callable[[], nn.Sequential]) -> tuple[FlatModel, FlatModel, ByFunctions, Tensor]:
    """The flat models of a network that calls functions and of one that calls modules, with equal weights."""
    torch.manual_seed(0)
    modules = randomize_(make(), seed=0).double().eval()
    net, x = ByFunctions(modules).eval(), torch.randn(CASES[make], dtype=torch.float64)
    return FlatModel.from_nn_Module(net, example=x), FlatModel.from_nn_Module(modules), net, x


@pytest.mark.parametrize("make", CASES)
def test_functions_become_the_modules_of_torch(make: Callable[[], nn.Sequential]) -> None:
    flat, by_modules, net, x = pair(make)
    assert [type(layer) for layer in flat.layers.values()] == [type(layer) for layer in by_modules.layers.values()]
    assert torch.equal(flat(x), net(x))


@pytest.mark.parametrize("make", CASES)
def test_they_hold_no_tensor_without_numbers(make: Callable[[], nn.Sequential]) -> None:
    flat, _, net, x = pair(make)
    assert not any(tensor.is_meta for layer in flat.layers.values() for tensor in layer.state_dict().values())
    assert torch.equal(flat.to("cpu")(x), net(x))  # to another device and back, where there is one
    fingerprint(flat)


@pytest.mark.parametrize("make", CASES)
def test_their_weights_are_those_of_the_network(make: Callable[[], nn.Sequential]) -> None:
    flat, _, net, x = pair(make)
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.mul_(1.25) if tensor.is_floating_point() else None
    assert torch.equal(flat(x), net(x))
    assert sum(p.numel() for p in flat.parameters()) == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("make", CASES)
@pytest.mark.parametrize("method", [DeepLift(), LRP()])
def test_methods_treat_them_alike(make: Callable[[], nn.Sequential], method: Any) -> None:
    flat, by_modules, _, x = pair(make)
    values = method(flat, x, logit(1)).values
    torch.testing.assert_close(values, method(by_modules, x, logit(1)).values)


def test_batch_norms_are_folded_and_fields_are_known() -> None:
    flat, by_modules, net, x = pair(maps)
    identities = [key for key, layer in fast(flat).layers.items() if isinstance(layer, nn.Identity)]
    assert len(identities) == 2
    torch.testing.assert_close(fast(flat)(x), net(x))
    assert list(receptive_fields(flat.program).values()) == list(receptive_fields(by_modules.program).values())


def test_without_an_example_norms_of_maps_are_folded_too() -> None:
    _, _, net, x = pair(maps)
    flat = FlatModel.from_nn_Module(net)
    assert torch.equal(flat(x), net(x))
    assert sum(isinstance(layer, nn.Identity) for layer in fast(flat).layers.values()) == 2


class Standardizing(nn.Conv2d):
    """A convolution whose weight is standardized, as that of BiT and of NFNets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.rand(self.out_channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(rows, None, None, weight=self.gain, training=True, momentum=0.0).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Joined(nn.Linear):
    """A linear layer whose bias has a part that is no parameter, as in EVA and BEiT."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.free = nn.Parameter(torch.randn(outputs - 1))
        self.register_buffer("fixed", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, torch.cat((self.free, self.fixed)))


def computing() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (Standardizing(3, 6, 3), nn.ReLU(), Standardizing(6, 4, 3, 2, 1, groups=2), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), Joined(4, 3)).double().eval()


def test_a_computed_weight_belongs_to_its_convolution() -> None:
    net, x = computing(), torch.randn(2, 3, 12, 12, dtype=torch.float64)
    flat = FlatModel.from_nn_Module(net)
    kinds = [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear]
    assert [isinstance(layer, kind) for layer, kind in zip(flat.layers.values(), kinds, strict=True)] == [True] * 7
    assert torch.equal(flat(x), net(x))
    torch.testing.assert_close(fast(flat)(x), net(x))
    assert GradCAM()(flat, x, logit(0)).provenance.layer == "3"
    assert str(receptive_fields(flat.program)["2.conv2d"]) == "5 /2"


def test_a_computed_weight_follows_the_parameters_it_is_made_from() -> None:
    net, x = computing(), torch.randn(2, 3, 12, 12, dtype=torch.float64)
    flat = FlatModel.from_nn_Module(net)
    fast(flat)(x)
    with torch.no_grad():
        net[0].gain.mul_(2)  # type: ignore[operator, union-attr]
        net[6].free.add_(1)  # type: ignore[operator, union-attr]
    assert torch.equal(flat(x), net(x))
    torch.testing.assert_close(fast(flat)(x), net(x))


def test_rules_read_the_computed_weight() -> None:
    net, x = computing(), torch.randn(2, 3, 12, 12, dtype=torch.float64)
    plain = copy.deepcopy(net)
    for i in (0, 2):
        source: Any = net[i]
        weight = FlatModel.from_nn_Module(net).layers[f"{i}.conv2d"].weight
        conv = nn.Conv2d(
            *(source.in_channels, source.out_channels, 3, source.stride, source.padding), groups=source.groups
        )
        conv.weight, conv.bias = nn.Parameter(weight), source.bias  # type: ignore[arg-type]
        plain[i] = conv
    for method in (LRP(), DeepLift()):
        values = method(FlatModel.from_nn_Module(net), x, logit(1)).values
        torch.testing.assert_close(values, method(FlatModel.from_nn_Module(plain), x, logit(1)).values)


def test_computed_layers_are_copied_and_stored() -> None:
    net, x = computing(), torch.randn(2, 3, 12, 12, dtype=torch.float64)
    flat = FlatModel.from_nn_Module(net)
    for other in (copy.deepcopy(flat), pickle.loads(pickle.dumps(flat))):
        assert torch.equal(other(x), net(x))


def test_what_depends_on_the_input_stays_a_function() -> None:
    class Dynamic(nn.Module):
        """The weight follows from the input."""

        def __init__(self) -> None:
            super().__init__()
            self.make = nn.Linear(3, 27)

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x[:1], self.make(x[:1].mean((2, 3))).view(1, 3, 3, 3))

    net, x = Dynamic(), torch.randn(1, 3, 8, 8)
    flat = FlatModel.from_nn_Module(net)
    assert not isinstance(flat.layers["conv2d"], nn.Conv2d) and torch.equal(flat(x), net(x))
