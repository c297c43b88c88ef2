"""The bundled network: a small RegNet that has learned the little world, so that everything can be tried offline.

It has what real networks have (batch norm, skip connections, grouped convolutions) and a total stride of 16, so that
an image of 128 x 128 ends as a feature map of 8 x 8. It has 342,247 parameters in a file of 1.4 MB.
`python -m netlens.world.training` makes its weights (byte for byte, on the machine that made them first) in 1,065 s on
one thread of a busy CPU, data included; they label 97.8 % of 2,000 held-out scenes correctly.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load
from torch import Tensor
from torchvision.models.regnet import BlockParams, RegNet

from netlens.errors import WeightsError
from netlens.world.scene import CLASSES

SIZE: Final = 128
"""Side of the images that it was trained on, in pixels."""

MEAN: Final = (0.5, 0.5, 0.5)
STD: Final = (0.25, 0.25, 0.25)
"""What is taken from colors in [0, 1], and what they are then divided by, before they enter."""

WEIGHTS: Final = Path(__file__).with_name("shapes.safetensors")

SHA256: Final = "a9225b2a945310b16db33e1f2fd45c54e608605f29c3be4918b61eb2e3c60141"


def architecture() -> RegNet:
    """The network with random weights, drawn from torch's global generator."""
    stages = BlockParams(
        depths=[1, 2, 4],
        widths=[32, 64, 160],
        group_widths=[16, 16, 16],
        bottleneck_multipliers=[1.0, 1.0, 1.0],
        strides=[2, 2, 2],
    )
    return RegNet(stages, num_classes=len(CLASSES), stem_width=24)


def network() -> RegNet:
    """The trained network, float32 and in eval mode: normalized images (N, 3, H, W) to logits (N, 15).

    Raises `WeightsError` if the weights file is missing or is not, byte for byte, the one that belongs to this version.
    """
    state = verified(WEIGHTS, SHA256)
    with torch.device("meta"):  # allocates and draws nothing: the caller's random numbers stay as they were
        model = architecture()
    model.load_state_dict(state, assign=True)
    return model.eval()


def normalize(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) as the network takes them, from bytes or from colors in [0, 1]."""
    colors = images / 255 if images.dtype == torch.uint8 else images
    mean, std = (torch.tensor(c, device=images.device).view(3, 1, 1) for c in (MEAN, STD))
    return (colors - mean) / std


def verified(path: Path, digest: str) -> dict[str, Tensor]:
    """The tensors of a file whose SHA-256 is right; it is read only once, so what is checked is what loads."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); reinstall netlens.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise WeightsError(
            f"{path} is not the bundled network: its SHA-256 is {found}, not {digest}; reinstall netlens, or, after "
            "training anew, set SHA256 in the module of that network."
        )
    return load(content)
