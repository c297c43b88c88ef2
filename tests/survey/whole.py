"""A network and a data set of whole numbers, on which each sum is exact, so that ties are ties and no digit is lost."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netlens.flat import Adapter, FlatModel
from netlens.preprocessing import Preprocessing

SIZE = 12
CLASSES = 6


def network(seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 7, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(7 * 16, CLASSES),
    )
    for parameter in layers.parameters():
        parameter.data = torch.randint(-1, 2, parameter.shape, generator=generator).float()
    return layers.eval()


def flat(seed: int = 0, mean: float = 0.0) -> FlatModel:
    preprocessing = Preprocessing((SIZE, SIZE), None, (mean,) * 3, (1 / 255,) * 3)
    return FlatModel.from_nn_Module(network(seed), adapter=Adapter(preprocessing=preprocessing), name="whole")


class Samples:
    """A data set of whole numbers from 0 to 3 whose samples recur, so that there are ties between them."""

    def __init__(self, n: int = 200, different: int = 60, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 4, (different, 3, SIZE, SIZE), generator=generator).float()
        images[: different // 4, :, 3:] = 0  # zeros make ties between places
        self.images = images[torch.randint(0, different, (n,), generator=generator)]
        self.labels = torch.randint(0, CLASSES, (n,), generator=generator)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]
