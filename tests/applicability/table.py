"""Which method applies to which family of networks, and why not.

`python -m tests.applicability.table` writes the table to `table.json`, which is right only where a change is meant.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer

from netlens.attribution import METHODS
from netlens.errors import NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.objectives import logit
from tests.generated.laws import FEW

FILE = Path(__file__).parent / "table.json"
APPLIES = "applies"


class Pooled(nn.Module):
    """Convolutions, a mean over the image, and one linear layer, as ResNets end."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU())
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Flattened(nn.Module):
    """Convolutions and a classifier of several layers on the flattened maps, as VGGs end."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(6 * 7 * 7, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Smooth(nn.Module):
    """Activations without a kink, and no norm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Conv2d(6, 6, 3, 2), nn.Sigmoid())
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Perceptron(nn.Module):
    """Linear layers on the flattened image, without a map."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Mixing(nn.Module):
    """A batch norm without statistics, so that samples change each other."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(6, track_running_stats=False)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.ReLU())
        self.head = nn.Linear(6, 4)

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
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.part(self.first(x))).relu().mean((2, 3)))


class Recurrent(nn.Module):
    """A GRU that reads the rows of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(3 * 16, 6, batch_first=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.transpose(1, 2).flatten(2))[0][:, -1])


def transformer() -> nn.Module:
    return VisionTransformer(16, 8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=4)


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "pooled": Pooled,
    "flattened": Flattened,
    "smooth": Smooth,
    "perceptron": Perceptron,
    "mixing": Mixing,
    "branching": Branching,
    "recurrent": Recurrent,
    "transformer": transformer,
}


def applicability(family: str) -> dict[str, str]:
    """For each method: that it applies to a batch of two images, or why it does not."""
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(randomized(FAMILIES[family]()).double())
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    return {name: _answer(name, flat, x) for name in METHODS}


def _answer(name: str, flat: FlatModel, x: Tensor) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            values = METHODS[name](**FEW.get(name, {}))(flat, x, logit(1)).values
        except NotApplicable as error:
            return str(error)
    assert values.isfinite().all(), f"{name} gives NaN or Inf"
    return APPLIES


if __name__ == "__main__":
    FILE.write_text(json.dumps({family: applicability(family) for family in FAMILIES}, indent=1) + "\n")
