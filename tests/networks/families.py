"""Small networks of several families, random in float64, on which the laws of attribution are tested."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torchvision.models import DenseNet, SwinTransformer, VisionTransformer

from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.objectives import Objective, logit
from tests.networks.narrow import Branches, NarrowMobileNet, NarrowResNet

CLASSES = 5


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


class Flattened(nn.Module):
    """Convolutions and a classifier of several layers on the flattened maps, as VGGs end."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(6 * 7 * 7, 8), nn.ReLU(), nn.Linear(8, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Smooth(nn.Module):
    """Activations without a kink, and no norm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Conv2d(6, 6, 3, 2), nn.Sigmoid())
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Perceptron(nn.Module):
    """Linear layers on the flattened image, without a map."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.ReLU(), nn.Linear(8, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Mixing(nn.Module):
    """A batch norm without statistics, so that samples change each other."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(6, track_running_stats=False)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.ReLU())
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Branching(nn.Module):
    """Control flow that depends on the data, in one part, which stays opaque."""

    class Part(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu() if x.sum() > 0 else 0.5 * x

    def __init__(self) -> None:
        super().__init__()
        self.first, self.part, self.last = nn.Conv2d(3, 6, 3), self.Part(), nn.Conv2d(6, 6, 3)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.part(self.first(x))).relu().mean((2, 3)))


class Recurrent(nn.Module):
    """A GRU that reads the rows of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(3 * 16, 6, batch_first=True), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.transpose(1, 2).flatten(2))[0][:, -1])


@dataclass(frozen=True)
class Family:
    """A small network, the shape of one input, a layer in its middle (of maps, if it has any), and one near its end."""

    make: Callable[[], nn.Module]
    middle: str
    late: str
    shape: tuple[int, ...] = (3, 32, 32)
    outputs: int = CLASSES


# every law of attribution is asked of these
FAMILIES = {
    "resnet": Family(NarrowResNet, "layer2", "layer4", shape=(3, 40, 36)),
    "densenet": Family(
        lambda: DenseNet(4, (2, 2), 8, num_classes=CLASSES), "features.transition1.conv", "relu", shape=(3, 32, 40)
    ),
    "mobilenet": Family(NarrowMobileNet, "features.2.conv.1", "features.4.2"),
    "branches": Family(Branches, "norm", "cat", shape=(3, 23, 30)),
    "vit": Family(
        lambda: VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=CLASSES),
        "encoder.layers.encoder_layer_0",
        "encoder.layers.encoder_layer_1.ln_1",
    ),
    "swin": Family(
        lambda: SwinTransformer([2, 2], 8, [2, 2], [2, 2], [4, 4], num_classes=CLASSES), "features.1", "norm"
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
    ),
}
# the three that differ most: functional rectifiers and branches, tokens, and a plain sequence
SOME = ("branches", "vit", "plain")
SPATIAL = tuple(name for name, family in FAMILIES.items() if len(family.shape) == 3)
# those on which methods have reasons to refuse that none of the others gives
HARD = {
    "flattened": Family(Flattened, "body.0", "body.2", shape=(3, 16, 16)),
    "smooth": Family(Smooth, "body.1", "body.3", shape=(3, 16, 16)),
    "perceptron": Family(Perceptron, "layers.1", "layers.2", shape=(3, 16, 16)),
    "mixing": Family(Mixing, "body.1", "body.2", shape=(3, 16, 16)),
    "branching": Family(Branching, "first", "last", shape=(3, 16, 16)),
    "recurrent": Family(Recurrent, "cell", "head", shape=(3, 16, 16)),
}


@dataclass(frozen=True)
class Case:
    """A network of a family with three inputs, and a target for each of them.

    What several tests make of the network, and none of them changes, is made once.
    """

    name: str
    family: Family
    module: nn.Module
    flat: FlatModel
    x: Tensor
    targets: tuple[int, ...]

    @property
    def spatial(self) -> bool:
        return self.x.ndim == 4

    @property
    def objective(self) -> Objective:
        """The score of each sample's target."""
        return logit(list(self.targets))

    @cached_property
    def in_float32(self) -> FlatModel:
        return FlatModel.from_nn_Module(copy.deepcopy(self.module).float())

    @cached_property
    def frozen(self) -> FlatModel:
        """The network without a parameter that asks for a gradient."""
        return FlatModel.from_nn_Module(copy.deepcopy(self.module).requires_grad_(False))

    @cached_property
    def made_in_inference_mode(self) -> FlatModel:
        with torch.inference_mode():
            return FlatModel.from_nn_Module(self.module)

    @cached_property
    def with_classes_moved(self) -> FlatModel:
        """The network with class 0 as its class 1, and so on."""
        module = copy.deepcopy(self.module)
        head = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
        with torch.no_grad():
            for tensor in (head.weight, head.bias):
                tensor.copy_(tensor.roll(1, 0))
        return FlatModel.from_nn_Module(module)

    @cached_property
    def broken(self) -> tuple[FlatModel, str]:
        """The network with NaN in a weight behind its second layer, and the key of that weight's layer."""
        flat = FlatModel.from_nn_Module(copy.deepcopy(self.module))
        key, weight = next(
            (key, weight) for key, part in list(flat.layers.items())[2:] for weight in part.parameters(recurse=False)
        )
        with torch.no_grad():
            weight.view(-1)[0] = torch.nan
        return flat, key

    @cached_property
    def in_training(self) -> tuple[nn.Module, FlatModel]:
        """The network in train mode, half of its parameters frozen, and its flat model."""
        module = copy.deepcopy(self.module)
        for parameter in list(module.parameters())[::2]:
            parameter.requires_grad_(False)
        module.train()
        return module, FlatModel.from_nn_Module(module)


def case_of(name: str) -> Case:
    family = (FAMILIES | HARD)[name]
    torch.manual_seed(0)
    module = randomized(family.make()).double()
    x = torch.randn(3, *family.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    targets = (0, 3, 1) if family.outputs > 1 else (0, 0, 0)
    return Case(name, family, module, FlatModel.from_nn_Module(module), x, targets)
