"""Small paintings for the tests of the tab Style."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageDraw

from netlens.playground._painting import Painting, Run, paint

QUICK = {"size": 48, "steps": 3, "scales": 1}


def painted(studio, *arguments, **settings):
    shown: list[Run] = []
    run = paint(studio, Painting(*arguments, {**QUICK, **settings}), shown.append)
    return run, shown


def half():
    """A mask of the left half."""
    picture = Image.new("L", (40, 40))
    ImageDraw.Draw(picture).rectangle((0, 0, 19, 39), fill=255)
    return picture


def text_of(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def equal(one, other):
    """Whether two paintings paint the same."""
    if [None if m is None else m.tobytes() for p in one.masks for m in p] != [
        None if m is None else m.tobytes() for p in other.masks for m in p
    ]:
        return False
    names = (one.content, one.styles, one.start) == (other.content, other.styles, other.start)
    return names and one.transfer() == other.transfer()
