"""What the tab Style computes: paintings, grids, masks, batches and contact sheets, without a page."""

from __future__ import annotations

import base64
import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from netlens.errors import NetLensError
from netlens.images import load
from netlens.interruption import Interrupted, interruptible
from netlens.options import options_of
from netlens.playground import Studio
from netlens.playground import _painting as painting_module
from netlens.playground import _style_tab as tab
from netlens.playground._brush import COLORS, board, masks_of
from netlens.playground._painting import Painting, Run, grid, label, paint, settings_of, texts_of
from netlens.playground._painting_code import command, python
from netlens.playground._painting_files import Pack, batch_of, paintings_of, sheet_of
from netlens.playground._painting_html import chosen_pictures, detail, growing, table
from netlens.playground._patterns import PATTERNS, SIDE, pattern
from netlens.playground._texts import read
from netlens.results import read_provenance
from netlens.visualization.style import BATCH, StyleTransfer, stylize

QUICK = {"size": 48, "steps": 3, "scales": 1}


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    """Show each step, however fast it is."""
    monkeypatch.setattr(painting_module, "PACE", 0)
    monkeypatch.setattr(painting_module, "_SHARE", 0)


def painted(studio, *arguments, **settings):
    shown: list[Run] = []
    run = paint(studio, Painting(*arguments, {**QUICK, **settings}), shown.append)
    return run, shown


@pytest.fixture(scope="module")
def mask():
    picture = Image.new("L", (40, 40))
    ImageDraw.Draw(picture).rectangle((0, 0, 19, 39), fill=255)
    return picture


# painting


def test_a_painting_grows_and_ends_as_the_library_paints_it(studio):
    run, shown = painted(studio, "scene 1", ("mosaic",))
    assert [one.step for one in shown] == [1, 2, 3, 3]
    assert [one.done for one in shown] == [False, False, False, True]
    assert len({one.key for one in shown}) == 1
    pictures = studio.picture("scene 1"), studio.picture("mosaic")
    plain = stylize(studio.flat, *pictures, progress=False, **QUICK)
    assert torch.equal(run.render.images, plain.images)
    assert run.losses == {name: loss["end"] for name, loss in plain.provenance.options["losses"].items()}
    torch.testing.assert_close(torch.tensor(run.curve), -plain.history[:, 0])
    assert studio.painted.get(run.key) is run


def test_what_was_shown_last_is_kept_when_a_painting_is_stopped(studio):
    shown: list[Run] = []
    with pytest.raises(Interrupted), interruptible(lambda: len(shown) >= 2):
        paint(studio, Painting("scene 1", ("mosaic",), {**QUICK, "steps": 50}), shown.append)
    kept = studio.painted.get(shown[-1].key)
    assert kept is shown[-1]
    assert (kept.done, kept.step, kept.steps) == (False, 2, 50)
    assert set(kept.losses) == {"content", "style", "total_variation"}
    assert "stopped after 2 of 50 steps" in table([kept], "")
    assert Image.open(io.BytesIO(kept.file("png"))).size == (48, 48)


def test_a_picture_is_saved_with_its_provenance(studio, tmp_path):
    run, _ = painted(studio, "scene 1", ("dots",), statistic="mean_std")
    (tmp_path / "run.png").write_bytes(run.file("png"))
    assert read_provenance(tmp_path / "run.png") == run.render.provenance
    assert run.file("zip") is None


def test_a_result_is_the_next_start(studio):
    first, _ = painted(studio, "scene 1", ("mosaic",))
    name = studio.keep_picture(first.picture, "run 1")
    second, _ = painted(studio, "scene 1", ("mosaic",), start=name, steps=1, transforms="none", lr=1e-9)
    difference = np.abs(np.asarray(second.picture, dtype=int) - np.asarray(first.picture, dtype=int))
    assert difference.max() <= 2  # a step with a rate of nearly 0 stays at the start
    assert second.painting.pictures == ["scene 1", "mosaic", name]


