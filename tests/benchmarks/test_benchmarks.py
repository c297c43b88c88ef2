"""The scripts of benchmarks: each can be started."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import benchmarks

SCRIPTS = sorted(path.stem for path in Path(benchmarks.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_imports_what_it_uses(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")
