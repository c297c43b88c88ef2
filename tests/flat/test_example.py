"""A trace along an example: questions about shapes and types are no obstacle, and nothing is silently wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.errors import TraceError
from netlens.flat import FlatModel


class Net(nn.Module):
    """A small network whose forward is given."""

    def __init__(self, forward: Callable[[Net, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.function = forward
        self.sizes: dict[int, int] = {}

    def rest(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def checked(net: Net, x: Tensor) -> Tensor:
    if x.ndim != 4:
        raise ValueError("images have four dimensions")
    return net.rest(x)


def divisible(net: Net, x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    if height % 8 != 0 or width % 8 != 0:
        raise ValueError("sizes must be multiples of 8")
    return net.rest(x)


def in_loop(net: Net, x: Tensor) -> Tensor:
    return torch.stack([net.rest(x[..., i : i + 8]) for i in range(0, x.shape[-1], 8)]).sum(0)


def remembered(net: Net, x: Tensor) -> Tensor:
    if x.shape[-1] not in net.sizes:
        net.sizes[x.shape[-1]] = x.shape[-1] * 2
    return net.rest(x) * net.sizes[x.shape[-1]]


def of_dict(net: Net, x: Tensor) -> Tensor:
    features = {"low": x, "high": x * 2}
    return sum(net.rest(value) for key, value in features.items() if isinstance(value, Tensor))  # type: ignore[return-value]


FORWARDS: dict[str, Callable[[Net, Tensor], Any]] = {
    "gray": lambda net, x: net.rest(x.repeat(1, 3, 1, 1) if x.shape[1] == 1 else x),
    "size": lambda net, x: net.rest(F.interpolate(x, size=(32, 32)) if x.shape[-2:] != (32, 32) else x),
    "dimensions": checked,
    "stride": divisible,
    "type": lambda net, x: net.rest(x if x.dtype == net.head.weight.dtype else x.to(net.head.weight.dtype)),
    "device": lambda net, x: net.rest(x if x.device.type == "cpu" else x.cpu()),
    "length": lambda net, x: net.rest(x).view(len(x), -1),
    "star": lambda net, x: net.rest(x).view(*net.rest(x).shape[:-1], -1),
    "zeros": lambda net, x: net.rest(x) + torch.zeros(x.size(0), 4),
    "range": lambda net, x: net.rest(x) + torch.arange(x.shape[1] + 1),
    "int": lambda net, x: net.rest(x).view(int(x.shape[0]), -1),
    "isinstance": lambda net, x: net.rest(x) + 1 if isinstance(x, Tensor) else net.rest(x),
    "isinstance of TorchScript": lambda net, x: net.rest(x) + 1 if torch.jit.isinstance(x, Tensor) else net.rest(x),
    "attribute": lambda net, x: net.rest(x.values if hasattr(x, "input_ids") else x),
    "callable": lambda net, x: net.rest(x() if callable(x) else x),
    "loop": in_loop,
    "iteration": lambda net, x: torch.stack([net.rest(image[None])[0] for image in x]),
    "cache": remembered,
    "dict": of_dict,
    "empty_like": lambda net, x: net.rest(x) if torch.zeros_like(x).sum() == 0 else x,
}


@pytest.mark.parametrize("name", FORWARDS)
def test_questions_about_shapes_and_types_leave_nothing_opaque(name: str) -> None:
    net = Net(FORWARDS[name])
    flat = FlatModel.from_nn_Module(net, example=torch.rand(1, 3, 16, 16))
    assert not flat.opaque
    for shape in ((1, 3, 16, 16), (2, 3, 16, 16), (1, 3, 24, 40), (1, 3, 16, 16)):
        x = torch.rand(shape)
        assert torch.equal(flat(x), net(x)), shape


def test_another_answer_unrolls_the_network_again() -> None:
    net = Net(FORWARDS["gray"])
    flat = FlatModel.from_nn_Module(net, example=torch.rand(1, 3, 16, 16))
    x = torch.rand(2, 1, 16, 16)
    assert torch.equal(flat(x), net(x))
    assert torch.equal(flat.record(x, layers="conv")["conv"], net.conv(x.repeat(1, 3, 1, 1)))


def test_an_error_of_the_network_is_its_own_for_other_shapes() -> None:
    flat = FlatModel.from_nn_Module(Net(divisible), example=torch.rand(1, 3, 16, 16))
    with pytest.raises(TraceError, match="multiples of 8"):
        flat(torch.rand(1, 3, 17, 16))


class Part(nn.Module):
    def __init__(self, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.function = forward

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


class Whole(nn.Module):
    """A network that hands two features to a part."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.part = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), part

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        features = [y, self.b(y)]
        return self.part(features) + len(features)


def pops_then_asks_data(features: list[Tensor]) -> Tensor:
    top = features[-1]
    if float(top.detach().sum()) > 1e9:  # a question about data
        top = top * 2
    return top.mean((2, 3)) + features[0].mean((2, 3))


def test_a_question_about_data_leaves_one_opaque_part() -> None:
    net = Whole(Part(pops_then_asks_data))
    flat = FlatModel.from_nn_Module(net, example=torch.rand(1, 3, 16, 16))
    assert list(flat.opaque) == ["part"]
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(flat(x), net(x))


@pytest.mark.parametrize(
    "question", [lambda x: x.sum() > 0, lambda x: int(x.argmax()) > 3, lambda x: len(x[x > 0.5]) > 3]
)
def test_no_answer_rests_on_data(question: Callable[[Tensor], Any]) -> None:
    part = Part(lambda x: x * 2 if question(x) else x)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), part)
    flat = FlatModel.from_nn_Module(net, example=torch.rand(1, 3, 8, 8))
    assert list(flat.opaque) == ["1"]


