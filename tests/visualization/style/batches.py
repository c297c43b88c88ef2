"""A small batch, its pictures and a network for it."""

import json

import torch
from torch import nn

from netlens import images
from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter
from netlens.preprocessing import Preprocessing
from netlens.visualization.style import Batch

SETTINGS = {"size": 24, "steps": 3, "scales": 1}
NOISY = SETTINGS | {"start": "noise", "seed": 3}
MASKS = {"content_mask": ["mask.png", None]}
BOTH = {"name": "both", "content": "cat.png", "style": ["waves.png", "dots.png"]} | MASKS


def opener(model, weights):
    layers = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2), nn.ReLU()
    preprocessing = Preprocessing(None, None, (0.5,) * 3, (0.25,) * 3)
    return FlatModel.from_nn_Module(nn.Sequential(*layers), adapter=Adapter(preprocessing=preprocessing))


def batch_file(folder):
    """A batch of two pairs and two settings, with its pictures."""
    generator = torch.Generator().manual_seed(0)
    for name, size in (("cat", (24, 30)), ("waves", (20, 20)), ("dots", (26, 22))):
        coarse = torch.rand(1, 3, 5, 5, generator=generator)
        images.save(nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)[0], folder / f"{name}.png")
    images.save((torch.arange(30) < 15).float().expand(1, 24, 30), folder / "mask.png")
    images.save(torch.zeros(1, 24, 30), folder / "black.png")
    write(folder / "batch.json")
    return folder / "batch.json"


def write(path, **changes):
    whole = {
        "pairs": [
            {"content": "cat.png", "style": "waves.png"},
            {
                "name": "both",
                "content": "cat.png",
                "style": ["waves.png", "dots.png"],
                "content_mask": ["mask.png", None],
            },
        ],
        "settings": {"usual": SETTINGS, "noisy": NOISY},
    }
    path.write_text(json.dumps(whole | changes))


def run(file, out):
    return list(Batch.read(file).run(out, opener, progress=False))


def contents(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
