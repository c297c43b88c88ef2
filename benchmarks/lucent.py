"""Pictures by lucent, the peer: the same objective, size and number of steps, its own standard settings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

SEED = 0


def pictures(network: nn.Module, key: str, index: int, size: int, steps: Sequence[int]) -> list[Tensor]:
    """(1, 3, size, size) in [0, 1], for a channel of a layer (or of "labels"), after each of these numbers of steps.

    The weights of the network get gradients, so give one that nobody else uses.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about functions that lucent's dependencies use
        from lucent.optvis import objectives, param
        from lucent.optvis.render import render_vis

        np.random.seed(SEED)
        torch.manual_seed(SEED)
        images = render_vis(
            network,
            objectives.channel(key.replace(".", "_"), index),
            param_f=lambda: param.image(size),
            thresholds=tuple(steps),
            show_image=False,
            progress=False,
        )
    return [torch.from_numpy(picture).permute(0, 3, 1, 2).float() for picture in images]
