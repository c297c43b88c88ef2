"""Explaining: the results of several methods for a picture, each as soon as it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from netlens import images
from netlens.attribution import METHODS, Attribution, Method, method_from, together
from netlens.errors import NetLensError
from netlens.options import options_of
from netlens.playground import _notebook as notebook
from netlens.playground._store import digest
from netlens.playground._studio import Studio
from netlens.playground._texts import options_text
from netlens.show import Look, overlay, tells_signs

VIEWS: Mapping[str, Look] = {
    "overlay": Look(style="blended_heat_map"),
    "positive": Look(sign="positive"),
    "negative": Look(sign="negative"),
    "signed": Look(sign="all", style="blended_heat_map"),
    "map alone": Look(style="heat_map"),
}
"""The ways to look at a map."""
VIEW_NAMES = {"positive": "for the class", "negative": "against the class", "signed": "for and against"}
"""What the page calls a view whose name in an address says little to a newcomer."""
_SIGNS = "Red speaks for the class, blue against it."
_RED = "A map without blue shows only how much a place counts."


@dataclass(frozen=True)
class Question:
    """What is explained: a picture by name, a class, and methods with their options, such as "occlusion:window=32"."""

    picture: str
    target: Any
    methods: tuple[str, ...]
    layer: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a method says: its result and the key under which the studio keeps it; or why there is none."""

    text: str
    result: Attribution | None = field(default=None, repr=False)
    key: str = ""
    seconds: float | None = None
    why: str = ""


def explain(studio: Studio, question: Question, show: Callable[[Answer], None]) -> None:
    """Show the answer of each method: first those that are known, then each as soon as it is computed."""
    lens = studio.lens(question.picture, question.target)
    waiting: dict[str, Method] = {}
    for text in question.methods:
        answer = remembered(studio, question, text)
        if answer is not None:
            show(answer)
            continue
        try:
            waiting[text] = method_of(text, question.layer)
        except NetLensError as error:
            show(Answer(text, why=in_a_line(error)))
    with together(list(waiting.values()), lens.flat, lens.x, lens.objective) as x:
        for text, method in waiting.items():
            start = time.perf_counter()
            try:
                result = method(lens.flat, x, lens.objective)
            except NetLensError as error:
                show(Answer(text, why=in_a_line(error)))
                continue
            key = key_of(question, text)
            studio.results.put(key, result)
            show(Answer(text, result, key, time.perf_counter() - start))


def remembered(studio: Studio, question: Question, text: str) -> Answer | None:
    """The answer of a method, if the studio still has its result."""
    key = key_of(question, text)
    result = studio.results.get(key)
    return None if result is None else Answer(text, result, key)


def key_of(question: Question, text: str) -> str:
    """The key of a result."""
    return digest(question.picture, question.target, question.layer, text)


def method_of(text: str, layer: str | None) -> Method:
    """The method of a text such as "grad_cam"; a method that reads a layer gets `layer`, if there is one."""
    name = text.partition(":")[0]
    reads = name in METHODS and any(one.name == "layer" for one in options_of(METHODS[name]))
    return method_from(text, **({"layer": layer} if layer and reads else {}))


def drawn(result: Attribution, view: str, opacity: float) -> Image.Image:
    """A result as a picture; below an opacity of 1, the photo shines through."""
    pixels = Image.fromarray(overlay(result, VIEWS.get(view, Look()))[0]).convert("RGB")
    if opacity >= 1 or result.image is None:
        return pixels
    photo = images.to_pil(result.image[0].float().cpu().clamp(0, 1)).convert("RGB").resize(pixels.size)
    return Image.blend(photo, pixels, max(0.0, opacity))


def legend(results: Sequence[Attribution], view: str) -> str:
    """What the colors of some drawings mean, in a sentence or two; "" without results."""
    look = VIEWS.get(view, Look())
    subject = {"positive": "what speaks for the class", "negative": "what speaks against the class"}
    red = [bool((one.spatial >= 0).all()) for one in results if tells_signs(one, look)]
    warm = "In other maps, warm" if red else "Warm"
    strong = f"{warm} and bright colors show {subject.get(look.sign or '', 'what counts most')}."
    sentences = {_SIGNS: False in red, _RED: True in red, strong: len(red) < len(results)}
    return " ".join(sentence for sentence, is_true in sentences.items() if is_true)


def code(studio: Studio, question: Question) -> str:
    """The lines that make the same results in a notebook."""
    imports, picture = notebook.picture(studio, question.picture)
    target = "" if question.target is None else f", target={question.target!r}"
    lines = ["from netlens import NetLens, open_network", *imports]
    lines.append(f"lens = NetLens({notebook.network(studio)}, {picture}{target})")
    calls: list[str] = []
    for text in question.methods:
        try:
            calls.append(_call(text, question.layer))
        except NetLensError as error:
            lines.append(f"# {text}: {in_a_line(error)}")
    if len(calls) == 1:
        lines.append(f"{calls[0]}.show()")
    elif calls:
        lines += ["lens.show(", *(f"    {call}," for call in calls), ")"]
    return "\n".join(lines)


def _call(text: str, layer: str | None) -> str:
    """A method as a call of `NetLens`, such as `lens.occlusion(window=32)`."""
    name = text.partition(":")[0]
    method = method_of(text, layer)
    standard = type(method)()
    changed = {
        one.name: getattr(method, one.name)
        for one in options_of(type(method))
        if getattr(method, one.name) != getattr(standard, one.name)
    }
    return f"lens.{name}({notebook.arguments(changed)})"


def in_a_line(error: BaseException) -> str:
    """The message of an error in one line."""
    return " ".join(str(error).split())


def chosen(methods: Sequence[str] | None, options: Mapping[str, str]) -> tuple[str, ...]:
    """Methods with their options, as texts that `method_from` reads."""
    texts = ((name, options_text(name, options)) for name in methods or ())
    return tuple(f"{name}:{text}" if text else name for name, text in texts)
