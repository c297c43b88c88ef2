"""The bundled network after shuffled labels, from which an explanation should tell the bundled network."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torchvision.models.regnet import RegNet

from netlens.world import network as bundled

WEIGHTS: Final = Path(__file__).with_name("shapes_shuffled.safetensors")

SHA256: Final = ""


def network() -> RegNet:
    """The trained network in float32 and eval mode: from normalized images (N, 3, H, W) to logits (N, 15).

    Raises:
        WeightsError: The file of weights is missing, or has other bytes than that of this version.
    """
    state = bundled.verified(WEIGHTS, SHA256)
    with torch.device("meta"):  # so that no random numbers are drawn, and no memory is used twice
        model = bundled.architecture()
    model.load_state_dict(state, assign=True)
    return model.eval()
