"""A name says where a network comes from, and its weights, preprocessing and classes come with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from netlens import open_network
from netlens.classes import ClassNames
from netlens.errors import NetLensError, WeightsError
from netlens.weights import build
from netlens.zoo import architecture, check_network
from tests.weight_files import Trap, saved

MINE = """
from neighbor import CHANNELS
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        body = nn.Conv2d(3, CHANNELS, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        super().__init__(*body, nn.Linear(CHANNELS, 2))

def make():
    return Net().train()

def text():
    return "no network"
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "neighbor.py").write_text("CHANNELS = 5\n")
    (tmp_path / "mine.py").write_text(MINE)
    yield tmp_path / "mine.py"
    for name in ("mine", "neighbor"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("function", ["make", "Net"])
def test_a_function_of_a_file_makes_the_network(mine: Path, function: str) -> None:
    before = list(sys.path)
    flat = open_network(f"{mine}:{function}")
    assert sys.path == before and list(flat.layers) == ["0", "1", "2", "3", "4"]
    assert flat(torch.zeros(1, 3, 8, 8)).shape == (1, 2)


def test_weights_of_a_file_fit_the_network_of_a_file(mine: Path, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4))
    path = saved({"state_dict": network.state_dict()}, tmp_path / "a.pth")
    flat = open_network(f"{mine}:make", path, classes=["a", "b", "c", "d"])
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(flat(x), network(x)) and flat.classes == ClassNames("abcd")


@pytest.mark.parametrize(
    ("ending", "weights", "message"),
    [
        (":mak", "pretrained", "no function 'mak'. Closest: 'make'"),
        (":text", "pretrained", "returns a str, not a torch.nn.Module"),
        ("", "pretrained", "names no function"),
        (":make", "nowhere.pth", "no such file"),
    ],
)
def test_mistakes_about_files(mine: Path, ending: str, weights: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        open_network(f"{mine}{ending}", weights)
    with pytest.raises(WeightsError, match="does not exist"):
        check_network("nowhere.py:make")


def test_a_head_of_another_size_has_no_names_of_other_classes(tmp_path: Path) -> None:
    path = saved(build("squeezenet1_1", num_classes=3).state_dict(), tmp_path / "a.safetensors")
    assert open_network("squeezenet1_1", path).classes is None
    names = tmp_path / "names.txt"
    names.write_text("red\ngreen\nblue\n\n")
    for classes in (names, str(names), ["red", "green", "blue"], ClassNames(["red", "green", "blue"])):
        assert open_network("squeezenet1_1", path, classes).classes == ClassNames(["red", "green", "blue"])
    with pytest.raises(WeightsError, match="has 3 classes, but 2 names are given"):
        open_network("squeezenet1_1", path, ["red", "green"])
    names.write_text("")
    with pytest.raises(NetLensError, match="holds no name"):
        open_network("squeezenet1_1", path, names)


@pytest.mark.parametrize("name", ["shapes", "squeezenet1_1"])
def test_an_architecture_needs_no_download(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("downloaded"))
    assert architecture(name).layers


def test_pretrained_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(WeightsError, match=r"not cached in .* pass the path of the file as weights="):
        open_network("squeezenet1_1")
    assert open_network("squeezenet1_1", "random").name == "squeezenet1_1"


def test_pickled_code_in_weights_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="could run any code and are refused"):
        open_network("squeezenet1_1", saved({"a": Trap()}, tmp_path / "a.pth"))
    assert not Path("sprung").exists()
