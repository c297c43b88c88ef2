"""Every command in the docs runs, or is checked as far as it can be, or is listed here with a reason.

`netlens` runs, with few steps and small pictures. Of `make`, the plan is made and not carried out, because the
commands install and measure. Of `python -m`, the module and its options must be there.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from netlens.cli import main
from netlens.world.folder import write_world
from tests.docs.pages import PAGES, ROOT, blocks, fill, inline

SMALL = {
    "visualize": ("--steps", "1", "--size", "32"),
    "dream": ("--steps", "1", "--size", "64", "--octaves", "1"),
    "invert": ("--steps", "1", "--size", "64"),
    "atlas": ("--steps", "1", "--cells", "3", "--cell-size", "32"),
    "stylize": ("--steps", "1", "--size", "64"),
    "world": ("-n", "15", "--size", "32"),
    "evaluate": ("--method", "saliency", "--metric", "gini"),
    "recommend": ("--tuned", "0", "--method", "saliency", "--metric", "gini"),
    "report": ("--steps", "1", "--losses", "2", "--channels", "1", "--explained-classes", "1", "--averaged", "2"),
}
"""What is added to a command, so that it takes a second."""

ELSEWHERE = {
    "timm/convnext_tiny.fb_in1k": ("timm", "timm/test_convnext"),
    "hf/google/vit-base-patch16-224": ("transformers", "vit"),
}
"""Networks that would be downloaded, with their library and a small network of random weights in their place."""

NOT_RUN = {
    r"\.venv/bin/(ruff|python -m pytest)": "a part of `make test`, which runs this test",
    r"(pip|pre-commit) install": "changes the environment",
    r"source ": "changes the shell",
    r"ssh ": "needs another machine",
    r"pytest nbs/claims ": "a part of `make test`; tests/testing asks for the page",
}

FORMS = r"(netlens|pytest|make|python -m|\.venv/bin/\S+|pip install|pre-commit|source) "


def commands(page: str) -> list[str]:
    """The commands of a page, as a person types them, without comments."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [line.split(" #")[0].split("  ")[0].strip() for line in lines if line.strip()]


BLOCKS = [(page, command) for page in PAGES for command in commands(page)]
INLINE = [(page, code) for page in PAGES for code in inline(page) if re.match(FORMS, code)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("netlens.playground.serve", lambda *arguments: None)  # a server would wait for its end
    fill(tmp_path)
    settings = blocks("docs/visualization.md", "json")[0].replace('"steps": 100', '"steps": 1, "size": 64')
    (tmp_path / "pairs.json").write_text(settings)
    return tmp_path


def prepare(command: str) -> None:
    """Make what earlier commands of a page have made: the little world as a folder, and a survey of it."""
    if command.startswith(
        ("netlens survey world", "netlens report", "netlens evaluate world", "netlens recommend world")
    ):
        write_world("world", 15, size=32, progress=False)
    if command.startswith("netlens report"):
        arguments = ["survey", "world/images", "--layer", "stem", "-o", "survey"]
        assert CliRunner().invoke(main, arguments, catch_exceptions=False).exit_code == 0


@pytest.mark.parametrize(
    "command", list(dict.fromkeys(command for _, command in BLOCKS if command.startswith("netlens ")))
)
def test_a_command_of_netlens_runs(command: str, folder: Path) -> None:
    name, *arguments = shlex.split(command)[1:]
    added = () if "--batch" in arguments else SMALL.get(name, ())
    if "--groups" in arguments:
        added = ("--steps", "1", "--cell-size", "32")
    if "--zoom" in arguments:
        arguments[arguments.index("--zoom") + 1] = "2"
        added = (*added[:4],)
    for published in ELSEWHERE.keys() & set(arguments):
        library, small = ELSEWHERE[published]
        pytest.importorskip(library, reason=f"{library} is not installed, see the extras of netlens")
        arguments = [small if argument == published else argument for argument in arguments]
        added = ("--weights", "random")
    typed = {"--method", "--metric"} & set(arguments)  # these add up; of all others, the last one counts
    pairs = zip(added[::2], added[1::2], strict=True)
    arguments += [text for pair in pairs if pair[0] not in typed for text in pair]
    prepare(command)
    result = CliRunner().invoke(main, [name, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    if "-o" in arguments:
        assert (folder / arguments[arguments.index("-o") + 1]).exists()


@pytest.mark.parametrize(
    "command", list(dict.fromkeys(command for _, command in BLOCKS + INLINE if command.startswith("make ")))
)
def test_make_knows_how_to(command: str) -> None:
    plan = subprocess.run(
        ["make", "--dry-run", "--always-make", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert plan.returncode == 0 and plan.stdout, plan.stderr


@pytest.mark.parametrize(
    "command", list(dict.fromkeys(command for _, command in BLOCKS + INLINE if "python -m" in command))
)
def test_a_module_and_its_options_are_there(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(command)
    module = words[words.index("-m") + 1]
    if module == "pytest":
        paths = [word for word in words[words.index("-m") + 2 :] if "/" in word]
        assert all((ROOT / path).exists() for path in paths)
        return
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.submodule_search_locations:  # Python runs this file of a package
        module = f"{module}.__main__"
        spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    assert "__main__" in Path(spec.origin).read_text()
    options = [word for word in words if word.startswith("--")]
    if options:
        monkeypatch.setattr(sys, "argv", [module, "--help"])
        with pytest.raises(SystemExit):
            importlib.import_module(module).main()
        help_text = capsys.readouterr().out
        assert all(option in help_text for option in options)


@pytest.mark.parametrize("command", list(dict.fromkeys(code for _, code in INLINE if code.startswith("netlens "))))
def test_a_command_within_a_line_is_one_of_netlens(command: str) -> None:
    _, names, *words = command.split()
    for name in names.split("|"):
        parameters = main.commands[name].get_params(click.Context(main.commands[name]))
        options = {option for parameter in parameters for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options


@pytest.mark.parametrize(("page", "command"), BLOCKS + INLINE)
def test_every_command_is_checked_or_has_a_reason(page: str, command: str) -> None:
    checked = re.match(r"(netlens|make|(\.venv/bin/)?python -m) ", command)
    assert checked or any(re.match(pattern, command) for pattern in NOT_RUN), f"nothing checks {command!r} of {page}"


def test_every_reason_is_of_a_command() -> None:
    written = [command for _, command in BLOCKS + INLINE]
    assert all(any(re.match(pattern, command) for command in written) for pattern in NOT_RUN)
