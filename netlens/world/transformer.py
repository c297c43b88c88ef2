"""The bundled transformer: torchvision's ViT on the features of the bundled network, for methods that need attention.

The tokens are not patches, but features from most of the convolutions of the bundled network. An image of 128 x 128
becomes 8 x 8 tokens and a class token. Three layers with four heads follow. The network has 542,919 parameters in a
file of 2.2 MB. The command `python -m netlens.world.distillation` makes its weights, with the data, in 2,425 s on one
thread of a busy CPU. The transformer labels 95.9 % of 2,000 held-out scenes correctly.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import nn
from torchvision.models import RegNet, VisionTransformer

from netlens.world import network as bundled
from netlens.world.scene import CLASSES

WEIGHTS: Final = Path(__file__).with_name("shapes_vit.safetensors")

SHA256: Final = "71e50a6cdc6251eac13e127c0edf9e709fcef36894ee89dd6487b475ac9bf1df"


def architecture() -> VisionTransformer:
    """The network with random weights from torch's global generator."""
    width = 128
    norm = partial(nn.LayerNorm, eps=1e-6)
    vit = VisionTransformer(bundled.SIZE, 16, 3, 4, width, 2 * width, num_classes=len(CLASSES), norm_layer=norm)
    vit.conv_proj = nn.Sequential(*stem(bundled.architecture()), nn.Conv2d(160, width, 1))
    return vit


def stem(shapes: RegNet) -> list[nn.Module]:
    """The parts of the bundled network up to its last change of resolution."""
    first, second, third = shapes.trunk_output.children()
    return [shapes.stem, first, second, next(third.children())]


def network() -> nn.Module:
    """The trained transformer in float32 and eval mode: from normalized images (N, 3, 128, 128) to logits (N, 15).

    Raises:
        WeightsError: The file of weights is missing, or has other bytes than that of this version.
    """
    state = bundled.verified(WEIGHTS, SHA256)
    with torch.device("meta"):  # so that no random numbers are drawn, and no memory is used twice
        model: nn.Module = architecture()
    model.load_state_dict(state, assign=True)
    return model.eval()
