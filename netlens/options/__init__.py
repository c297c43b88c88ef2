"""What an option is: a field of a dataclass that says its type, default, bounds and help.

A class declares its options as fields, and checks them when it is made. Command lines, docs and forms are made from the
same fields, so that nothing about an option is written twice.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Blur:
...     sigma: float = option(1.0, above=0, help="Standard deviation, in pixels.")
...     steps: int = option(10, least=1, most=100, help="How many times.")
...
...     def __post_init__(self) -> None:
...         check(self)
>>> parse(Blur, "sigma=2,steps=5")
Blur(sigma=2.0, steps=5)
>>> Blur(steps=0)
Traceback (most recent call last):
netlens.errors.NetLensError: Blur: steps is 0, but must be a whole number from 1 to 100.
>>> [(row.name, row.default, row.bounds) for row in table(Blur)]
[('sigma', '1.0', 'above 0'), ('steps', '10', '1 to 100')]
"""

from netlens.options._declared import Option, check, option, options_of
from netlens.options._kinds import named
from netlens.options._limits import Limits
from netlens.options._text import Row, parse, read, snake_case, spelled, split, table
from netlens.options._values import check_names, checked

__all__ = [
    "Limits",
    "Option",
    "Row",
    "check",
    "check_names",
    "checked",
    "named",
    "option",
    "options_of",
    "parse",
    "read",
    "snake_case",
    "spelled",
    "split",
    "table",
]
