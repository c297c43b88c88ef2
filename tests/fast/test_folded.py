"""The fast twin computes what the network computes, whatever happens to the network's weights in between."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.evaluation import randomized
from netlens.fast import _folded as fast_module
from netlens.fast import (
    fast,
)
from netlens.flat import FlatModel, Hooks
from tests.networks.local import NETWORKS, conv


def build(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, FlatModel, Tensor]:
    make, size = NETWORKS[name]
    torch.manual_seed(0)
    module = randomized(make()).to(dtype)
    x = torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return module, FlatModel.from_nn_Module(module), x


def block() -> nn.Module:
    layers = (conv(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), conv(6, 4, 3, groups=2, bias=False), nn.BatchNorm2d(4))
    return randomized(nn.Sequential(*layers)).double()


X = torch.randn(2, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def same(flat: FlatModel, module: nn.Module, x: Tensor = X) -> None:
    with torch.no_grad():
        assert_close(fast(flat)(x), module.eval()(x), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_the_same(name):
    module, flat, x = build(name)
    same(flat, module, x)
    norms = [key for key, layer in flat.layers.items() if isinstance(layer, nn.BatchNorm2d)]
    left = [key for key, layer in fast(flat).layers.items() if isinstance(layer, nn.BatchNorm2d)]
    assert len(left) < len(norms) or not norms
    assert list(fast(flat).layers) == list(flat.layers)


@pytest.mark.parametrize("name", ["resnet", "branches", "vit"])
def test_in_float32_it_rounds_no_worse_than_the_network(name):
    module, flat, x = build(name, torch.float32)
    with torch.no_grad():
        exact = copy.deepcopy(module).double()(x.double())
        plain, twin = ((run(x).double() - exact).abs().max() / exact.abs().max() for run in (module, fast(flat)))
    assert twin <= 4 * plain + 1e-7 and plain < 1e-5


def test_what_somebody_reads_keeps_its_meaning():
    module, flat, x = build("resnet")
    for keep in (["conv1"], ["conv1", "layer2.0.conv2"], ["relu"]):
        twin = fast(flat, keep)
        for key in keep:
            assert_close(twin(x, until=key), flat(x, until=key), rtol=1e-11, atol=1e-13)
        assert_close(twin(x), module(x), rtol=1e-11, atol=1e-13)
    # without being asked to, it does not: the convolution has done the batch norm's work
    assert (fast(flat)(x, until="conv1") - flat(x, until="conv1")).abs().max() > 0.01


def test_it_is_made_once_while_nothing_changes():
    _, flat, _ = build("resnet")
    twin = fast(flat)
    assert fast(flat) is twin and fast(flat, keep=["relu", "layer1.0.add", "input", "output"]) is twin
    assert fast(flat, keep=["conv1"]) is not twin


def in_place(module: nn.Module) -> None:
    with torch.no_grad():
        module[0].weight.mul_(1.5)


def optimizer(module: nn.Module) -> None:
    step = torch.optim.Adam(module.parameters(), lr=0.1)
    module.train()(X).square().sum().backward()  # running statistics move too
    step.step()


def statistics_only(module: nn.Module) -> None:
    module.train()
    with torch.no_grad():
        module(2 * X + 1)


def load(module: nn.Module) -> None:
    module.load_state_dict({name: tensor + 1 for name, tensor in block().state_dict().items()})


def through_data(module: nn.Module) -> None:
    module[1].running_mean.data.add_(3)
    module[0].weight.data.neg_()


def a_single_number(module: nn.Module) -> None:
    module[3].weight.data.view(-1)[5] += 1e-3


def places_only(module: nn.Module) -> None:
    """The same values in other places, which no plain sum sees."""
    for tensor in (module[1].running_mean, module[1].weight, module[3].weight):
        tensor.data.copy_(tensor.data.roll(1, 0))
    module[3].weight.data.copy_(module[3].weight.data.flip(3))


CHANGES = (in_place, optimizer, statistics_only, load, through_data, a_single_number, places_only)


@pytest.mark.parametrize("change", CHANGES)
def test_it_follows_the_weights(change):
    module = block()
    flat = FlatModel.from_nn_Module(module)
    same(flat, module)
    before = fast(flat)(X)
    for _ in range(2):
        change(module)
        same(flat, module)
    assert (fast(flat)(X) - before).abs().max() > 1e-5


def test_it_follows_weights_that_torch_does_not_count():
    with torch.inference_mode():
        module = block()
        flat = FlatModel.from_nn_Module(module)
        same(flat, module)
        module[0].weight.mul_(2)
        same(flat, module)


def test_hooks_see_the_network_itself():
    module = block()
    flat = FlatModel.from_nn_Module(module)
    twin = fast(flat)
    with Hooks(flat, ["0", "1"]) as hooks:
        assert fast(flat) is flat
        fast(flat)(X)
    assert_close(hooks["0"].activation, module[0](X), rtol=1e-12, atol=1e-13)
    assert_close(hooks["1"].activation, module[1](module[0](X)), rtol=1e-12, atol=1e-13)
    assert fast(flat) is twin
    # hooks on another network are no matter
    with Hooks(FlatModel.from_nn_Module(block()), ["0"]):
        assert fast(flat) is twin


def test_the_users_weights_stay_as_they_were():
    module = block()
    module[0].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    facts = [(p.data_ptr(), p.stride(), p._version, p.requires_grad, p.grad) for p in module.parameters()]
    flat = FlatModel.from_nn_Module(module)
    twin = fast(flat)
    with torch.no_grad():
        twin(X.contiguous(memory_format=torch.channels_last))
    assert twin.layers["0"].weight.is_contiguous(memory_format=torch.channels_last)
    assert not flat.layers["0"].weight.is_contiguous(memory_format=torch.channels_last)
    assert [(p.data_ptr(), p.stride(), p._version, p.requires_grad, p.grad) for p in module.parameters()] == facts
    assert all(torch.equal(now, before[name]) for name, now in module.state_dict().items())
    assert not any(p.requires_grad for p in twin.parameters())
    theirs = {p.untyped_storage().data_ptr() for p in module.parameters()}
    assert not theirs & {twin.layers[key].weight.untyped_storage().data_ptr() for key in ("0", "3")}


def test_layers_of_the_users_own_kind_stay_as_they_are():
    class Doubled(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    for layer in (Doubled(3, 4, 3), torch.nn.utils.spectral_norm(conv(3, 4, 3)), conv(3, 4, 3, padding_mode="reflect")):
        module = randomized(nn.Sequential(layer, nn.BatchNorm2d(4))).double()
        same(FlatModel.from_nn_Module(module), module)


def test_it_lives_no_longer_than_the_network():
    flat = FlatModel.from_nn_Module(block())
    twin = weakref.ref(fast(flat))
    assert fast_module.FAST.answer(flat) is not None
    here = weakref.ref(flat)
    del flat
    gc.collect()
    assert here() is None and twin() is None


@pytest.mark.parametrize(
    "change",
    [
        lambda weight: weight.neg_(),
        lambda weight: weight.copy_(weight.roll(1, 0)),
        lambda weight: weight.view(-1)[-1:].add_(0.5),
        lambda weight: weight.view(-1)[:2].copy_(weight.view(-1)[:2].flip(0)),
    ],
)
@pytest.mark.parametrize("last", [torch.contiguous_format, torch.channels_last])
def test_it_follows_large_weights_of_any_format(change, last):
    module = nn.Sequential(nn.Conv2d(64, 130, 3), nn.BatchNorm2d(130)).to(memory_format=last).eval()
    flat = FlatModel.from_nn_Module(module)
    x = torch.randn(1, 64, 8, 8)
    fast(flat)
    weight = module[0].weight.data
    change(weight if last == torch.contiguous_format else weight.permute(0, 2, 3, 1))
    torch.testing.assert_close(fast(flat)(x), module(x), rtol=1e-4, atol=1e-4)
