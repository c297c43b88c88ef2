"""Numbers, types and devices of traced values, wherever Python, NumPy and torch take them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat import FlatModel
from netlens.flat.twin import throwaway


class Net(nn.Module):
    """A convolution, and a forward that asks for sizes and types of its maps."""

    def __init__(self, function: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.function = nn.Conv2d(3, 4, 3, padding=1), function
        self.register_buffer("steps", torch.arange(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.conv(x))


def under_autocast(net: Net, x: Tensor) -> Tensor:
    kind = x.device.type if isinstance(x.device.type, str) and x.device.type != "mps" else "cpu"
    enabled = torch.is_autocast_enabled(kind)
    with torch.autocast(device_type=kind, enabled=enabled):
        return x * 2


OF_PYTHON: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "math.prod": lambda net, x: x.reshape(x.shape[0], math.prod(x.shape[1:])),
    "math.sqrt": lambda net, x: x / math.sqrt(x.shape[1]),
    "math.ceil": lambda net, x: x[..., : math.ceil(x.shape[2] / 3)],
    "math.gcd": lambda net, x: x * math.gcd(x.shape[2], 12),
    "round": lambda net, x: x[..., : round(x.shape[2] / 3)],
    "round to digits": lambda net, x: x * round(x.shape[2] / 3, 1),
    "divmod": lambda net, x: x[..., : sum(divmod(x.shape[2], 3))],
    "divmod of a number": lambda net, x: x[..., : divmod(100, x.shape[2])[0]],
    "reduce": lambda net, x: x.reshape(-1, functools.reduce(lambda one, other: one * other, x.shape[1:])),
    "numel of a size": lambda net, x: x.reshape(x.shape[0], x.shape[1:].numel()),
    "index in a size": lambda net, x: x * x.shape.index(4),
    "sum of sizes": lambda net, x: x.reshape(x.shape[:1] + (1,) + x.shape[1:]),  # noqa: RUF005
    "torch.Size": lambda net, x: x.reshape(torch.Size([x.shape[0], x.shape[1] * x.shape[2], x.shape[3]])),
    "sym_max": lambda net, x: x[..., : torch.sym_max(x.shape[2] // 2, 3)],
    "sym_not": lambda net, x: x * 2 if torch.sym_not(x.shape[2] == 3) else x,
    "name of a device": lambda net, x: x * 2 if str(x.device) == "cpu" else x,
    "name of a type": lambda net, x: x * 2 if f"{x.dtype}".endswith("32") else x,
    "type of a device": lambda net, x: x * 2 if x.device.type.startswith("cp") else x,
}
OF_NUMPY: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "prod": lambda net, x: x.reshape(x.shape[0], np.prod(x.shape[1:])),
    "prod of a tuple": lambda net, x: x.reshape(x.shape[0], np.prod((x.shape[1], x.shape[2], x.shape[3]))),
    "sqrt": lambda net, x: x[..., : int(np.sqrt(x.shape[2] * x.shape[3])) // 2],
    "ceil": lambda net, x: x[..., : int(np.ceil(x.shape[2] / 3))],
    "max": lambda net, x: x * float(np.max(x.shape[2:])),
    "cumsum": lambda net, x: x * float(np.cumsum(x.shape[2:])[-1]),
    "array": lambda net, x: x * float(np.array(x.shape[1:]).sum()),
    "linspace": lambda net, x: x + torch.from_numpy(np.linspace(0, 1, x.shape[-1])).float(),
    "number times a value": lambda net, x: np.float64(2.5) * x,
    "number times a size": lambda net, x: x * (np.float64(2.5) * x.shape[1]),
    "number as an argument": lambda net, x: x.reshape(x.shape[0], np.int64(4), -1),
}
OF_TORCH: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "to a device": lambda net, x: net.steps.view(4, 1, 1).to(x.device) * x,
    "a constant to a device": lambda net, x: torch.ones(4, 1, 1).to(x.device) * x,
    "a constant to a type": lambda net, x: torch.arange(4).view(4, 1, 1).to(dtype=x.dtype, device=x.device) * x,
    "a constant as another": lambda net, x: torch.arange(4).view(4, 1, 1).to(x) * x,
    "type": lambda net, x: torch.arange(4).view(4, 1, 1).type(x.dtype) * x,
    "expand": lambda net, x: torch.ones(1, 1, 1, 1).expand(x.shape[0], -1, -1, -1) * x,
    "roll": lambda net, x: torch.arange(4.0).roll(x.shape[2] // 3).view(4, 1, 1) * x,
    "new_zeros": lambda net, x: torch.ones(2).new_zeros(x.shape[1], 1, 1, dtype=x.dtype) + x,
    "new_full": lambda net, x: torch.ones(2).new_full((x.shape[1], 1, 1), 2.0) * x,
    "empty": lambda net, x: torch.empty(x.shape[0], 4, 1, 1, device=x.device, dtype=x.dtype).fill_(2) * x,
    "torch.device": lambda net, x: torch.ones(4, 1, 1, device=torch.device(x.device.type)) * x,
    "broadcast_shapes": lambda net, x: x.expand(torch.broadcast_shapes(x.shape, (1, 1))),
    "is_floating_point": lambda net, x: x * 2 if torch.is_floating_point(x) else x,
    "result_type": lambda net, x: (x * 2).to(torch.result_type(x, 2)),
    "autocast": under_autocast,
    "tolist": lambda net, x: x.reshape(torch.tensor(x.shape).tolist()),
    "pytree": lambda net, x: pytree.tree_map_only(Tensor, lambda value: value * 2, (x, 3))[0],
    "is_tracing": lambda net, x: x * 2 if torch.jit.is_tracing() else x,
    "is_compiling": lambda net, x: x * 2 if torch.compiler.is_compiling() else x,
}
FORWARDS = {
    f"{where}: {name}": forward
    for where, forwards in {"Python": OF_PYTHON, "NumPy": OF_NUMPY, "torch": OF_TORCH}.items()
    for name, forward in forwards.items()
}
SHAPES = ((1, 3, 12, 12), (2, 3, 12, 12), (1, 3, 18, 24), (1, 3, 12, 12))


@pytest.mark.parametrize("name", FORWARDS)
def test_sizes_types_and_devices_leave_nothing_opaque(name: str) -> None:
    net = Net(FORWARDS[name])
    flat = FlatModel.from_nn_Module(net, example=torch.rand(SHAPES[0]))
    assert not flat.opaque
    for shape in SHAPES:
        x = torch.rand(shape)
        assert torch.equal(flat(x), net(x)), shape


@pytest.mark.parametrize("name", FORWARDS)
def test_every_layer_gives_a_tensor(name: str) -> None:
    flat = FlatModel.from_nn_Module(Net(FORWARDS[name]), example=torch.rand(SHAPES[0]))
    values = flat.record(torch.rand(SHAPES[2]), layers=list(flat.layers))
    assert all(isinstance(value, Tensor) for value in values.values()), {k: type(v) for k, v in values.items()}


def test_a_traced_number_in_a_product_of_numpy_fits_any_batch() -> None:
    flat = FlatModel.from_nn_Module(Net(OF_NUMPY["prod"]), example=torch.rand(SHAPES[0]))
    assert not flat.assumptions


class Asks(nn.Module):
    """A part whose forward is given, and a layer before it."""

    def __init__(self, function: Callable[[Asks, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.function = nn.Linear(4, 4), function
        self.whole, self.nothing = Whole(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.linear(x))


class Output(dict):  # type: ignore[type-arg]
    """An output with attributes, as libraries return it."""

    def __getattr__(self, name: str) -> object:
        if name in self:
            return self[name]
        raise AttributeError(name)

    def __getitem__(self, key: object) -> object:
        return list(self.values())[key] if isinstance(key, int) else super().__getitem__(key)


class Whole(nn.Module):
    """A part that stays whole, because it asks for data."""

    def forward(self, x: Tensor) -> Output:
        return Output(hidden=x * 2 if x.sum() < 1e9 else x, weights=None)


def caught(net: Asks, x: Tensor) -> Tensor:
    try:
        return x.tensors * 3  # type: ignore[attr-defined, no-any-return]
    except AttributeError:
        return x * 2


ANSWERS: dict[str, Callable[[Asks, Tensor], Tensor]] = {
    "a module that gives None": lambda net, x: x if net.nothing(None) is None else x * 2,
    "an item that is None": lambda net, x: x if net.whole(x)["weights"] is None else x * 2,
    "an attribute that is None": lambda net, x: x if net.whole(x).weights is None else x * 2,
    "an item by number": lambda net, x: net.whole(x)[0] * 3,  # type: ignore[no-any-return]
    "an attribute of a part": lambda net, x: net.whole(x).hidden * 3,
    "an attribute with a default": lambda net, x: x if getattr(x, "input_ids", None) is None else x * 2,
    "an attribute that no value has": caught,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_none_and_what_is_missing_is_known(name: str) -> None:
    net = Asks(ANSWERS[name])
    flat = FlatModel.from_nn_Module(net, example=torch.rand(2, 4))
    assert set(flat.opaque) <= {"whole"}
    for x in (torch.rand(2, 4), torch.rand(5, 4)):
        assert torch.equal(flat(x), net(x))


def without_data(net: Asks, mask: Tensor) -> Tensor:
    """Skips the mask where nothing is masked, unless it is traced."""
    if not isinstance(mask, torch.fx.Proxy) and (mask > 0).all():
        return mask
    return mask.where(mask > 0, 0)


def test_a_network_that_asks_whether_it_is_traced_takes_the_path_for_all_data() -> None:
    net = Asks(without_data)
    flat = FlatModel.from_nn_Module(net, example=torch.rand(2, 4))
    assert not flat.opaque
    for sign in (1, -1):
        x = sign * torch.rand(9, 4)
        assert torch.equal(flat(x), net(x))


def test_a_value_that_the_example_knows_is_not_called_traced() -> None:
    net = Asks(lambda net, x: x + without_data(net, torch.ones_like(x)))
    flat = FlatModel.from_nn_Module(net, example=torch.rand(2, 4))
    assert not any(key.startswith("where") for key in flat.layers)
    x = torch.rand(3, 4)
    assert torch.equal(flat(x), net(x))


def test_an_assumption_about_a_tensor_that_nothing_else_reads_is_checked() -> None:
    net = Asks(lambda net, x: x * float(torch.zeros(x.shape).add(1).sum(0).max()))
    flat = FlatModel.from_nn_Module(net, example=torch.rand(2, 4))
    assert len(flat.assumptions) == 1
    x = torch.rand(5, 4)
    assert torch.equal(flat(x), net(x))


def written(net: Asks, x: Tensor) -> Tensor:
    gates = torch.ones(4)
    gates[0] = x.mean()
    return x * gates.view(1, 4)


def test_a_traced_value_that_is_written_into_a_constant_is_not_lost() -> None:
    net = nn.Sequential(Asks(written))
    flat = FlatModel.from_nn_Module(net, example=torch.rand(2, 4), check=False)
    assert list(flat.opaque) == ["0"]
    assert torch.equal(flat(torch.ones(3, 4)), net(torch.ones(3, 4)))


def test_torch_is_as_before_after_a_trace() -> None:
    owners = (torch, Tensor, torch.amp, torch.autocast)
    before = [dict(vars(owner)) for owner in owners]
    FlatModel.from_nn_Module(Net(OF_TORCH["autocast"]), example=torch.rand(SHAPES[0]))
    assert [dict(vars(owner)) for owner in owners] == before


def test_a_copy_of_a_network_of_another_type_asks_anew() -> None:
    net = throwaway(Net(OF_PYTHON["name of a type"])).double()
    flat = FlatModel.from_nn_Module(net, example=torch.rand(SHAPES[0], dtype=torch.float64))
    x = torch.rand(SHAPES[1], dtype=torch.float64)
    assert torch.equal(flat(x), net(x))
