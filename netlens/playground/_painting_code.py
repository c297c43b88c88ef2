"""The code of a painting: the same in a notebook, and on the command line."""

from __future__ import annotations

import shlex
from pathlib import Path

from netlens.options import spelled
from netlens.playground import _notebook as notebook
from netlens.playground._painting import Painting
from netlens.playground._painting_files import file_of, mask_name
from netlens.playground._studio import Studio
from netlens.zoo import BUNDLED, PRETRAINED


def python(studio: Studio, painting: Painting) -> str:
    """The lines that paint the same in a notebook."""
    styles = ", ".join(repr(_path(studio, name)) for name in painting.styles)
    inputs = ["flat", repr(_path(studio, painting.content)), f"[{styles}]"]
    if painting.masked:
        pairs = (", ".join(repr(None if m is None else mask_name(m)) for m in pair) for pair in painting.masks)
        inputs.append(f"regions=[{', '.join(f'({pair})' for pair in pairs)}]")
    settings = dict(painting.settings)
    if painting.start is not None:
        settings["start"] = _path(studio, painting.start)
    inputs += [notebook.arguments(settings)] if settings else []
    return "\n".join(
        [
            "from netlens import open_network",
            "from netlens.visualization import stylize",
            *_note(studio, painting),
            f"flat = {notebook.network(studio)}",
            f"painted = stylize({', '.join(inputs)})",
            "painted.save('stylized.png')",
        ]
    )


def command(studio: Studio, painting: Painting) -> str:
    """The command that paints the same; that of its batch, if it has masks."""
    if painting.masked:
        return "# a run with masks is a batch, which holds the masks\nnetlens stylize --batch batch.zip -o stylized"
    words = ["netlens", "stylize", _path(studio, painting.content), *(_path(studio, name) for name in painting.styles)]
    if studio.model != BUNDLED[0]:
        words += ["--model", studio.model]
    if studio.weights != PRETRAINED:
        words += ["--weights", studio.weights]
    for name, value in painting.settings.items():
        text = _path(studio, value) if name == "start" and painting.start is not None else spelled(value, ",")
        words += [f"--{name.replace('_', '-')}", text]
    return "\n".join([*_note(studio, painting), " ".join(map(shlex.quote, [*words, "-o", "stylized.png"]))])


def _path(studio: Studio, name: str) -> str:
    source = studio.pictures.get(name)
    return str(source) if isinstance(source, Path) else file_of(studio, name)


def _note(studio: Studio, painting: Painting) -> list[str]:
    """Where the pictures are that lie in no folder."""
    loose = [file_of(studio, name) for name in painting.pictures if not isinstance(studio.pictures.get(name), Path)]
    loose += ["the masks"] if painting.masked else []
    return [f"# in the batch of this run: {', '.join(loose)}"] if loose else []
