"""Small networks that learn little scenes in seconds, for studies with a planted answer."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from netlens.flat import Adapter, FlatModel
from netlens.preprocessing import Preprocessing
from netlens.world.network import MEAN, STD, normalize
from netlens.world.scene import scene

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


def flat(model: nn.Module, size: int, name: str = "little") -> FlatModel:
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


def retrained(seed: int) -> tuple[FlatModel, FlatModel, list[tuple[Tensor, int]], str]:
    """A network; one in which a block was trained anew and the others tuned a little; data; the name of the block."""
    kinds = (0, 6, 12)
    scenes = [scene((5, i), 32, kinds[i % 3]).image for i in range(150)]
    images = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in scenes])
    labels = torch.arange(150) % 3
    before = random_network(3, seed)
    learn(before, images, labels, 80, seed)
    after, planted = copy.deepcopy(before), f"block{seed % BLOCKS}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 100)
        convolution = after.get_submodule(f"{planted}.0")
        assert isinstance(convolution, nn.Conv2d)
        convolution.reset_parameters()
    learn(after, images, labels, 80, seed + 50, lambda name: 1e-2 if name.startswith(planted) else 1e-4)
    data = list(zip(images[:96], labels[:96].tolist(), strict=True))
    return flat(before, 32, "before"), flat(after, 32, "after"), data, planted


def random_network(classes: int, seed: int, highest: bool = False) -> nn.Module:
    """A network with random weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(classes, highest=highest)
