"""The command line: what a newcomer types, and every wrong thing that they may type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from netlens.attribution import METHODS
from netlens.weights import build
from netlens.world.scene import scene
from tests.cli.commands import failed, run
from tests.small import small_options

FAST = "saliency,grad_cam"


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scene(3, label=4).image).save("photo.png")
    return "photo.png"


def test_explain_writes_one_picture_and_says_where(photo: str) -> None:
    result = run("explain", photo, "--method", FAST)
    assert result.exit_code == 0, result.output
    assert "dotted square (4)" in result.output
    assert "wrote photo-explained.png" in result.output
    assert all(f"  {name}: " in result.output for name in FAST.split(","))
    height, width = np.asarray(Image.open("photo-explained.png")).shape[:2]
    assert width > 2 * height  # the image and two maps in a row


def test_several_images_go_into_a_folder(photo: str) -> None:
    Path("other").mkdir()
    Image.fromarray(scene(6).image).save("other/photo.png")
    assert run("explain", photo, "other/photo.png", "--method", "saliency", "-o", "out").exit_code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["photo-1-explained.png", "photo-explained.png"]


def test_every_method_runs_on_the_bundled_network(photo: str) -> None:
    Image.open(photo).crop((40, 40, 88, 88)).save("part.png")
    texts = [f"{name}:{','.join(f'{one}={value}' for one, value in small_options(name).items())}" for name in METHODS]
    result = run("explain", "part.png", "--method", ",".join(text.rstrip(":") for text in texts), "-o", "out.png")
    assert result.exit_code == 0, result.output
    assert all(f"  {text.rstrip(':')}: " in result.output for text in texts)


def test_all_stands_for_every_method_that_is_registered(photo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registered = {name: METHODS[name] for name in ("layer_cam", "saliency", "grad_cam")}
    monkeypatch.setattr("netlens.attribution.METHODS", registered)  # all of them, with all of their steps, take minutes
    result = run("explain", photo, "--method", "all", "-o", "all.png")
    assert result.exit_code == 0, result.output
    explained = [line.split()[0] for line in result.output.splitlines() if line.endswith(" s")]
    assert explained[-3:] == [f"{name}:" for name in registered]


def test_methods_take_options_and_may_be_given_several_times(photo: str) -> None:
    methods = ["--method", "saliency,occlusion:window=64x32,stride=64,grad_cam:relu=no", "--method", "eigen_cam"]
    result = run("explain", photo, *methods, "--chunk", "2", "--layer", "trunk_output.block2", "-o", "a.png")
    assert result.exit_code == 0, result.output
    named = ["saliency", "occlusion:window=64x32,stride=64", "grad_cam:relu=no", "eigen_cam"]
    assert [line.split()[0] for line in result.output.splitlines() if line.endswith(" s")][-4:] == [
        f"{name}:" for name in named
    ]
    # the picture is that of the options
    assert run("explain", photo, *methods[:2], "--method", "eigen_cam:centered=yes", "-o", "b.png").exit_code == 0
    assert Path("a.png").read_bytes() != Path("b.png").read_bytes()


def test_target_and_layer_are_used(photo: str) -> None:
    result = run("explain", photo, "--method", "grad_cam", "--target", "star, striped", "-o", "a.png")
    failed(result, "star, striped")
    result = run("explain", photo, "--method", "grad_cam", "--target", "striped star", "--layer", "trunk_output.block2")
    assert result.exit_code == 0
    assert "note: explaining 'striped star'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.jpg"], ["missing.jpg"]),
        (["empty.jpg"], ["empty.jpg"]),
        (["text.jpg"], ["text.jpg"]),
        (["photo.png", "--method", "gradcam"], ["'gradcam'", "'grad_cam'"]),
        (["photo.png", "--method", ","], ["no method"]),
        (["photo.png", "--method", "occlusion:window=0"], ["Occlusion: window is 0, but must be"]),
        (["photo.png", "--method", "occlusion:widow=8"], ["'widow'", "Closest: 'window'"]),
        (["photo.png", "--method", "window=8,occlusion"], ["'window=8'", "without a name"]),
        (["photo.png", "--method", "grad_cam:layer=nowhere"], ["nowhere"]),
        (["photo.png", "--target", "giraffe"], ["giraffe"]),
        (["photo.png", "--target", "99"], ["99"]),
        (["photo.png", "--layer", "layer7"], ["layer7", "Closest"]),
        (["photo.png", "--method", "saliency", "--layer", "stem"], ["saliency", "--layer"]),
        (["photo.png", "--model", "resnet51"], ["resnet51", "resnet50"]),
        (["photo.png", "--model", "alexnet", "--weights", "none.safetensors"], ["none.safetensors"]),
        (["photo.png", "--model", "squeezenet1_1", "--weights", "other.safetensors"], ["other.safetensors"]),
        (["photo.png", "-o", "no/such/folder/out.png"], ["no/such/folder"]),
        (["photo.png", "-o", "photo.png"], ["photo.png", "overwritten"]),
        (["photo.png", "text.jpg", "-o", "out.png"], ["folder"]),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(photo: str, arguments: list[str], words: list[str]) -> None:
    Path("empty.jpg").touch()
    Path("text.jpg").write_text("hello")
    save_file({"fc.weight": torch.zeros(2, 2)}, "other.safetensors")
    before = Path(photo).read_bytes()
    failed(run("explain", *arguments), *words)
    assert Path(photo).read_bytes() == before
    assert not list(Path().glob("**/*explained*"))


def test_a_network_with_its_weights(photo: str) -> None:
    network = build("squeezenet1_1")
    save_file({key: value.half() for key, value in network.state_dict().items()}, "weights.safetensors")
    result = run("explain", photo, "--model", "squeezenet1_1", "--weights", "weights.safetensors", "--method", FAST)
    assert result.exit_code == 0, result.output
    assert "squeezenet1_1 sees" in result.output and "random weights" not in result.stderr


def test_random_weights_are_said(photo: str) -> None:
    result = run("explain", photo, "--model", "squeezenet1_1", "--weights", "random", "--method", "saliency")
    assert "squeezenet1_1 has random weights" in result.stderr


def test_layers_lists_every_layer() -> None:
    result = run("layers", "resnet18")
    assert result.exit_code == 0
    assert "layer3.1.relu_1" in result.output and "1x512x7x7" in result.output
    failed(run("layers", "resnet1888"), "resnet18")


def test_methods_lists_every_method() -> None:
    result = run("methods")
    assert [line.split()[0] for line in result.output.strip().split("\n")] == list(METHODS)


def test_an_interrupt_leaves_no_picture(photo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(METHODS["grad_cam"], "attribute", interrupted)
    result = run("explain", photo, "--method", FAST)
    assert result.exit_code == 1 and "Aborted" in result.output + result.stderr
    assert [path.name for path in Path().iterdir()] == [photo]


def test_a_name_too_long_for_a_file_is_told_before_any_work(photo: str) -> None:
    failed(run("dream", photo, "--layer", "stem", "-o", "y" * 253 + ".png"), "too long")
    failed(run("dream", photo, "--layer", "stem", "-o", "y" * 400), "too long")


def test_the_names_of_classes_come_from_a_file(photo: str) -> None:
    save_file(build("squeezenet1_1", num_classes=3).state_dict(), "weights.safetensors")
    Path("names.txt").write_text("sheep\ngoat\nold cow\n")
    network = ["--model", "squeezenet1_1", "--weights", "weights.safetensors", "--method", "saliency"]
    result = run("explain", photo, *network, "--classes", "names.txt", "--target", "cow", "-o", "a.png")
    assert result.exit_code == 0, result.output
    assert "  old cow (2)\n" in result.output or "note: explaining 'old cow'" in result.stderr
    assert "class 2" in run("explain", photo, *network, "-o", "b.png").output  # the names of ImageNet are not theirs
    Path("names.txt").write_text("sheep\ngoat\n")
    failed(run("explain", photo, *network, "--classes", "names.txt"), "3 classes, but 2 names")
    failed(run("explain", photo, *network, "--classes", "none.txt"), "none.txt")


def test_a_network_of_a_file_that_is_run(photo: str) -> None:
    Path("mine.py").write_text("import torchvision\n\ndef make():\n    return torchvision.models.squeezenet1_1()\n")
    result = run("explain", photo, "--model", "mine.py:make", "--method", "saliency")
    assert result.exit_code == 0 and "mine.py:make sees" in result.output, result.output
    failed(run("explain", photo, "--model", "mine.py:mak"), "no function 'mak'", "'make'")
    assert run("layers", "mine.py:make").exit_code == 0


def test_layers_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("downloaded"))
    assert "fc" in run("layers", "resnet18").output
