"""Networks as other tools hand them out: exported, compiled, wrapped, checkpointed, with caches of their own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from netlens.attribution import DeepLift
from netlens.fast import fast
from netlens.flat import FlatModel
from netlens.objectives import logit


class Small(nn.Module):
    """A small network, whose parts a subclass may run in its own way."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def whole(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(torch.relu(self.norm(self.conv(x)))[:, :, 1:].mean((2, 3)))
        return y

    def forward(self, x: Tensor) -> Any:
        return self.whole(x)


class Checkpointed(Small):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Any:
        return checkpoint(self.whole, x, use_reentrant=self.reentrant)


@functools.cache
def positions(height: int, width: int) -> Tensor:
    return torch.arange(height * width).float().view(1, 1, height, width) / (height * width)


_TABLE: dict[int, Tensor] = {}


class Missing:
    """What libraries put in the place of a package that is not installed: it raises where somebody uses it."""

    def __getattr__(self, name: str) -> Any:
        raise ImportError(f"{name} needs a package that is not installed")


class Caching(Small):
    """Keeps what it computes for a size in caches of its Python module."""

    @staticmethod
    @functools.lru_cache(maxsize=4)
    def shifts(size: torch.Size) -> Tensor:
        return torch.full((1, 1, *size[-2:]), 0.5)

    def forward(self, x: Tensor) -> Any:
        if x.shape[-1] not in _TABLE:
            _TABLE[x.shape[-1]] = torch.ones(x.shape[-1])
        return self.whole(x + positions(*x.shape[-2:]) + self.shifts(x.shape) * _TABLE[x.shape[-1]])


@dataclass
class Output:
    logits: Tensor
    features: Tensor


class Structured(Small):
    def forward(self, x: Tensor) -> Any:
        return Output(logits=self.whole(x), features=self.conv(x))


class ReadsStructure(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Structured()

    def forward(self, x: Tensor) -> Any:
        output = self.net(x)
        return output.logits[:, :3] * output.features.mean((1, 2, 3))[:, None]


def exported() -> nn.Module:
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Small().eval(), (torch.rand(2, 3, 12, 12),), dynamic_shapes=({0: batch},))
    return program.module()


def compiled() -> nn.Module:
    net = Small()
    net.compile()
    return net


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "exported": exported,
    "compiled": lambda: torch.compile(Small()),  # type: ignore[dict-item, return-value]
    "compiled in place": compiled,
    "with a compiled part": lambda: nn.Sequential(torch.compile(Small())),  # type: ignore[arg-type]
    "traced by fx": lambda: torch.fx.symbolic_trace(Small()),
    "parallel": lambda: nn.DataParallel(Small()),
    "averaged": lambda: AveragedModel(Small()),
    "checkpointed": lambda: Checkpointed(False),
    "checkpointed, reentrant": lambda: Checkpointed(True),
}


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # of torch's reentrant checkpoint
@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_inside_is_unrolled(name: str) -> None:
    net, x = NETWORKS[name](), torch.rand(2, 3, 12, 12)
    if name != "exported":
        net.eval()
    flat = FlatModel.from_nn_Module(net, example=x[:1])
    expected = Small().eval()(x)
    assert not flat.opaque and torch.equal(flat(x), expected)
    kinds = [type(layer) for layer in flat.layers.values()]
    assert kinds[:3] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] and kinds[-1] is nn.Linear and len(kinds) == 6
    assert any(isinstance(layer, nn.Identity) for layer in fast(flat).layers.values())
    values = DeepLift()(flat, x, logit(1)).values
    torch.testing.assert_close(values, DeepLift()(FlatModel.from_nn_Module(Small()), x, logit(1)).values)


def test_a_checkpoint_passes_gradients() -> None:
    x = torch.rand(2, 3, 12, 12, requires_grad=True)
    flat = FlatModel.from_nn_Module(Checkpointed(True).eval(), example=x)
    gradients = [torch.autograd.grad(network(x)[:, 0].sum(), x)[0] for network in (flat, Small().eval())]
    torch.testing.assert_close(*gradients)


