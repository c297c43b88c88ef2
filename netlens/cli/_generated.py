"""Options of the command line that are made from the options of a class, when the command is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from netlens.options import Option, options_of, read, spelled
from netlens.options.forms import Listed, Mapped, alternatives, form_of

Flags = Callable[[], Iterable[click.Parameter]]


class Generated(click.Command):
    """A command with further options. They are made only when they are needed, because their classes load torch.

    Args:
        flags: A function that returns these options.
    """

    def __init__(self, *arguments: Any, flags: Flags, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.flags = flags
        self.generated: list[click.Parameter] | None = None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        declared = super().get_params(ctx)
        if self.generated is None:
            names = {param.name for param in declared}
            self.generated = [param for param in self.flags() if param.name not in names]
        # the help lists required parameters first, then the options of the class, then other options of the command
        first = [param for param in declared if isinstance(param, click.Argument) or param.required]
        return [*first, *self.generated, *(param for param in declared if param not in first)]


def flags_of(cls: type, leave_out: Iterable[str] = (), defaults: Mapping[str, str] | None = None) -> list[click.Option]:
    """Make an option of the command line for each option of a class.

    Args:
        cls: A dataclass whose fields are declared by `netlens.options.option`.
        leave_out: The names of options that get no option of the command line.
        defaults: Texts by name, which the help shows in place of the default value.
    """
    texts = {} if defaults is None else defaults
    return [_flag(o, texts.get(o.name)) for o in options_of(cls) if o.help and o.name not in set(leave_out)]


def read_options(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a class, from the values on the command line. Options without a value are left out."""
    by_name = {o.name: o for o in options_of(cls)}
    return {
        name: read(by_name[name], value, between=",") if isinstance(value, str) else value
        for name, value in values.items()
        if name in by_name and value is not None
    }


def _flag(option: Option, default: str | None) -> click.Option:
    flag = f"--{option.name.replace('_', '-')}"
    usual = spelled(option.default, ",") if default is None else default
    tail = "" if usual == "none" else f"  [default: {usual}]"
    attributes: dict[str, Any] = {"help": f"{option.help}{tail}", "default": None}
    if option.kind is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}", option.name], **attributes)
    return click.Option([flag, option.name], metavar=_metavar(option), **attributes)


def _metavar(option: Option) -> str:
    kinds = [kind for kind in alternatives(option.kind) if kind is not type(None)]
    forms = [form_of(kind) for kind in kinds]
    if option.choices:
        return "|".join(option.choices)
    if any(isinstance(form, Mapped) for form in forms):
        return "A,B:WEIGHT,..."
    if kinds[0] is int and len(kinds) > 1:
        return "SIDE|HxW"
    if any(isinstance(form, Listed) for form in forms):
        return "A,B,..."
    return {int: "N", float: "NUMBER"}.get(kinds[0], "NAME")
