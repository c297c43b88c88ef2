"""The command line: one file per command, which imports what it needs when it runs."""

from netlens.cli import explain, networks
from netlens.cli.group import main

__all__ = ["explain", "main", "networks"]
