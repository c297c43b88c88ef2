"""Options of the command line that are made from the options of a class, when the command is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from netlens.options import Option, options_of, read, spelled
from netlens.options.forms import Listed, Mapped, alternatives, form_of

Flags = Callable[[], Iterable[click.Parameter]]


class Generated(click.Command):
    """A command with further options, made by `flags` only when they are needed: classes load torch.

    Args:
        flags: Gives these options.
    """

    def __init__(self, *arguments: Any, flags: Flags, **rest: Any) -> None:
        super().__init__(*arguments, **rest)
        self.flags = flags
        self.made: list[click.Parameter] | None = None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        if self.made is None:
            self.made = [param for param in self.flags() if param.name not in {one.name for one in own}]
        # what must be given comes first, then what the class says, then what else the command adds
        first = [param for param in own if isinstance(param, click.Argument) or param.required]
        return [*first, *self.made, *(param for param in own if param not in first)]


def flags_of(cls: type, leave_out: Iterable[str] = (), defaults: Mapping[str, str] | None = None) -> list[click.Option]:
    """Make an option of the command line for each option of a class.

    Args:
        cls: A dataclass whose fields are declared by `netlens.options.option`.
        leave_out: The names of those that the command gives itself.
        defaults: What to say of a default instead of the value.
    """
    told = {} if defaults is None else defaults
    return [_flag(one, told.get(one.name)) for one in options_of(cls) if one.help and one.name not in set(leave_out)]


def given(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Read the options of a class from what the command line gave; options that were not given are left out."""
    by_name = {one.name: one for one in options_of(cls)}
    return {
        name: read(by_name[name], value, between=",") if isinstance(value, str) else value
        for name, value in values.items()
        if name in by_name and value is not None
    }


def _flag(one: Option, default: str | None) -> click.Option:
    flag = f"--{one.name.replace('_', '-')}"
    usual = spelled(one.default, ",") if default is None else default
    tail = "" if usual == "none" else f"  [default: {usual}]"
    about: dict[str, Any] = {"help": f"{one.help}{tail}", "default": None}
    if one.kind is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}", one.name], **about)
    return click.Option([flag, one.name], metavar=_metavar(one), **about)


def _metavar(one: Option) -> str:
    kinds = [kind for kind in alternatives(one.kind) if kind is not type(None)]
    forms = [form_of(kind) for kind in kinds]
    if one.choices:
        return "|".join(one.choices)
    if any(isinstance(form, Mapped) for form in forms):
        return "A,B:WEIGHT,..."
    if kinds[0] is int and len(kinds) > 1:
        return "SIDE|HxW"
    if any(isinstance(form, Listed) for form in forms):
        return "A,B,..."
    return {int: "N", float: "NUMBER"}.get(kinds[0], "NAME")
