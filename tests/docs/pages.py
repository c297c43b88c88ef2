"""The pages of the docs, what stands in them, and a folder with the files that they speak of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from netlens.weights import build
from netlens.world.scene import scene

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    str(path.relative_to(ROOT))
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "nbs/README.md")),
        *sorted(ROOT.glob("docs/**/*.md")),
    )
)
VIT = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 64,
    "patch_size": 16,
}
"""A small network of Hugging Face."""
NETWORK = """
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1000))
"""
"""The code of a network of one's own."""
PHOTOS = ("photo", "other", "content", "style", "a", "b", "cat", "dog", "pets", "macaw", "street")


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)


def inline(page: str) -> list[str]:
    """The code that stands within lines of a page."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def fill(folder: Path) -> None:
    """Put the files of which the docs speak into a folder: photos, random weights of mobilenet_v2, names, a config."""
    for index, name in enumerate(PHOTOS):
        Image.fromarray(scene(index).image).save(folder / f"{name}.jpg")
    Image.fromarray(scene(20).image).save(folder / "scene.png")
    for inner, source in (("folder/of/photos", "photo.jpg"), ("images", "scene.png")):
        (folder / inner).mkdir(parents=True)
        (folder / inner / source).write_bytes((folder / source).read_bytes())
    torch.manual_seed(0)
    save_file(build("mobilenet_v2").state_dict(), folder / "path.safetensors")
    (folder / "network.py").write_text(NETWORK)
    (folder / "names.txt").write_text("\n".join(map(str, range(1000))))
    (folder / "vit").mkdir()
    (folder / "vit" / "config.json").write_text(json.dumps(VIT))
