"""What the tests of all commands share: how a command runs in this process, and how it fails."""

from __future__ import annotations

from click.testing import CliRunner, Result

from netlens.cli import main


def run(*arguments: object) -> Result:
    """The result of `netlens` with these arguments."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def failed(result: Result, *words: str) -> None:
    """Check for exit code 2, one line on stderr with these words, and no traceback."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.strip().split("\n") if not line.startswith("note:")]
    assert len(lines) == 1 and lines[0].startswith("netlens: "), result.stderr
    for word in words:
        assert word in lines[0]
