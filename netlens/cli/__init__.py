"""The command line: one file for each command. A command imports other packages only when it runs."""

# the import of each module adds its command
from netlens.cli import (  # noqa: F401
    _atlas,
    _dream,
    _evaluate,
    _explain,
    _invert,
    _networks,
    _playground,
    _recommend,
    _report,
    _stylize,
    _survey,
    _visualize,
    _world,
)
from netlens.cli._group import main

__all__ = ["main"]
