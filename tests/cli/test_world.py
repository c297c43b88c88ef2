"""`netlens world`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.commands import failed, run


def test_it_writes_scenes_by_class_and_refuses_a_folder_of_something_else(tmp_path: Path) -> None:
    folder = tmp_path / "world"
    result = run("world", "-o", folder, "-n", 4, "--size", 32)
    assert result.exit_code == 0, result.output
    assert "4 scenes" in result.output
    assert len([*folder.glob("images/*/*.png")]) == len([*folder.glob("masks/*/*.png")]) == 4
    failed(run("world", "-o", folder, "-n", 5, "--size", 32), "not empty")
    assert run("world", "-n", 5).exit_code == 2
