"""`netlens stylize`: one picture, regions, a batch, and mistakes in one line."""

import json

import pytest
import torch
from click.testing import CliRunner

from netlens import images
from netlens.cli import main
from netlens.results import read_provenance

QUICK = ["--size", "32x40", "--steps", "2"]


@pytest.fixture
def files(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for name in ("content", "style", "other"):
        coarse = torch.rand(1, 3, 4, 4, generator=generator)
        images.save(torch.nn.functional.interpolate(coarse, (40, 48))[0], tmp_path / f"{name}.png")
    images.save((torch.arange(48) < 24).float().expand(1, 40, 48), tmp_path / "mask.png")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, ["stylize", *map(str, arguments)])


def test_a_picture_with_its_provenance(files):
    layers = "stem.2:0.5,trunk_output.block1.block1-0.activation"
    out = files / "out.png"
    options = ["--style-layers", layers, "--style-weights", "1,3", "--colour", "luminance", "--optimiser", "lbfgs"]
    result = run(files / "content.png", files / "style.png", files / "other.png", *options, *QUICK, "-o", out)
    assert result.exit_code == 0, result.output
    assert images.load(out).size == (40, 32)
    made_by = read_provenance(out)
    assert made_by.network == "shapes"
    assert made_by.options["style_layers"] == {"stem.2": 0.5, "trunk_output.block1.block1-0.activation": 1.0}
    assert "content: 0.0000 at the content" in result.output and f"wrote {out}" in result.output


def test_masks_change_the_picture(files):
    pictures = files / "content.png", files / "style.png"
    for name, options in (("all.png", []), ("part.png", ["--content-mask", files / "mask.png"])):
        assert run(*pictures, *options, *QUICK, "-o", files / name).exit_code == 0
    assert (files / "all.png").read_bytes() != (files / "part.png").read_bytes()


def test_a_batch_with_its_contact_sheet(files):
    settings = {"usual": {"size": 32, "steps": 2}, "tokens": {"size": 32, "steps": 1, "model": "shapes_vit"}}
    batch = {"pairs": [{"content": "content.png", "style": "style.png"}], "settings": settings}
    (files / "batch.json").write_text(json.dumps(batch))
    out = files / "out"
    first, second = (run("--batch", files / "batch.json", "-o", out) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.output.count("made ") == 2 and second.output.count("skipped ") == 2
    assert (out / "content-style" / "usual" / "result.jpg").is_file()
    assert images.load(out / "contact.jpg").width > 3 * 200


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["content.png"], "give a content picture and a style"),
        (["content.png", "gone.png"], "gone.png does not exist"),
        (["content.png", "style.png", "--size", "big"], "the sides of --size are whole numbers"),
        (["content.png", "style.png", "--style-layers", "stem.2:x"], "takes numbers"),
        (["content.png", "style.png", "--style-layers", "stem.9"], "stem.2"),
        (["content.png", "style.png", "--statistic", "grams"], "statistic 'grams' is unknown"),
        (["content.png", "style.png", "-o", "content.png"], "would be overwritten"),
        (["content.png", "style.png", "--style-mask", "mask.png", "--style-mask", "mask.png"], "1 style(s) take"),
        (["content.png", "--batch", "batch.json"], "stand in its file"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(files, monkeypatch, arguments, complaint):
    monkeypatch.chdir(files)
    result = run(*arguments)
    assert result.exit_code == 2
    assert complaint in result.output and result.output.count("\n") == 1
