"""Small networks that learn little scenes in seconds, for studies with a planted answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from netlens.flat import Adapter, FlatModel
from netlens.preprocessing import Preprocessing
from netlens.world.network import MEAN, STD, normalize

BLOCKS = 4


def network(classes: int, width: int = 16, strides: Sequence[int] = (2, 2, 1, 2), highest: bool = False) -> nn.Module:
    """Four blocks of convolution, batch norm and rectifier, and a linear layer on their means, or highest values."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for index, stride in enumerate(strides):
        conv = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        layers[f"block{index}"] = nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())
        channels = width
    layers |= {
        "pool": nn.AdaptiveMaxPool2d(1) if highest else nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "head": nn.Linear(width, classes),
    }
    return nn.Sequential(layers)


def flat(model: nn.Module, size: int, name: str = "small") -> FlatModel:
    adapter = Adapter(preprocessing=Preprocessing((size, size), None, MEAN, STD))
    return FlatModel.from_nn_Module(model.eval(), adapter=adapter, name=name)


def learn(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    steps: int,
    seed: int,
    rate: Callable[[str], float] = lambda name: 1e-2,
    batch: int = 32,
) -> None:
    """Train in place on images of bytes, each parameter with the rate of its name."""
    generator = torch.Generator().manual_seed(seed)
    groups = [{"params": [parameter], "lr": rate(name)} for name, parameter in model.named_parameters()]
    optimizer = torch.optim.Adam(groups)
    model.train()
    x = normalize(images)
    for _ in range(steps):
        rows = torch.randint(len(x), (batch,), generator=generator)
        loss = nn.functional.cross_entropy(model(x[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((model.eval()(normalize(images)).argmax(1) == labels).double().mean())


def made(classes: int, seed: int, **options: object) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(classes, **options)  # type: ignore[arg-type]
