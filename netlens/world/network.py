"""The bundled networks: small ones that have learned the little world, so that everything can be tried offline.

Each takes images of 128 x 128 and knows the 15 classes of `netlens.world.scene`. `python -m netlens.world.training`
makes their weights, byte for byte on the machine that made them first, on one thread of a busy CPU.

`shapes` is a RegNet. It has what real networks have (batch norm, skip connections, grouped convolutions) and a total
stride of 16, so that an image ends as a feature map of 8 x 8. It has 342,247 parameters in a file of 1.4 MB, trained in
1,065 s, data included; it labels 97.8 % of 2,000 held-out scenes correctly.

@VIT@
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.models.vision_transformer import ConvStemConfig, VisionTransformer

from netlens.errors import WeightsError
from netlens.world.scene import CLASSES

SIZE: Final = 128
"""Side of the images that they were trained on, in pixels."""

MEAN: Final = (0.5, 0.5, 0.5)
STD: Final = (0.25, 0.25, 0.25)
"""What is taken from colours in [0, 1], and what they are then divided by, before they enter."""

FOLDER: Final = Path(__file__).parent
"""Where the weights files lie."""


def regnet() -> RegNet:
    """The RegNet with random weights, drawn from torch's global generator."""
    stages = BlockParams(
        depths=[1, 2, 4],
        widths=[32, 64, 160],
        group_widths=[16, 16, 16],
        bottleneck_multipliers=[1.0, 1.0, 1.0],
        strides=[2, 2, 2],
    )
    return RegNet(stages, num_classes=len(CLASSES), stem_width=24)


def vit() -> VisionTransformer:
    """The vision transformer with random weights, drawn from torch's global generator.

    Convolutions as a stem: Xiao et al. 2021, https://arxiv.org/abs/2106.14881
    """
    return VisionTransformer(
        image_size=SIZE,
        patch_size=8,
        num_layers=4,
        num_heads=3,
        hidden_dim=96,
        mlp_dim=192,
        num_classes=len(CLASSES),
        conv_stem_configs=[ConvStemConfig(w, 3, s) for w, s in ((24, 2), (48, 2), (48, 1), (96, 2), (96, 1))],
    )


@dataclass(frozen=True)
class Bundled:
    """A bundled network: its name, how to make it with random weights, and the SHA-256 of its weights file."""

    name: str
    architecture: Callable[[], nn.Module]
    sha256: str

    @property
    def weights(self) -> Path:
        return FOLDER / f"{self.name}.safetensors"


SHAPES: Final = Bundled("shapes", regnet, "a9225b2a945310b16db33e1f2fd45c54e608605f29c3be4918b61eb2e3c60141")
SHAPES_VIT: Final = Bundled("shapes_vit", vit, "@SHA@")

NETWORKS: Final = {one.name: one for one in (SHAPES, SHAPES_VIT)}


def network(which: Bundled = SHAPES) -> nn.Module:
    """A trained network, float32 and in eval mode: normalised images (N, 3, 128, 128) to logits (N, 15).

    Raises `WeightsError` if the weights file is missing or is not, byte for byte, the one that belongs to this version.
    """
    state = _verified(which)
    with torch.device("meta"):  # allocates and draws nothing: the caller's random numbers stay as they were
        model = which.architecture()
    model.load_state_dict(state, assign=True)
    return model.eval()


def normalise(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) as the networks take them, from bytes or from colours in [0, 1]."""
    colours = images / 255 if images.dtype == torch.uint8 else images
    mean, std = (torch.tensor(c, device=images.device).view(3, 1, 1) for c in (MEAN, STD))
    return (colours - mean) / std


def _verified(which: Bundled) -> dict[str, Tensor]:
    """The tensors of a file whose SHA-256 is right; it is read only once, so what is checked is what loads."""
    path = which.weights
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); reinstall netlens.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != which.sha256:
        raise WeightsError(
            f"{path} is not the bundled network: its SHA-256 is {found}, not {which.sha256}; reinstall netlens, or, "
            f"after training anew, set that of {which.name} in netlens/world/network.py."
        )
    return load(content)
