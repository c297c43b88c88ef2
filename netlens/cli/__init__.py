"""The command line: one file for each command. A command imports other packages only when it runs."""

from netlens.cli import atlas, dream, explain, invert, networks, stylize, visualize
from netlens.cli.group import main

__all__ = ["atlas", "dream", "explain", "invert", "main", "networks", "stylize", "visualize"]
