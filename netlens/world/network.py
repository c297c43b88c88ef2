"""The bundled network: a small RegNet, trained on the little world. With it, a person can try everything offline.

Like real networks, it has batch norm, skip connections and grouped convolutions. Its total stride is 16: an image of
128 x 128 becomes a feature map of 8 x 8. It has 342,247 parameters in a file of 1.4 MB. The command
`python -m netlens.world.training` makes its weights, with the data, in 1,065 s on one thread of a busy CPU. On the same
machine they are the same byte for byte. The network labels 97.8 % of 2,000 held-out scenes correctly.
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
"""The side of the training images, in pixels."""

MEAN: Final = (0.5, 0.5, 0.5)
STD: Final = (0.25, 0.25, 0.25)
"""The mean and the standard deviation by which colors in [0, 1] are normalized."""

WEIGHTS: Final = Path(__file__).with_name("shapes.safetensors")

SHA256: Final = "a9225b2a945310b16db33e1f2fd45c54e608605f29c3be4918b61eb2e3c60141"


def architecture() -> RegNet:
    """The network with random weights from torch's global generator."""
    stages = BlockParams(
        depths=[1, 2, 4],
        widths=[32, 64, 160],
        group_widths=[16, 16, 16],
        bottleneck_multipliers=[1.0, 1.0, 1.0],
        strides=[2, 2, 2],
    )
    return RegNet(stages, num_classes=len(CLASSES), stem_width=24)


def network() -> RegNet:
    """The trained network in float32 and eval mode: from normalized images (N, 3, H, W) to logits (N, 15).

    Raises:
        WeightsError: The file of weights is missing, or has other bytes than that of this version.
    """
    state = verified(WEIGHTS, SHA256)
    with torch.device("meta"):  # so that no random numbers are drawn, and no memory is used twice
        model = architecture()
    model.load_state_dict(state, assign=True)
    return model.eval()


def normalize(images: Tensor) -> Tensor:
    """(N, 3, H, W): the input of the network for images of bytes, or of colors in [0, 1]: (x − mean) / std."""
    colors = images / 255 if images.dtype == torch.uint8 else images
    mean, std = (torch.tensor(c, device=images.device).view(3, 1, 1) for c in (MEAN, STD))
    return (colors - mean) / std


def verified(path: Path, digest: str) -> dict[str, Tensor]:
    """The tensors of a file with this SHA-256. The file is read once, so that the loaded bytes are the checked ones."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); reinstall netlens.") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != digest:
        raise WeightsError(
            f"{path} is not the bundled network: its SHA-256 is {actual}, not {digest}; reinstall netlens, or, after "
            "training anew, set SHA256 in the module of that network."
        )
    return load(content)
