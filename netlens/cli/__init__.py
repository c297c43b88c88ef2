"""The command line: one file for each command. A command imports other packages only when it runs."""

# the import of each module adds its command
from netlens.cli import _atlas, _dream, _explain, _invert, _networks, _playground, _stylize, _visualize, _world  # noqa: F401
from netlens.cli._group import main

__all__ = ["main"]
