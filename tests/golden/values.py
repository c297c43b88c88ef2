"""Golden values: what every method and parameterization gives on the bundled networks, as a few numbers each.

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
from netlens.objectives import channel, logit
from netlens.visualization import CPPN, Alpha, Fourier, FromImage, Maco, OptVis, Param, Pixel, Pyramid, Shared
from netlens.world.scene import scene
from netlens.zoo import open_network
from tests.generated.laws import FEW

FILE = Path(__file__).parent / "values.json"
NETWORKS = ("shapes", "shapes_vit")
PROJECTIONS = 6
PARAMS: dict[str, Param] = {
    "pixel": Pixel(size=40, batch=2),
    "fourier": Fourier(size=(40, 48)),
    "fourier, correlated": Fourier(size=41, decorrelate=False),
    "pyramid": Pyramid(size=40),
    "cppn": CPPN(size=40),
    "maco": Maco(size=40),
    "alpha": Alpha(Fourier(size=40)),
    "shared": Shared(Fourier(size=40, batch=2)),
    **{
        f"{base.__name__.lower()} from an image": FromImage(scene(1, label=2).image, base, size=40)
        for base in (Pixel, Fourier, Pyramid, Maco, CPPN)
    },
}


def golden(network: str, device: str = "cpu") -> dict[str, list[float] | None]:
    """For each method: its sum, its sum of magnitudes and random projections; None where it does not apply."""
    flat = open_network(network).double().to(device)
    x = flat.adapter.preprocessing(scene(0, label=3).image).double().reshape(1, 3, 128, 128).to(device)
    return {name: _of(name, flat, x) for name in METHODS}


def _of(name: str, flat: FlatModel, x: Tensor) -> list[float] | None:
    try:
        values = METHODS[name](**FEW.get(name, {}))(flat, x, logit(3)).values
    except NotApplicable:
        return None
    return _summary(values)


def pictures(device: str = "cpu") -> dict[str, list[float]]:
    """For each parameterization: its picture after four steps towards a channel, in float64."""
    vis = OptVis(open_network("shapes").double().to(device), channel("trunk_output.block2.block2-1.activation", 3))
    return {name: _summary(vis.render(param, steps=4, progress=False).images) for name, param in PARAMS.items()}


def _summary(values: Tensor) -> list[float]:
    values = values.double().cpu()
    return [float(values.sum()), float(values.abs().sum()), *_projected(values.flatten()).tolist()]


def _projected(values: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(len(values))
    return torch.stack([(values * torch.randn(len(values), generator=generator)).sum() for _ in range(PROJECTIONS)])


if __name__ == "__main__":
    numbers: dict[str, object] = {network: golden(network) for network in NETWORKS}
    FILE.write_text(json.dumps({**numbers, "pictures": pictures()}, indent=1, sort_keys=True) + "\n")