def test_caches_hold_no_traced_values() -> None:
    net, x = Caching().eval(), torch.rand(1, 3, 12, 12)
    positions.cache_clear()
    _TABLE.clear()
    flat = FlatModel.from_nn_Module(net, example=x, check=False)
    assert not flat.opaque and positions.cache_info().currsize == 0 and not _TABLE
    assert torch.equal(flat(x), net(x))
    assert positions.cache_info().currsize == 1 and type(positions(12, 12)) is Tensor
    other = torch.rand(1, 3, 10, 14)
    assert torch.equal(flat(other), net(other))


def test_a_stand_in_for_a_missing_package_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(positions.__wrapped__.__globals__, "_optional", Missing())
    net, x = Caching().eval(), torch.rand(1, 3, 12, 12)
    assert torch.equal(FlatModel.from_nn_Module(net, example=x, check=False)(x), net(x))


def test_a_key_of_another_cache_leaves_the_part_as_it_is() -> None:
    hidden = {"positions": positions}

    class Hidden(Small):
        def forward(self, x: Tensor) -> Any:
            return self.whole(x + hidden["positions"](x.shape[-2], x.shape[-1]))

    positions.cache_clear()
    net, x = nn.Sequential(Hidden()).eval(), torch.rand(1, 3, 12, 12)
    flat = FlatModel.from_nn_Module(net, example=x, check=False)
    assert positions.cache_info().currsize == 0 or type(positions(12, 12)) is Tensor
    assert torch.equal(flat(x), net(x))


def test_outputs_of_an_own_class() -> None:
    net, x = Structured().eval(), torch.rand(2, 3, 12, 12)
    output, expected = FlatModel.from_nn_Module(net, example=x)(x), net(x)
    assert type(output) is Output
    assert torch.equal(output.logits, expected.logits) and torch.equal(output.features, expected.features)
    reading = ReadsStructure().eval()
    assert torch.equal(FlatModel.from_nn_Module(reading, example=x)(x), reading(x))


def test_an_autograd_function_keeps_its_own_backward() -> None:
    class Doubling(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            return gradient * 100

    class Part(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return Doubling.apply(x)

    net, x = nn.Sequential(nn.Linear(3, 3), Part()), torch.rand(2, 3, requires_grad=True)
    flat = FlatModel.from_nn_Module(net, example=x)
    assert list(flat.opaque) == ["1"] and "backward of its own" in flat.opaque["1"]
    gradients = [torch.autograd.grad(network(x).sum(), x)[0] for network in (net, flat)]
    torch.testing.assert_close(*gradients)


def halved(x: Tensor) -> None:
    x.div_(2)  # gives nothing


def split(x: Tensor) -> tuple[Tensor, int]:
    return x[:, 1:], x.shape[1]


def tripled(x: Tensor) -> Tensor:
    return x * 3


torch.fx.wrap("halved")
torch.fx.wrap("split")
torch.fx.wrap("tripled")


class Marked(Small):
    """Calls functions that `torch.fx.wrap` keeps whole, as torchvision's MViT does."""

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x)
        halved(y)
        rest, channels = split(y)
        return self.head(torch.cat([tripled(rest), rest[:, : 9 - int(channels)]], 1).mean((2, 3)))


def test_a_marked_function_is_whole_only_if_it_can_be_a_layer() -> None:
    net, x = Marked().eval(), torch.rand(2, 3, 12, 12)
    flat = FlatModel.from_nn_Module(net, example=x)
    assert not flat.opaque and torch.equal(flat(x), net(x))
    assert {"div", "tripled"} <= set(flat.layers)


def test_torchvisions_mvit_is_unrolled() -> None:
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    torch.manual_seed(0)
    kernels: dict[str, Any] = {"kernel_q": [3, 3, 3], "kernel_kv": [3, 3, 3], "stride_kv": [1, 2, 2]}
    blocks = [
        MSBlockConfig(1, 16, 16, stride_q=[1, 1, 1], **kernels),
        MSBlockConfig(2, 16, 32, stride_q=[1, 2, 2], **kernels),
    ]
    options: dict[str, Any] = {"residual_pool": True, "residual_with_cls_embed": False, "rel_pos_embed": True}
    net = MViT((32, 32), 4, blocks, proj_after_attn=True, num_classes=5, **options).eval()
    x = torch.randn(2, 3, 4, 32, 32)
    flat = FlatModel.from_nn_Module(net, example=x[:1])
    assert not flat.opaque and torch.equal(flat(x), net(x))
