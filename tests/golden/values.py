"""Golden values: what every method gives on the bundled networks in float64, as a few numbers each.

`python -m tests.golden.values` writes them to `values.json`, which is right only where a change of numbers is meant.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from netlens.attribution import METHODS
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import logit
from netlens.world.scene import scene
from netlens.zoo import open_network
from tests.generated.laws import FEW

FILE = Path(__file__).parent / "values.json"
NETWORKS = ("shapes", "shapes_vit")
PROJECTIONS = 6


def golden(network: str) -> dict[str, list[float] | None]:
    """For each method: its sum, its sum of magnitudes and random projections; None where it does not apply."""
    flat = open_network(network).double()
    x = flat.adapter.preprocessing(scene(0, label=3).image).double().reshape(1, 3, 128, 128)
    return {name: _of(name, flat, x) for name in METHODS}


def _of(name: str, flat: FlatModel, x: Tensor) -> list[float] | None:
    try:
        values = METHODS[name](**FEW.get(name, {}))(flat, x, logit(3)).values
    except NotApplicable:
        return None
    return [float(values.sum()), float(values.abs().sum()), *_projected(values.flatten()).tolist()]


def _projected(values: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(len(values))
    return torch.stack([(values * torch.randn(len(values), generator=generator)).sum() for _ in range(PROJECTIONS)])


if __name__ == "__main__":
    FILE.write_text(json.dumps({network: golden(network) for network in NETWORKS}, indent=1) + "\n")
