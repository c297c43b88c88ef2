"""`netlens stylize`: one picture, regions, a batch, and mistakes in one line."""

import json

import pytest
import torch
from PIL import Image

from netlens import images
from netlens.results import read_provenance
from netlens.visualization.style import packed
from netlens.zoo import check_network
from tests.cli.commands import run

QUICK = ["--size", "32x40", "--steps", "2"]


@pytest.fixture
def files(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for name in ("content", "style", "other"):
        coarse = torch.rand(1, 3, 4, 4, generator=generator)
        images.save(torch.nn.functional.interpolate(coarse, (40, 48))[0], tmp_path / f"{name}.png")
    images.save((torch.arange(48) < 24).float().expand(1, 40, 48), tmp_path / "mask.png")
    return tmp_path


def stylize(*arguments):
    return run("stylize", *arguments)


def test_a_picture_with_its_provenance(files):
    layers = "stem.2:0.5,trunk_output.block1.block1-0.activation"
    out = files / "out.png"
    options = ["--style-layers", layers, "--style-weights", "1,3", "--color", "luminance", "--optimizer", "lbfgs"]
    result = stylize(files / "content.png", files / "style.png", files / "other.png", *options, *QUICK, "-o", out)
    assert result.exit_code == 0, result.output
    assert images.load(out).size == (40, 32)
    made_by = read_provenance(out)
    assert made_by.network == "shapes"
    assert made_by.options["style_layers"] == {"stem.2": 0.5, "trunk_output.block1.block1-0.activation": 1.0}
    assert "content: 0.0000 at the content" in result.output and f"wrote {out}" in result.output


def test_masks_change_the_picture(files):
    pictures = files / "content.png", files / "style.png"
    for name, options in (("all.png", []), ("part.png", ["--content-mask", files / "mask.png"])):
        assert stylize(*pictures, *options, *QUICK, "-o", files / name).exit_code == 0
    assert (files / "all.png").read_bytes() != (files / "part.png").read_bytes()


def test_a_batch_with_its_contact_sheet(files):
    settings = {"usual": {"size": 32, "steps": 2}, "tokens": {"size": 32, "steps": 1, "model": "shapes_vit"}}
    batch = {"pairs": [{"content": "content.png", "style": "style.png"}], "settings": settings}
    (files / "batch.json").write_text(json.dumps(batch))
    out = files / "out"
    first, second = (stylize("--batch", files / "batch.json", "-o", out) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.output.count("made ") == 2 and second.output.count("skipped ") == 2
    assert (out / "content-style" / "usual" / "result.jpg").is_file()
    assert images.load(out / "contact.jpg").width > 3 * 200


@pytest.mark.parametrize("output", ["out.PNG", "folder"])
def test_an_output_in_capitals_has_its_provenance_and_a_folder_gets_the_default_name(files, output):
    (files / "folder").mkdir()
    result = stylize(files / "content.png", files / "style.png", *QUICK, "--seed", 10**30, "-o", files / output)
    assert result.exit_code == 0, result.output
    path = files / "folder" / "content-stylized.jpg" if output == "folder" else files / output
    with Image.open(path) as picture:
        assert ("netlens" in picture.info) == (output == "out.PNG")


def write(path, content, **changes):
    pairs = [{"content": content, "style": "style.png"}]
    whole = {"pairs": pairs, "settings": {"usual": {"size": 32, "steps": 1}}} | changes
    path.write_text(json.dumps(whole))


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["content.png"], "give a content picture and a style"),
        (["content.png", "gone.png"], "gone.png does not exist"),
        (["content.png", "style.png", "--size", "big"], "size is 'big', but must be"),
        (["content.png", "style.png", "--style-layers", "stem.2:x"], "style_layers is {'stem.2': 'x'}, but must be"),
        (["content.png", "style.png", "--style-layers", "stem.9"], "stem.2"),
        (["content.png", "style.png", "--style-layers", "stem.1:1,stem.1:5"], "given twice"),
        (["content.png", "style.png", "--size", "9" * 5000], "size is '999"),
        (["content.png", "style.png", "--size", "100x"], "size is '100x', but must be"),
        (["content.png", "style.png", "--start", ""], "is empty"),
        (["content.png", "style.png", "-o", "picture.ico"], "no suffix of an image format"),
        (["content.png", "style.png", "--statistic", "grams"], "statistic is 'grams', but must be one of 'gram'"),
        (["content.png", "style.png", "-o", "content.png"], "would be overwritten"),
        (["content.png", "style.png", "--content-mask", "mask.png", "-o", "mask.png"], "would be overwritten"),
        (["content.png", "style.png", "--style-mask", "mask.png", "-o", "mask.png"], "would be overwritten"),
        (["content.png", "style.png", "--start", "other.png", "-o", "other.png"], "would be overwritten"),
        (["content.png", "style.png", "-o", "picture"], "no suffix of an image format"),
        (["content.png", "style.png", "-o", "picture.txt"], "no suffix of an image format"),
        (["content.png", "style.png", "--size", "0"], "size is 0, but must be"),
        (["content.png", "style.png", "--size", "nan"], "size is 'nan', but must be"),
        (["content.png", "style.png", "--lr", "-1"], "lr is -1.0, but must be a finite number above 0"),
        (["content.png", "style.png", "--style-scale", "inf"], "style_scale is inf, but must be a finite number"),
        (["--batch", "batch.json", "-o", "content.png"], "cannot make the folder"),
        (["--batch", "contact.json", "-o", "."], "contact.jpg is an input"),
        (["--batch", "named.json", "--model", "resnet18"], "names the network of every picture"),
        (["--batch", "named.json", "--weights", "default"], "names the network of every picture"),
        (["--batch", "batch.json", "--model", "resnet19"], "has no network 'resnet19'"),
        (["content.png", "style.png", "--style-mask", "mask.png", "--style-mask", "mask.png"], "1 style(s) need"),
        (["content.png", "--batch", "batch.json"], "are in its file"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(files, monkeypatch, arguments, complaint):
    monkeypatch.chdir(files)
    images.save(images.load("content.png"), "contact.jpg")
    write(files / "batch.json", "content.png")
    write(files / "contact.json", "contact.jpg")
    write(files / "named.json", "content.png", model="shapes")
    before = {path: path.read_bytes() for path in files.iterdir()}
    result = stylize(*arguments)
    assert {path: path.read_bytes() for path in files.iterdir()} == before
    assert result.exit_code == 2
    assert complaint in result.output and result.output.count("\n") == 1


@pytest.mark.parametrize(
    "network, complaint",
    [
        ({"model": "resnet19"}, "'resnet18'"),
        ({"model": "resnet18", "weights": "gone.pth"}, "no such file"),
        ({"model": "resnet18", "weights": "defualt"}, "no such file"),
        ({"model": "shapes", "weights": "default"}, "has its own weights"),
    ],
)
def test_networks_that_cannot_be_opened_are_told_before_the_first_picture(files, network, complaint):
    settings = {"usual": {"size": 32, "steps": 1}, "wrong": network}
    write(files / "batch.json", "content.png", settings=settings)
    result = stylize("--batch", files / "batch.json", "-o", files / "out")
    assert result.exit_code == 2 and complaint in result.output
    assert not (files / "out").exists()


@pytest.mark.parametrize("weights", ["pretrained", "random", "default", "IMAGENET1K_V1", __file__])
def test_networks_that_torchvision_has_are_known_without_being_built(monkeypatch, weights):
    monkeypatch.setattr("netlens.zoo.open_network", None)
    check_network("resnet18", weights)


def test_a_batch_in_a_zip_with_its_pictures(files):
    settings = {"usual": {"size": 32, "steps": 2}}
    pairs = [{"content": "content.png", "style": "style.png"}]
    pictures = {name: (files / name).read_bytes() for name in ("content.png", "style.png")}
    (files / "batch.zip").write_bytes(packed(pairs, settings, pictures))
    result = stylize("--batch", files / "batch.zip", "-o", files / "out")
    assert result.exit_code == 0, result.output
    assert images.load(files / "out" / "content-style" / "usual" / "result.jpg").width == 32
    (files / "batch.zip").write_bytes(packed([{"content": "/etc/hosts", "style": "style.png"}], settings, pictures))
    result = stylize("--batch", files / "batch.zip", "-o", files / "out")
    assert result.exit_code == 2
    assert "batch.zip: batch.json: '/etc/hosts' leads out of the folder" in result.output