def test_pictures_and_settings_that_make_no_sense_are_refused(studio):
    for arguments, settings, message in (
        (("scene 99", ("mosaic",)), {}, "scene 99 is not here"),
        (("scene 1", ("../x.png",)), {}, "is not here"),
        (("scene 1", ("mosaic",)), {"start": "gone"}, "gone is not here"),
        (("scene 1", ("mosaic",)), {"size": 0}, "size is 0"),
        (("scene 1", ("mosaic",) * 7), {}, "choose up to 6"),
        (("scene 1", ("mosaic",)), {"style_weights": [1, 2]}, "1 style.s. need 1 style_weights"),
    ):
        with pytest.raises(NetLensError, match=message):
            painted(studio, *arguments, **settings)


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_are_always_the_same_colorful_pictures(studio, name):
    picture = studio.picture(name)
    assert picture.size == (SIDE, SIDE) and picture.mode == "RGB"
    assert np.array_equal(np.asarray(PATTERNS[name]()), np.asarray(pattern(name)))
    assert np.asarray(picture).reshape(-1, 3).std(0).min() > 25
    assert not studio.is_upload(name)


# settings


def test_texts_are_settings_and_back():
    texts = {
        "size": "32x48",
        "style_weights": "2/1",
        "color": "luminance",
        "style_layers": "stem.2:0.5/stem.5:1",
        "steps": "200",
        "lr": "none",
    }
    settings = settings_of(texts)
    assert settings["size"] == [32, 48] and settings["style_weights"] == [2.0, 1.0]
    assert "steps" not in settings and "lr" not in settings  # these are the defaults
    assert settings_of(texts_of(settings)) == settings
    assert settings_of({"style_weights": "2,1"})["style_weights"] == [2.0, 1.0]
    StyleTransfer(**settings)
    assert label({"size": 32, "tv_weight": 1.5}) == "size 32, tv weight 1.5"
    with pytest.raises(NetLensError, match="no option 'sise'"):
        settings_of({"sise": "3"})


def test_every_option_of_a_style_transfer_has_exactly_one_field():
    grouped = [name for group in tab.GROUPS.values() for name in group]
    assert sorted([*tab.FIRST, *grouped, "start", "stop"]) == sorted(one.name for one in options_of(StyleTransfer))


def test_the_settings_at_the_start_are_valid():
    settings = settings_of({name.partition(".")[2]: text for name, text in read(tab.BEGIN).items()})
    StyleTransfer(**settings)
    assert set(settings) == {"steps", "size"}


# grids


def test_a_grid_holds_all_combinations_once(studio):
    base = Painting("scene 1", ("mosaic", "dots"), {"size": 64, "style_weights": [2, 1]})
    found = grid(base, [("steps", "5, 6,5"), ("statistic", "gram,histogram")])
    assert [(one.settings["steps"], one.settings["statistic"]) for one in found] == [
        (5, "gram"),
        (5, "histogram"),
        (6, "gram"),
        (6, "histogram"),
    ]
    assert all(one.settings["size"] == 64 and one.styles == base.styles for one in found)
    weights = grid(base, [("style_weights", "1/2, 2/1"), ("", "")])
    assert [one.settings["style_weights"] for one in weights] == [[1.0, 2.0], [2.0, 1.0]]
    alone = grid(base, [("steps", "5, 6")], apart=True)
    assert [(one.styles, one.settings["steps"]) for one in alone] == [
        (("mosaic",), 5),
        (("mosaic",), 6),
        (("dots",), 5),
        (("dots",), 6),
    ]
    assert all("style_weights" not in one.settings for one in alone)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([("steps", "5, many")], "steps is 'many'"),
        ([("steps", "5"), ("steps", "6")], "twice"),
        ([("sise", "5")], "no option"),
        ([("seed", ",".join(map(str, range(65))))], "65 pictures"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_is_painted(axes, message):
    with pytest.raises(NetLensError, match=message):
        grid(Painting("scene 1", ("mosaic",)), axes)


# masks


def text_of(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_a_color_over_the_content_is_the_mask_of_its_style():
    picture = Image.new("RGBA", (60, 40))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, 29, 39), fill=COLORS[0])
    pen.rectangle((30, 0, 44, 39), fill=COLORS[2])
    pen.rectangle((45, 0, 59, 39), fill=(*Image.new("RGB", (1, 1), COLORS[2]).getpixel((0, 0)), 90))  # a faint edge
    masks = masks_of(text_of(picture), 3)
    first, second, third = (pair[0] for pair in masks)
    assert second is None and all(pair[1] is None for pair in masks)
    assert np.array_equal(np.asarray(first) == 255, np.arange(60)[None].repeat(40, 0) < 30)
    assert (np.asarray(third) == 255).sum() == 15 * 40
    assert masks_of(text_of(Image.new("RGBA", (60, 40))), 2) == masks_of("", 2) == ()