def shortens(features: list[Tensor]) -> Tensor:
    top = features.pop()
    if bool(top.isnan().any()):
        return top.mean((2, 3))
    return features[0].mean((2, 3))


def writes(features: list[Tensor]) -> Tensor:
    features[0] = features[0] * 2
    return features[0].mean((2, 3)) if top_is_large(features) else features[1].mean((2, 3))


def top_is_large(features: list[Tensor]) -> bool:
    return bool(features[1].mean() > 100)


@pytest.mark.parametrize("part", [shortens, writes])
def test_a_part_that_changes_the_list_it_was_handed_is_right_or_refused(part: Callable[..., Any]) -> None:
    net = Whole(Part(part))
    x = torch.rand(1, 3, 16, 16)
    try:
        flat = FlatModel.from_nn_Module(net, example=x)
    except TraceError as error:
        assert "differs" in str(error) or "another output" in str(error)
    else:
        assert torch.equal(flat(x), net(x))


def test_a_hook_that_changes_an_output_is_part_of_the_network() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net[1].register_forward_hook(lambda module, inputs, output: output * 2)
    net[2].register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    flat = FlatModel.from_nn_Module(net, example=torch.rand(1, 3, 16, 16))
    x = torch.rand(2, 3, 16, 16)
    assert not flat.opaque and torch.equal(flat(x), net(x))


def test_a_hook_that_only_looks_on_gets_tensors_and_is_no_layer() -> None:
    net, outputs = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), []
    net[0].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    flat = FlatModel.from_nn_Module(net, example=torch.rand(1, 3, 16, 16))
    assert list(flat.layers) == ["0", "1"]
    assert all(type(value) is Tensor for value in outputs)
    calls = len(outputs)
    flat(torch.rand(1, 3, 16, 16))
    assert len(outputs) == calls


class Switches(nn.Module):
    def __init__(self, mode: Callable[[], Any]) -> None:
        super().__init__()
        self.mode, self.linear = mode, nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        with self.mode():
            return self.linear(x)


@pytest.mark.parametrize("example", [None, torch.rand(2, 8)])
def test_a_part_under_autocast_is_unrolled_and_runs_under_it(example: Tensor | None) -> None:
    net = nn.Sequential(
        nn.Linear(8, 8), Switches(lambda: torch.autocast("cpu", torch.bfloat16)), nn.Linear(8, 8).bfloat16()
    )
    x = torch.rand(2, 8)
    flat = FlatModel.from_nn_Module(net, example=example)
    assert not flat.opaque and torch.equal(flat(x), net(x))
    values = flat.record(x, layers=["0", "1.linear"])
    assert [value.dtype for value in values.values()] == [torch.float32, torch.bfloat16]


def test_what_runs_without_gradients_passes_none() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                gate = self.linear(x).sigmoid()
            return x * gate

    net, x = Gated(), torch.rand(2, 8, requires_grad=True)
    flat = FlatModel.from_nn_Module(net, example=x)
    assert not flat.opaque and torch.equal(flat(x), net(x))
    gradients = [torch.autograd.grad(network(x).sum(), x)[0] for network in (net, flat)]
    assert torch.equal(*gradients)


def test_without_an_example_such_a_part_stays_as_it_is() -> None:
    net = nn.Sequential(nn.Linear(8, 8), Switches(torch.no_grad))
    x = torch.rand(2, 8)
    flat = FlatModel.from_nn_Module(net)
    assert list(flat.opaque) == ["1"] and torch.equal(flat(x), net(x))


def test_arguments_that_are_handed_on_are_followed() -> None:
    class Handing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return self.net(*args, **kwargs)

    net, x = Handing(), torch.rand(1, 3, 8, 8)
    flat = FlatModel.from_nn_Module(net, example=x)
    assert list(flat.layers) == ["net.0", "net.1"] and torch.equal(flat(x), net(x))


def test_a_flat_model_that_differs_is_refused_by_the_name_of_the_layer() -> None:
    class AsksForGradients(nn.Module):
        """The weights of an unrolled layer require no gradient when it is traced, so this asks for what it changes."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x) + float(self.linear.weight.requires_grad)

    net = nn.Sequential(nn.Linear(4, 4), AsksForGradients(), nn.Linear(4, 4))
    with pytest.raises(TraceError, match="first layer that differs is '2'"):
        FlatModel.from_nn_Module(net, example=torch.rand(2, 4))
    assert not FlatModel.from_nn_Module(net, example=torch.rand(2, 4), check=False).opaque


def test_a_flag_that_is_true_is_read_as_true() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(1))  # type: ignore[arg-type]
    x = torch.randn(2, 4)
    values = FlatModel.from_nn_Module(net).record(x, layers=["0", "1"])
    assert torch.equal(values["0"], net[0](x)) and torch.equal(values["1"], net(x))


def test_the_network_keeps_its_state_and_random_numbers() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.mean.mul_(0.9).add_(x.mean((0, 2, 3)))
            return x + torch.rand(1) * 0

    net = Counts().train()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    FlatModel.from_nn_Module(net, example=torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.rand(3), expected)
    assert net.calls == 0 and net.training and torch.equal(net.mean, torch.zeros(3))


class _AsksTwice(nn.Module):
    """A forward that asks a size as a truth value, and then as a number."""

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        if not n:
            return x
        return torch.cat([x[i : i + 1] * (i + 2) for i in range(n)])


def test_a_size_that_was_asked_as_a_truth_value_is_still_checked_as_a_number() -> None:
    """1 equals True, so the second question had no check, and other batches got the answer of the first."""
    network, x = _AsksTwice(), torch.rand(3, 2)
    flat = FlatModel.from_nn_Module(network, example=x[:1])
    torch.testing.assert_close(flat(x), network(x))
