"""Options as texts: what the forms of the page, its addresses and its code say of them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from netlens.options import Option, spelled

Texts = dict[str, str]
"""Options that differ from their defaults, each as the text that `netlens.options.parse` reads.

The name of an option is that of its form, a point, and its own: `occlusion.window`.
"""


def written(texts: Mapping[str, str]) -> str:
    """Options as one text.

    >>> written({"occlusion.window": "32x16"})
    'occlusion.window=32x16'
    """
    return urlencode(texts)


def read(text: str | None) -> Texts:
    """The inverse of `written`.

    >>> read("occlusion.window=32x16&occlusion.stride=8")
    {'occlusion.window': '32x16', 'occlusion.stride': '8'}
    """
    return dict(parse_qsl(text or "", keep_blank_values=True))


def options_text(name: str, texts: Mapping[str, str]) -> str:
    """The options of one form as the text that `netlens.options.parse` reads.

    >>> options_text("occlusion", {"occlusion.window": "32", "lime.seed": "3"})
    'window=32'
    """
    mine = {key.partition(".")[2]: text for key, text in texts.items() if key.partition(".")[0] == name}
    return ",".join(f"{key}={text}" for key, text in mine.items())


def default_of(one: Option) -> str:
    """The default of an option, as a text."""
    return "" if one.required else spelled(one.default)


def description(one: Option) -> str:
    """The help of an option, its type and its bounds."""
    kind = one.words if not one.choices and len(one.words) < 60 and one.kind is not bool else ""
    tail = ", ".join(part for part in (kind, str(one.limits)) if part)
    return f"{one.help} ({tail})" if tail else one.help
