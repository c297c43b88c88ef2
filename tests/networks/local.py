"""Networks of layers that look at a neighborhood, and of some that look at everything, in every spelling.

`PARTS` are small and end in maps (for images of 14 by 17); `NETWORKS` are whole, each with its images' size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import (
    ConvNeXt,
    DenseNet,
    EfficientNet,
    MobileNetV2,
    MobileNetV3,
    RegNet,
    ShuffleNetV2,
    SwinTransformer,
    VisionTransformer,
)
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.regnet import BlockParams
from torchvision.models.segmentation.fcn import FCNHead

from tests.networks.narrow import Branches, NarrowMobileNet, NarrowResNet


class Formula(nn.Module):
    """Layers, and a formula of an image that may call them."""

    def __init__(self, formula, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x, *self.layers)


def conv(channels: int, out: int, *args, **kwargs) -> nn.Conv2d:
    return nn.Conv2d(channels, out, *args, **kwargs)


class Gate(nn.Module):
    """Squeeze and excitation, which looks at the whole map."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.down, self.up, self.after = conv(3, 6, 3), conv(6, 2, 1), conv(2, 6, 1), conv(6, 4, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.before(x))
        return self.after(x * self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))).sigmoid())


class Positions(nn.Module):
    """Learned values that meet the maps: one for all places, one per column, one per row, one per place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale = conv(3, 4, 3, padding=1), nn.Parameter(torch.ones(4, 1, 1))
        self.columns, self.rows = nn.Parameter(torch.ones(1, 4, 1, 17)), nn.Parameter(torch.ones(1, 4, 14, 1))
        self.places, self.mean = nn.Parameter(torch.ones(1, 1, 14, 17)), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        x = (self.conv(x) * self.scale + self.columns) * self.rows - self.mean
        return F.gelu(x) / (2 + self.places.abs())


class Stretched(nn.Module):
    """A column of means, which changes where the window is, stretched over the map again; coordinate attention."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv(3, 4, 3, padding=1), conv(4, 4, (14, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return x * torch.sigmoid(self.second(x))


def shuffled(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


PARTS = {
    "strided": lambda: nn.Sequential(conv(3, 4, 3, stride=2, padding=1), nn.ReLU(), conv(4, 5, 5, stride=3, padding=2)),
    "stride above the kernel": lambda: nn.Sequential(conv(3, 4, 2, stride=3), conv(4, 4, 1, stride=2)),
    "dilated": lambda: nn.Sequential(conv(3, 4, 3, dilation=2, padding=2), conv(4, 4, 3, dilation=3, stride=2)),
    "grouped": lambda: nn.Sequential(conv(3, 6, 3, groups=3), nn.ReLU6(), conv(6, 6, 3, groups=6, padding=1)),
    "unequal sides": lambda: nn.Sequential(conv(3, 4, (1, 5), padding=(0, 2)), conv(4, 4, (4, 2), (3, 1), (2, 0))),
    "same": lambda: nn.Sequential(conv(3, 4, (2, 4), padding="same", dilation=(1, 2)), conv(4, 3, 3, padding="valid")),
    "reflected": lambda: nn.Sequential(conv(3, 4, 3), conv(4, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU()),
    "max pool that overlaps": lambda: nn.Sequential(conv(3, 4, 3), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 1)),
    "max pool with ceil_mode": lambda: nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), conv(3, 4, 3)),
    "max pool with ceil_mode and padding": lambda: nn.Sequential(nn.MaxPool2d(4, 3, 2, ceil_mode=True), conv(3, 4, 2)),
    "max pool dilated": lambda: nn.Sequential(nn.MaxPool2d(2, 2, dilation=3), conv(3, 4, 2)),
    "average pool": lambda: nn.Sequential(nn.AvgPool2d(3, 2), nn.AvgPool2d(2, 1, divisor_override=3), conv(3, 4, 2)),
    "average pool padded": lambda: nn.Sequential(conv(3, 4, 3), nn.AvgPool2d(3, 1, 1), nn.AvgPool2d(4, 2, 2)),
    "average pool of what is there": lambda: nn.Sequential(
        nn.AvgPool2d(3, 2, 1, count_include_pad=False), conv(3, 4, 2)
    ),
    "average pool with ceil_mode": lambda: nn.Sequential(conv(3, 4, 2), nn.AvgPool2d(3, 2, ceil_mode=True), nn.ReLU()),
    "elementwise": lambda: nn.Sequential(nn.LeakyReLU(), conv(3, 4, 3), nn.GELU(), nn.PReLU(4), nn.Hardswish()),
    "norm": lambda: nn.Sequential(nn.BatchNorm2d(3), conv(3, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid(), nn.BatchNorm2d(4)),
    "instance norm": lambda: nn.Sequential(conv(3, 4, 3), nn.InstanceNorm2d(4), conv(4, 4, 3)),
    "add": lambda: Formula(lambda x, a, b: a(x) + 0.5 * b(x) - x, conv(3, 3, 3, padding=1), conv(3, 3, 5, padding=2)),
    "add of different steps": lambda: Formula(
        lambda x, a, b: F.relu(a(x) + b(x)) * a(x), conv(3, 3, 3, 2, padding=1), conv(3, 3, 1, 2)
    ),
    "multiply": lambda: Formula(lambda x, a, b: a(x) * b(x).sigmoid() / (1 + x * x), conv(3, 3, 1), conv(3, 3, 1)),
    "gate": Gate,
    "concatenate": lambda: Formula(
        lambda x, a, b: F.relu(b(torch.cat([a(x), x, a(x)], 1))), conv(3, 4, 3, padding=1), conv(11, 4, 3)
    ),
    "concatenate along the height": lambda: Formula(
        lambda x, a, b: b(torch.cat([a(x), x], 2)), conv(3, 3, 1), conv(3, 4, 3)
    ),
    "chunks": lambda: Formula(lambda x, a, b: b(torch.cat(a(x).chunk(2, 1)[::-1], 1)), conv(3, 4, 3), conv(4, 4, 3)),
    "shuffle": lambda: Formula(lambda x, a, b: b(shuffled(a(x))), conv(3, 4, 3), conv(4, 4, 3, groups=2)),
    "positions": Positions,
    "stretched": Stretched,
    "upsample": lambda: nn.Sequential(conv(3, 4, 3), nn.Upsample(scale_factor=2), conv(4, 4, 3, 2)),
    "transposed": lambda: nn.Sequential(conv(3, 4, 3), nn.ConvTranspose2d(4, 3, 3, 2), conv(3, 4, 3)),
}


