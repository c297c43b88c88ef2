"""`make guide`: one picture per method, all of the same photo, and the gallery of them in docs/methods.md.

It needs `--weights` (of mobilenet_v2) and `--photo`. Methods that read attention explain a scene and the bundled
transformer. Methods of layers explain a late layer. Two methods run a network tens of thousands of times by default, so
they have fewer samples here, as their captions say.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from benchmarks.tables import write_between
from netlens import NetLens, open_network
from netlens.attribution import METHODS, Attribution, Method
from netlens.images import save
from netlens.show import panel

PAGE = Path("docs/methods.md")
PICTURES = Path("images/methods")
SCENE = "images/scene.png"
LAYER = "features.14"
OF_LAYERS = ("layer_activation", "layer_conductance", "internal_influence")
FEWER: dict[str, dict[str, int]] = {"sscam": {"n_channels": 128}, "iscam": {"n_channels": 256}}
SIDE = 224
COLUMNS = 4


def write(attribution: Attribution, name: str) -> Path:
    """Write the overlay alone, at the size of the photo, as a JPEG."""
    picture = Image.fromarray(panel(attribution, titles=[""], original=False).rgba()[..., :3])
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    save(picture, PICTURES / f"{name}.jpg")
    return PICTURES / f"{name}.jpg"


def caption(method: type[Method], options: Mapping[str, int]) -> str:
    """The name of the class, options that are no defaults, what the method shows, and the paper of the docstring."""
    paragraphs = [" ".join(text.split()) for text in (method.__doc__ or "").split("\n\n")]
    author = r"([A-Z][\w'-]+(?: et al\.| and [A-Z][\w'-]+)?,? \d{4}), (https?://[^\s,;)]+)"
    paper = next(filter(None, (re.search(author, text) for text in reversed(paragraphs))), None)
    cited = f'<br><a href="{paper[2]}">{paper[1].strip()}</a>' if paper else ""
    settings = f" ({', '.join(f'{name}={value}' for name, value in options.items())})" if options else ""
    return f"<b>{method.__name__}</b>{settings}<br>{paragraphs[0]}{cited}"


def gallery(names: list[str]) -> str:
    """An HTML table of pictures with captions, for a Markdown page."""
    cells = [
        f'<td width="25%" valign="top"><img src="../{PICTURES}/{name}.jpg" width="200" alt="{name}"><br>'
        f"{caption(METHODS[name], FEWER.get(name, {}))}</td>"
        for name in names
    ]
    rows = ["\n".join(["<tr>", *cells[i : i + COLUMNS], "</tr>"]) for i in range(0, len(cells), COLUMNS)]
    return "\n".join(["<table>", *rows, "</table>"])


def family(method: type[Method]) -> str:
    """The package within `netlens.attribution` that holds a method."""
    names = method.__module__.split(".")
    return names[2] if len(names) > 3 else "gradient"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, help="ImageNet weights of mobilenet_v2")
    parser.add_argument("--photo", required=True, help="the photo to explain")
    parser.add_argument("--methods", help="only these, separated by commas")
    options = parser.parse_args()
    photo = NetLens(open_network("mobilenet_v2", options.weights), options.photo)
    scene = NetLens(open_network("shapes_vit"), SCENE)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in tqdm(list(METHODS) if options.methods is None else options.methods.split(","), disable=None):
        lens = scene if family(METHODS[name]) == "attention" else photo
        method = METHODS[name](**FEWER.get(name, {}))
        write(lens.attribute(method, wrt=LAYER if name in OF_LAYERS else "input"), name)
    shown = [name for name in METHODS if (PICTURES / f"{name}.jpg").exists()]
    for group in dict.fromkeys(family(METHODS[name]) for name in shown):
        write_between(PAGE, group, gallery([n for n in shown if family(METHODS[n]) == group]))


if __name__ == "__main__":
    main()
