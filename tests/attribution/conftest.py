"""Small networks of several families, random in float64, on which the laws of attribution are tested."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import DenseNet, MobileNetV2, ResNet, SwinTransformer, VisionTransformer
from torchvision.models.resnet import BasicBlock

from netlens.evaluation import randomized
from netlens.flat import FlatModel

CLASSES = 5


class Branches(nn.Module):
    """GoogLeNet in small: functional rectifiers, branches that end in a concatenation, a pool with ceil_mode."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.one = nn.Conv2d(8, 4, 1)
        self.three = nn.Conv2d(8, 6, 3, padding=1)
        self.after = nn.Conv2d(8, 3, 1)
        self.head = nn.Linear(13, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.stem(x)), inplace=True), 3, 2, ceil_mode=True)
        pooled = F.max_pool2d(x, 3, 1, 1)
        x = torch.cat([F.relu(self.one(x)), F.relu(self.three(x)), F.relu(self.after(pooled))], 1)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def trunk(channels: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()
    )


class Plain(nn.Module):
    """A user's own network; `outputs` logits, of which one comes as (N,), and perhaps in a dict."""

    def __init__(self, channels: int = 3, outputs: int = CLASSES, as_dict: bool = False) -> None:
        super().__init__()
        self.trunk = trunk(channels)
        self.head = nn.Linear(8, outputs)
        self.outputs = outputs
        self.as_dict = as_dict

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        features = self.trunk(x).mean((2, 3))
        scores = self.head(features)
        if self.as_dict:
            return {"features": features, "logits": scores}
        return scores.squeeze(1) if self.outputs == 1 else scores


@dataclass(frozen=True)
class Family:
    """A small network, the shape of one input, a layer in its middle with maps, and one near its end."""

    make: Callable[[], nn.Module]
    middle: str
    late: str
    shape: tuple[int, ...] = (3, 32, 32)
    outputs: int = CLASSES
    has: tuple[str, ...] = ("pooled maps",)  # what some methods need


FAMILIES = {
    "resnet": Family(
        lambda: ResNet(BasicBlock, [1, 1, 1, 1], num_classes=CLASSES), "layer2", "layer4", shape=(3, 40, 36)
    ),
    "densenet": Family(
        lambda: DenseNet(4, (2, 2), 8, num_classes=CLASSES), "features.transition1.conv", "relu", shape=(3, 32, 40)
    ),
    "mobilenet": Family(
        lambda: MobileNetV2(CLASSES, 0.25, [[1, 8, 1, 1], [6, 12, 2, 2]]), "features.2.conv.1", "features.4.2"
    ),
    "branches": Family(Branches, "norm", "cat", shape=(3, 23, 30)),
    "vit": Family(
        lambda: VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=CLASSES),
        "encoder.layers.encoder_layer_0",
        "encoder.layers.encoder_layer_1.ln_1",
        has=("attention", "global attention"),
    ),
    "swin": Family(
        lambda: SwinTransformer([2, 2], 8, [2, 2], [2, 2], [4, 4], num_classes=CLASSES),
        "features.1",
        "norm",
        has=("attention", "pooled maps"),
    ),
    "plain": Family(Plain, "trunk.3", "trunk.4", shape=(3, 15, 20)),
    "one logit": Family(lambda: Plain(outputs=1), "trunk.3", "trunk.4", shape=(3, 15, 20), outputs=1),
    "gray": Family(lambda: Plain(channels=1), "trunk.3", "trunk.4", shape=(1, 15, 20)),
    "dict": Family(lambda: Plain(as_dict=True), "trunk.3", "trunk.4", shape=(3, 15, 20)),
    "vectors": Family(
        lambda: nn.Sequential(nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, CLASSES)),
        "1",
        "3",
        shape=(9,),
        has=(),
    ),
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """On tensors this small, threads wait for each other longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Case:
    """A network of a family with three inputs, and a target for each of them."""

    name: str
    family: Family
    module: nn.Module
    flat: FlatModel
    x: Tensor
    targets: tuple[int, ...]

    @property
    def spatial(self) -> bool:
        return self.x.ndim == 4


def case_of(name: str) -> Case:
    family = FAMILIES[name]
    torch.manual_seed(0)
    module = randomized(family.make()).double()
    x = torch.randn(3, *family.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    targets = (0, 3, 1) if family.outputs > 1 else (0, 0, 0)
    return Case(name, family, module, FlatModel.from_nn_Module(module), x, targets)


@pytest.fixture(scope="session")
def cases() -> dict[str, Case]:
    return {name: case_of(name) for name in FAMILIES}


@pytest.fixture(params=FAMILIES)
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    """Every family in turn."""
    return cases[request.param]


@pytest.fixture(params=["branches", "vit", "plain"])
def some(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    """Three that differ most: functional rectifiers and branches, tokens, and a plain sequence."""
    return cases[request.param]
