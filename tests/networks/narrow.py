"""Torchvision's families with few channels: laws are about how a network is built, and width costs only time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import MobileNetV2, ResNet
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import make_layers
from torchvision.ops import Conv2dNormActivation


class NarrowResNet(ResNet):
    """A ResNet with an eighth of the channels."""

    def __init__(
        self, classes: int = 5, block: type[Any] = BasicBlock, blocks: Sequence[int] = (1, 1, 1, 1), **options: Any
    ) -> None:
        super().__init__(block, list(blocks), num_classes=classes, **options)
        self.fc = nn.Linear(64 * block.expansion, classes)

    def _make_layer(self, block: type[Any], planes: int, *rest: Any, **options: Any) -> nn.Sequential:
        if planes == 64:  # the first stage, to which the stem leads
            self.inplanes = 8
            self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
        return super()._make_layer(block, planes // 8, *rest, **options)


class NarrowMobileNet(MobileNetV2):
    """A MobileNetV2 of three blocks, with 48 channels in the end; torchvision's has 1280 there, whatever its width."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__(classes, 0.25, [[1, 8, 1, 1], [6, 12, 2, 2]])
        channels = self.features[4][0].in_channels
        self.features[4] = Conv2dNormActivation(channels, 48, kernel_size=1, activation_layer=nn.ReLU6)
        self.classifier[1] = nn.Linear(48, classes)


class NarrowVGG(nn.Module):
    """A VGG whose maps pass a rectifier, and two linear layers with a rectifier between them, to the classes."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.features = make_layers([8, "M", 12, "M", 16], batch_norm=True)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)).flatten(1))


class Branches(nn.Module):
    """GoogLeNet in small: functional rectifiers, branches that end in a concatenation, a pool with ceil_mode."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.one = nn.Conv2d(8, 4, 1)
        self.three = nn.Conv2d(8, 6, 3, padding=1)
        self.after = nn.Conv2d(8, 3, 1)
        self.head = nn.Linear(13, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.stem(x)), inplace=True), 3, 2, ceil_mode=True)
        pooled = F.max_pool2d(x, 3, 1, 1)
        x = torch.cat([F.relu(self.one(x)), F.relu(self.three(x)), F.relu(self.after(pooled))], 1)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))
