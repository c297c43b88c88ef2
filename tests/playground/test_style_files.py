"""The files of the tab Style: batches, contact sheets, and the code of a painting."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from netlens.errors import NetLensError
from netlens.images import load
from netlens.playground import Studio
from netlens.playground import _painting_files as files_module
from netlens.playground import _studio as studio_module
from netlens.playground._painting import Painting, grid, paint
from netlens.playground._painting_code import command, python
from netlens.playground._painting_files import Pack, batch_of, paintings_of, sheet_of
from netlens.visualization.style import BATCH, Outcome
from tests.playground.paintings import QUICK, equal, half, painted


@pytest.fixture(scope="module")
def mask():
    return half()


# batches


def test_a_batch_is_read_back_as_the_same_paintings(studio, mask, tmp_path):
    mine = studio.keep_picture(Image.new("RGB", (50, 40), "teal"), "my/own: picture")
    base = Painting(mine, ("mosaic", "scene 2"), {**QUICK, "start": "scene 3"}, ((mask, None), (None, None)))
    paintings = grid(base, [("statistic", "gram, mean_std"), ("style_weights", "1/2, 2/1")])
    (tmp_path / "batch.zip").write_bytes(batch_of(studio, paintings))
    again = paintings_of(studio, tmp_path / "batch.zip")
    assert len(again) == len(paintings) == 4
    assert all(equal(*pair) for pair in zip(paintings, again, strict=True))
    with zipfile.ZipFile(tmp_path / "batch.zip") as archive:
        whole = json.loads(archive.read(BATCH))
        assert len([name for name in archive.namelist() if name.startswith("mask")]) == 1
    assert whole["model"] == "shapes" and len(whole["pairs"]) == 1 and len(whole["settings"]) == 4


def test_pictures_of_others_are_kept_under_names_of_their_own(studio, tmp_path):
    (tmp_path / "batch.zip").write_bytes(batch_of(studio, [Painting("scene 1", ("mosaic",), QUICK)]))
    with zipfile.ZipFile(tmp_path / "batch.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "orange").save(buffer, "PNG")
    files["scene 1.png"] = buffer.getvalue()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    (painting,) = paintings_of(studio, tmp_path / "other.zip")
    assert painting.styles == ("mosaic",) and painting.content.startswith("scene 1 · ")
    assert studio.picture(painting.content).getpixel((0, 0)) == (255, 165, 0)


def batch(path, **changes):
    pairs = [{"content": "scene 1.png", "style": "scene 2.png"}]
    path.write_text(json.dumps({"pairs": pairs, "settings": {"a": {"steps": 2}}} | changes))
    return path


def test_a_file_without_pictures_names_those_of_the_playground(studio, tmp_path):
    (painting,) = paintings_of(studio, batch(tmp_path / "batch.json"))
    assert (painting.content, painting.styles, painting.settings) == ("scene 1", ("scene 2",), {"steps": 2})
    folder = tmp_path / "photos"
    (folder / "birds").mkdir(parents=True)
    for name in ("a.png", "birds/b.png"):
        Image.new("RGB", (30, 30), "red").save(folder / name)
    folder_studio = Studio(studio.flat, folder=folder)
    named = batch(tmp_path / "own.json", pairs=[{"content": "birds/b.png", "style": "a.png"}])
    (painting,) = paintings_of(folder_studio, named)
    assert (painting.content, painting.styles) == ("birds/b.png", ("a.png",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": [{"content": "/etc/hostname", "style": "scene 1.png"}]}, "leads out of the folder"),
        ({"pairs": [{"content": "scene 1.png", "style": "../../secret.png"}]}, "leads out of the folder"),
        ({"settings": {"a": {"start": "/etc/hostname"}}}, "leads out of the folder"),
        ({"settings": {"a": {"model": "resnet18"}}}, "for the network resnet18"),
        ({"model": "evil.py:run"}, r"for the network evil\.py:run"),
        ({"model": "shapes", "weights": "random"}, r"for the network shapes \(random\)"),
        ({"settings": {"a": {"sise": 3}}}, "sise"),
        ({"pairs": []}, "needs a list of pairs"),
        ({"pairs": [{"content": "gone.png", "style": "scene 1.png"}]}, "does not exist"),
    ],
)
def test_wrong_batches_are_refused_without_a_word_about_folders(studio, tmp_path, changes, message):
    with pytest.raises(NetLensError, match=message) as caught:
        paintings_of(studio, batch(tmp_path / "batch.json", **changes))
    assert str(tmp_path) not in str(caught.value)
    assert "netlens-scenes-" not in str(caught.value)


def test_a_network_of_the_page_is_that_of_settings_without_one(studio, tmp_path):
    other_studio = Studio(studio.flat, "other", "weights.pth")
    (painting,) = paintings_of(other_studio, batch(tmp_path / "batch.json"))
    assert painting.content == "scene 1"
    with pytest.raises(NetLensError, match="for the network shapes"):
        paintings_of(other_studio, batch(tmp_path / "named.json", model="shapes"))


def test_a_batch_of_too_many_pictures_is_refused_before_one_is_read(studio, tmp_path):
    pair = {"content": "gone.png", "style": "gone.png"}
    pairs = [{**pair, "name": str(i)} for i in range(13)]
    many = batch(tmp_path / "batch.json", pairs=pairs, settings={str(i): {"seed": i} for i in range(5)})
    with pytest.raises(NetLensError, match="the batch has 65 pictures, and the page paints up to 64"):
        paintings_of(studio, many)


@pytest.fixture
def decoded(monkeypatch):
    """The pictures that are decoded, in their order."""
    from netlens import images

    files: list[str] = []
    load_of = images.load

    def counted(source, *arguments, **options):
        if isinstance(source, Path):
            files.append(source.name)
        return load_of(source, *arguments, **options)

    monkeypatch.setattr(images, "load", counted)
    return files


@pytest.mark.parametrize(("most", "together", "message"), [(2000, 10**6, "over 2,000 pixels"), (10**6, 5000, "5,000")])
def test_pictures_of_a_batch_are_bounded_before_they_are_decoded(
    studio, tmp_path, monkeypatch, decoded, most, together, message
):
    for name in ("a", "b"):
        Image.new("RGB", (60, 50), "red").save(tmp_path / f"{name}.png")
    with zipfile.ZipFile(tmp_path / "batch.zip", "w") as archive:
        archive.writestr(BATCH, json.dumps({"pairs": [{"content": "a.png", "style": "b.png"}]}))
        for name in ("a.png", "b.png"):
            archive.write(tmp_path / name, name)
    assert len(paintings_of(studio, tmp_path / "batch.zip")) == 1
    decoded.clear()
    monkeypatch.setattr(studio_module, "MOST_PIXELS", most)
    monkeypatch.setattr(files_module, "MOST_TOGETHER", together)
    with pytest.raises(NetLensError, match=message):
        paintings_of(studio, tmp_path / "batch.zip")
    assert decoded == []


def test_a_batch_that_unpacks_to_too_much_is_refused(studio, tmp_path):
    with zipfile.ZipFile(tmp_path / "batch.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(BATCH, "{}")
        for i in range(9):
            archive.writestr(f"{i}.bin", bytes(30 * 2**20))
    with pytest.raises(NetLensError, match="more than 1,000 files and 256 MB"):
        paintings_of(studio, tmp_path / "batch.zip")


def test_a_mask_that_many_jobs_name_is_decoded_and_kept_once(studio, mask, tmp_path, decoded):
    base = Painting("scene 1", ("mosaic",), QUICK, ((mask, mask),))
    (tmp_path / "batch.zip").write_bytes(batch_of(studio, grid(base, [("seed", "1, 2, 3, 4, 5, 6")])))
    paintings = paintings_of(studio, tmp_path / "batch.zip")
    assert len(paintings) == 6 and all(one.masked for one in paintings)
    assert len({id(one) for painting in paintings for pair in painting.masks for one in pair}) == 1
    assert Pack(studio, tuple(paintings)).nbytes < 6000 + 2 * mask.width * mask.height
    assert max(decoded.count(name) for name in decoded) <= 2  # to check the file, and to keep the picture


def test_long_and_strange_settings_are_a_batch_too(studio, tmp_path):
    long = {"content_layers": ["stem.2", "stem.5"], "style_layers": {"stem.2": 0.5, "stem.5": 1.0}}
    name = studio.keep_picture(Image.new("RGB", (48, 48), "teal"), "a" * 40)
    base = Painting("scene 1", ("mosaic",), {**QUICK, "start": name, "color": "luminance", **long})
    axes = [("tv_weight", "0.001, 0.002"), ("loss", "root, squared")]
    for paintings in (grid(base, axes), grid(base, [("style_weights", "1, 2"), *axes[:1]])):
        assert all(len(one.label) > 130 for one in paintings)
        (tmp_path / "batch.zip").write_bytes(batch_of(studio, paintings))
        again = paintings_of(studio, tmp_path / "batch.zip")
        assert all(equal(*pair) for pair in zip(paintings, again, strict=True))


def test_different_names_have_different_folders():
    names = ["a/b", "a:b", "a?b", "a|b", "a-b", "x" * 300, "x" * 301, "ü" * 200, "ü" * 199 + "ä", "", "-"]
    folders = [files_module.folder_name(name) for name in names]
    assert len(set(folders)) == len(names)
    assert all(len(folder.encode()) < 100 and not set(folder) & set("/:?|") for folder in folders)


def test_runs_that_are_no_grid_are_no_batch(studio):
    one, other = Painting("scene 1", ("mosaic",), {"steps": 2}), Painting("scene 2", ("mosaic",), {"steps": 3})
    with pytest.raises(NetLensError, match="no such grid"):
        batch_of(studio, [one, other])


def test_a_contact_sheet_has_a_row_for_each_pair_and_a_column_for_each_of_the_settings(studio):
    runs = [
        painted(studio, content, ("mosaic",), seed=seed)[0] for content in ("scene 1", "scene 2") for seed in (1, 2)
    ]
    sheet = sheet_of(studio, runs)
    narrow = sheet_of(studio, runs[:1])
    assert load(sheet.file("jpg")).size == sheet.picture.size
    assert sheet.picture.width > 1.2 * narrow.picture.width and sheet.picture.height > 1.7 * narrow.picture.height
    with pytest.raises(NetLensError, match="no picture"):
        sheet_of(studio, [])


def test_a_contact_sheet_shows_each_run_however_equal_they_are(studio, monkeypatch):
    all_outcomes: list[Outcome] = []
    sheet = files_module.contact_sheet

    def contact_sheet(outcomes, *rest, **more):
        all_outcomes.extend(outcomes)
        return sheet(outcomes, *rest, **more)

    monkeypatch.setattr(files_module, "contact_sheet", contact_sheet)
    first, _ = painted(studio, "scene 1", ("mosaic",), seed=1)
    again = replace(first, key="again", number=2)
    other = replace(first, key="other", number=3)
    three = sheet_of(studio, [first, again, other])
    assert (
        len({(one.job.pair, one.job.settings) for one in all_outcomes})
        == len({one.folder for one in all_outcomes})
        == 3
    )
    assert three.picture.width > 1.4 * sheet_of(studio, [first]).picture.width


def test_a_contact_sheet_says_how_far_a_run_got_that_was_stopped(studio, monkeypatch):
    all_outcomes: list[Outcome] = []
    sheet = files_module.contact_sheet
    monkeypatch.setattr(
        files_module,
        "contact_sheet",
        lambda outcomes, *rest, **more: (all_outcomes.extend(outcomes), sheet(outcomes, *rest, **more))[1],
    )
    whole, _ = painted(studio, "scene 1", ("mosaic",), seed=1)
    part = replace(whole, key="part", number=2, done=False, step=1)
    sheet_of(studio, [whole, part])
    sheet_of(studio, [part])
    assert [one.job.settings for one in all_outcomes] == [
        "defaults",
        "1 of 3 steps",
        "1 of 3 steps, size 48, scales 1, seed 1",
    ]


# code


def test_the_code_paints_the_same(studio, tmp_path, monkeypatch, mask):
    monkeypatch.chdir(tmp_path)
    for masks in ((), ((None, None), (mask, None))):
        one = Painting("scene 1", ("mosaic", "scene 2"), {**QUICK, "style_weights": [2, 1], "start": "scene 3"}, masks)
        run = paint(studio, one, lambda run: None)
        with zipfile.ZipFile(io.BytesIO(Pack(studio, (one,)).file("zip"))) as archive:
            archive.extractall(tmp_path)
        names: dict[str, object] = {}
        exec(python(studio, one), names)
        assert torch.equal(names["painted"].images, run.render.images)


def test_the_code_names_the_classes_as_the_network_got_them(studio):
    other_studio = Studio(studio.flat, "shapes", classes="names.txt")
    assert "open_network('shapes', classes='names.txt')" in python(other_studio, Painting("scene 1", ("mosaic",)))


def test_the_command_paints_the_same(studio, tmp_path, monkeypatch):
    import shlex

    from tests.cli.commands import run as run_command

    monkeypatch.chdir(tmp_path)
    one = Painting("scene 1", ("mosaic",), {**QUICK, "content_layers": ["stem.2"], "style_weights": [2.0]})
    run = paint(studio, one, lambda run: None)
    with zipfile.ZipFile(io.BytesIO(batch_of(studio, [one]))) as archive:
        archive.extractall(tmp_path)
    note, line = command(studio, one).split("\n")
    assert note == "# in the batch of this run: scene 1.png, mosaic.png"
    result = run_command(*shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
    assert np.array_equal(np.asarray(load(tmp_path / "stylized.png")), np.asarray(run.picture))
