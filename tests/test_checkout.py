"""netlens runs from a plain checkout, and takes no other package named `adapters` for its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from torch import nn

from netlens.flat.operations import is_foreign

ROOT = Path(__file__).parents[1]
ADAPTER = """
import torchvision
from netlens.flat.adapter import adapter_of
print(adapter_of(torchvision.models.inception_v3(init_weights=False)).preprocessing.size[0])
import netlens.adapters.swin as module
print(module.__file__)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that git holds, without what an installation adds."""
    ignored = shutil.ignore_patterns("__pycache__", "adapters")
    shutil.copytree(ROOT / "netlens", tmp_path / "netlens", ignore=ignored)
    shutil.copytree(ROOT / "adapters", tmp_path / "adapters", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.py", tmp_path / "setup.py")
    return tmp_path


def run(checkout: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Python code in a process that finds netlens by PYTHONPATH alone."""
    # -S leaves out the .pth files of site-packages, by which an editable installation would be found
    libraries = f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n"
    command = [sys.executable, "-S", "-c", libraries + code]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    return subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)


def test_a_plain_checkout_knows_its_adapters(checkout):
    answer = run(checkout, ADAPTER)
    assert answer.stdout.split() == ["299", str(checkout / "adapters" / "swin.py")], answer.stderr


def test_a_folder_beside_netlens_is_only_taken_where_the_project_says_so(checkout):
    (checkout / "setup.py").unlink()
    answer = run(checkout, "import netlens.adapters")
    assert "No module named 'netlens.adapters'" in answer.stderr


def test_a_layer_of_another_package_named_adapters_is_foreign():
    layer = type("Lora", (nn.Module,), {"__module__": "adapters.lora"})()
    assert is_foreign(layer)
    assert not is_foreign(nn.ReLU())
    assert not is_foreign(type("Ours", (nn.Module,), {"__module__": "netlens.adapters.swin"})())