@pytest.mark.parametrize(
    "text", ["x", "data:image/png;base64,!!", "data:image/png;base64,AAAA", "data:image/svg+xml,<svg>"]
)
def test_a_text_that_the_page_does_not_write_is_refused(text):
    with pytest.raises(NetLensError, match="cannot be read"):
        masks_of(text, 1)
    with pytest.raises(NetLensError, match="cannot be read"):
        masks_of(text_of(Image.new("RGBA", (5000, 10))), 1)


def test_a_mask_leaves_the_rest_of_the_content_alone(studio, mask):
    run = paint(studio, Painting("scene 1", ("mosaic",), {**QUICK, "steps": 30}, ((mask, None),)), lambda run: None)
    content = np.asarray(studio.picture("scene 1").resize((48, 48)), dtype=float)
    change = np.abs(np.asarray(run.picture, dtype=float) - content).mean((0, 2))
    assert change[:20].mean() > 1.5 * change[28:].mean()


# batches


def equal(one, other):
    """Whether two paintings paint the same."""
    if [None if m is None else m.tobytes() for p in one.masks for m in p] != [
        None if m is None else m.tobytes() for p in other.masks for m in p
    ]:
        return False
    names = (one.content, one.styles, one.start) == (other.content, other.styles, other.start)
    return names and one.transfer() == other.transfer()


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
    (found,) = paintings_of(studio, tmp_path / "other.zip")
    assert found.styles == ("mosaic",) and found.content.startswith("scene 1 · ")
    assert studio.picture(found.content).getpixel((0, 0)) == (255, 165, 0)


def batch(path, **changes):
    pairs = [{"content": "scene 1.png", "style": "scene 2.png"}]
    path.write_text(json.dumps({"pairs": pairs, "settings": {"a": {"steps": 2}}} | changes))
    return path


def test_a_file_without_pictures_names_those_of_the_playground(studio, tmp_path):
    (found,) = paintings_of(studio, batch(tmp_path / "batch.json"))
    assert (found.content, found.styles, found.settings) == ("scene 1", ("scene 2",), {"steps": 2})
    folder = tmp_path / "photos"
    (folder / "birds").mkdir(parents=True)
    for name in ("a.png", "birds/b.png"):
        Image.new("RGB", (30, 30), "red").save(folder / name)
    own = Studio(studio.flat, folder=folder)
    named = batch(tmp_path / "own.json", pairs=[{"content": "birds/b.png", "style": "a.png"}])
    (found,) = paintings_of(own, named)
    assert (found.content, found.styles) == ("birds/b.png", ("a.png",))


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
    own = Studio(studio.flat, "other", "weights.pth")
    (found,) = paintings_of(own, batch(tmp_path / "batch.json"))
    assert found.content == "scene 1"
    with pytest.raises(NetLensError, match="for the network shapes"):
        paintings_of(own, batch(tmp_path / "named.json", model="shapes"))


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


# HTML


def test_names_of_pictures_are_no_html(studio):
    name = "<b>x</b>"
    studio.uploads.put(name, Image.new("RGB", (48, 48), "teal"))
    run, shown = painted(studio, "scene 1", (name,))
    for text in (table([run], run.key), detail(run, 1, []), chosen_pictures(studio, name, (name,))):
        assert "<b>x" not in text and "&lt;b&gt;x" in text
    assert 'aria-valuenow="1"' in growing(shown[0], (0, 2))
    assert "<canvas width=" in board(studio.picture(name))


def test_the_table_names_settings_and_losses_and_marks_the_chosen_run(studio):
    run, _ = painted(studio, "scene 1", ("mosaic",), statistic="mean_std")
    other, _ = painted(studio, "scene 2", ("mosaic",))
    text = table([run, other], run.key)
    assert text.index(other.key) < text.index(run.key)  # the newest first
    assert f'data-say="{run.key}" aria-current="true"' in text and text.count("aria-current") == 1
    assert "statistic mean_std" in text and f"{run.losses['style']:.3f}" in text
    full = detail(run, 1, [("PNG", "style/x.png")])
    assert all(one.name.replace("_", " ") in full for one in options_of(StyleTransfer) if one.name != "stop")
    assert "<b>mean_std</b>" in full and 'href="style/x.png" download' in full


def test_what_is_kept_is_bounded(studio):
    run, _ = painted(studio, "scene 1", ("mosaic",))
    own = Studio(studio.flat)
    own.painted._most = 3 * run.nbytes
    for number in range(20):
        own.painted.put(number, run)
    assert len(own.painted) == 3
