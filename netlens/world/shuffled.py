"""The bundled network after shuffled labels, from which an explanation should tell the bundled network.

It has learned the labels of 480 scenes, each of which has the label of another scene. It knows all of them by heart,
and labels 6.1 % of 2,000 held-out scenes correctly, where chance is 6.7 %. The command
`python -m netlens.world.memorization` makes its weights in 203 s of processor time on one thread, in a file of 1.4 MB.
Its training differs from that of the bundled network in other ways, too: it saw fewer scenes, as they are, without
adversarial changes. From true labels, the same training gets 8.2 % of held-out scenes right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torchvision.models.regnet import RegNet

from netlens.world import network as bundled

WEIGHTS: Final = Path(__file__).with_name("shapes_shuffled.safetensors")

SHA256: Final = "f67ff4f2786844c840e7031ff3bd017b5c564abdede9efa960a971897107536a"


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
