"""Forms: the options of a class as fields of the page, made from the same declarations as the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import gradio as gr

from netlens.options import Option, options_of
from netlens.playground._texts import default_of, description


class Field(NamedTuple):
    """An option and its component on the page."""

    option: Option
    component: Any


def form(cls: type, name: str, texts: Mapping[str, str], into: gr.Textbox, leave_out: Iterable[str] = ()) -> None:
    """Put the options of a class on the page. Their changes are written into one text.

    Args:
        cls: A dataclass whose fields are declared by `netlens.options.option`.
        name: The name of the form, which is part of the name of each option in the text.
        texts: The options that differ from their defaults.
        into: The component of the text, which `read` reads.
        leave_out: The names of options that get no field.
    """
    for one, component in fields_of(cls, name, texts, leave_out):
        plain = isinstance(component, gr.Textbox)
        script = _script(f"{name}.{one.name}", default_of(one))
        # the text changes in the browser alone, so that fast changes of two fields cannot overtake each other
        (component.blur if plain else component.input)(
            None, [into, component], into, js=script, queue=False, show_progress="hidden"
        )
        if plain:
            component.submit(None, [into, component], into, js=script, queue=False, show_progress="hidden")


def fields_of(cls: type, name: str, texts: Mapping[str, str], leave_out: Iterable[str] = ()) -> list[Field]:
    """The fields of a class's options, each with its help, its type and its bounds."""
    hidden = set(leave_out)
    return [
        Field(one, _component(one, texts.get(f"{name}.{one.name}", default_of(one)), f"{name}.{one.name}"))
        for one in options_of(cls)
        if one.help and one.name not in hidden
    ]


def _script(name: str, default: str) -> str:
    return f"""(text, value) => {{
        const texts = new URLSearchParams(text || "");
        const given = value === true ? "yes" : value === false ? "no" : String(value ?? "").trim();
        if (given === {json.dumps(default)} || given === "") texts.delete({json.dumps(name)});
        else texts.set({json.dumps(name)}, given);
        return texts.toString();
    }}"""


def _component(one: Option, text: str, name: str) -> Any:
    shown: dict[str, Any] = {
        "label": one.name.replace("_", " "),
        "info": description(one),
        "elem_id": f"option-{name.replace('.', '-')}",
    }
    shown["interactive"] = True  # Gradio takes a component that no function of Python reads for one that only shows
    if one.kind is bool:
        return gr.Checkbox(text == "yes", **shown)
    if one.choices:
        choices = dict.fromkeys([default_of(one), *one.choices])
        return gr.Dropdown([name for name in choices if name], value=text, allow_custom_value=True, **shown)
    return gr.Textbox(text, max_lines=1, placeholder=default_of(one), **shown)