def mobilenet_v3() -> MobileNetV3:
    """Two blocks with squeeze and excitation, and one without between them."""
    blocks = ((8, 3, 16, 8, True, "RE", 2, 1), (8, 5, 24, 12, False, "RE", 1, 1), (12, 3, 24, 12, True, "HS", 1, 1))
    return MobileNetV3([InvertedResidualConfig(*block, width_mult=1.0) for block in blocks], 16, num_classes=5)


def efficientnet() -> EfficientNet:
    return EfficientNet([MBConvConfig(1, 3, 1, 8, 8, 1), MBConvConfig(4, 5, 2, 8, 12, 2)], 0.0, 0.0, 5, last_channel=16)


class Segmenting(nn.Module):
    """A dilated trunk with a class for every pixel, as FCN has it; its output is a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        trunk = MobileNetV2(5, 0.25, [[1, 8, 1, 1], [6, 12, 1, 2]]).features
        self.trunk = nn.Sequential(*trunk[:3], conv(8, 8, 3, padding=2, dilation=2), nn.ReLU())
        self.head = FCNHead(8, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": F.interpolate(self.head(self.trunk(x)), x.shape[-2:], mode="bilinear", align_corners=False)}


NETWORKS = {
    "resnet": (NarrowResNet, (40, 36)),
    "densenet": (lambda: DenseNet(4, (2, 2), 8, num_classes=5), (32, 40)),
    "mobilenet": (NarrowMobileNet, (33, 30)),
    "mobilenet_v3": (mobilenet_v3, (41, 36)),
    "efficientnet": (efficientnet, (33, 36)),
    "shufflenet": (lambda: ShuffleNetV2([1, 1, 1], [8, 8, 16, 32, 32], num_classes=5), (45, 40)),
    "regnet": (lambda: RegNet(BlockParams([1, 2], [8, 16], [4, 4], [1.0, 1.0], [2, 2], 0.25), 5, 8), (33, 40)),
    "segmentation": (Segmenting, (33, 30)),
    "branches": (Branches, (23, 30)),
    "convnext": (lambda: ConvNeXt([CNBlockConfig(8, 12, 1), CNBlockConfig(12, None, 2)], 0.0, num_classes=5), (41, 36)),
    "vit": (lambda: VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5), (32, 32)),
    "swin": (lambda: SwinTransformer([2, 2], 8, [2, 2], [2, 2], [4, 4], num_classes=5), (32, 32)),
}
