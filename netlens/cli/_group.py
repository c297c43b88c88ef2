"""The main command, and its error messages: one line, exit code 2."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from netlens.errors import NetLensError, NetLensWarning
from netlens.version import __version__


class Failure(click.ClickException):
    """An error that the user can correct: one line, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"netlens: {self.format_message()}", err=True)


@contextmanager
def reported() -> Iterator[None]:
    """Turn errors of netlens into one line and exit code 2, and its warnings into notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NetLensWarning)
        try:
            yield
        except (NetLensError, OSError) as error:  # OSError: no permission to read a file or folder
            raise Failure(" ".join(str(error).split())) from error
        except (MemoryError, RuntimeError) as error:
            from netlens.fast.chunks import out_of_memory  # imported late, because it takes long to load torch

            if not out_of_memory(error):
                raise
            command = click.get_current_context().command
            sized = any(option.name == "size" for option in command.get_params(click.get_current_context()))
            advice = "choose a smaller --size" if sized else "give a smaller picture, or fewer at a time"
            raise Failure(f"there is not enough memory; {advice}.") from error
        finally:
            # each frame of a film gives the same warnings
            for message in dict.fromkeys(str(warning.message) for warning in caught):
                click.echo(f"note: {message}", err=True)


@contextmanager
def stoppable(line: str) -> Iterator[None]:
    """Turn Ctrl-C into a line that says what is left of the work, and exit code 130, as of other programs."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\nstopped; {line}", err=True)
        click.get_current_context().exit(130)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="netlens")
def main() -> None:
    """Explain what a vision network sees."""
