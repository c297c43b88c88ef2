"""The mode in which gradients are recorded, whatever mode the caller is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def differentiating() -> Iterator[None]:
    """Gradients are recorded inside, also where the caller is under `no_grad` or `inference_mode`."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
