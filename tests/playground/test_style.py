"""What the tab Style computes: paintings, grids and masks, without a page."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from netlens.errors import NetLensError, NetLensWarning
from netlens.interruption import Interrupted, interruptible
from netlens.options import options_of
from netlens.playground import Studio
from netlens.playground import _painting as painting_module
from netlens.playground import _style_tab as tab
from netlens.playground._brush import COLORS, board, masks_of, outdated
from netlens.playground._painting import Painting, Run, grid, label, paint, settings_of, texts_of
from netlens.playground._painting_html import chosen_pictures, detail, growing, table
from netlens.playground._patterns import PATTERNS, SIDE, pattern
from netlens.playground._texts import read
from netlens.results import read_provenance
from netlens.visualization.style import StyleTransfer, stylize
from tests.playground.paintings import QUICK, half, painted, text_of


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    """Show each step, however fast it is."""
    monkeypatch.setattr(painting_module, "PACE", 0)
    monkeypatch.setattr(painting_module, "_SHARE", 0)


@pytest.fixture(scope="module")
def mask():
    return half()


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
    run = studio.painted.get(shown[-1].key)
    assert run is shown[-1]
    assert (run.done, run.step, run.steps) == (False, 2, 50)
    assert set(run.losses) == {"content", "style", "total_variation"}
    assert "stopped after 2 of 50 steps" in table([run], "")
    assert len(run.curve) == 2
    assert Image.open(io.BytesIO(run.file("png"))).size == (48, 48)


def test_a_run_that_reaches_its_target_counts_the_steps_that_it_made(studio):
    run, shown = painted(studio, "scene 1", ("mosaic",), size=96, steps=12, scales=2, target=1e6)
    assert run.done and len(run.curve) == 2  # one step at each of the two sizes
    assert [one.step for one in shown] == [1, 2, 2] and run.steps == 12
    assert "reached its target after 2 of 12 steps" in detail(run, [])
    assert "reached its target after 2 of 12 steps" in table([run], "")


def test_the_curve_of_many_steps_ends_at_the_last_loss(studio):
    run, _ = painted(studio, "scene 1", ("mosaic",), size=32, steps=203)
    assert len(run.curve) == 203
    assert f"to {run.curve[-1]:.3f}" in detail(run, [])


def test_what_a_transfer_warns_of_is_shown_with_its_run(studio):
    with pytest.warns(NetLensWarning, match="the losses did not fall"):
        run, _ = painted(studio, "scene 1", ("mosaic",), size=32, steps=16, lr=50.0, param="pixel")
    assert [text.partition(":")[0] for text in run.doubts] == ["the losses did not fall"]
    assert "The losses did not fall" in detail(run, [])
    good, _ = painted(studio, "scene 1", ("mosaic",), size=32, steps=16)
    assert good.doubts == ()


def test_a_thumbnail_is_made_once_and_counted(studio):
    run, _ = painted(studio, "scene 1", ("mosaic",), size=100)
    before = run.nbytes
    assert run.thumbnail is run.thumbnail and run.thumbnail.size == (72, 72)
    assert run.nbytes == before >= 3 * 72 * 72 + run.render.images.numel() * 4


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
    paintings = grid(base, [("steps", "5, 6,5"), ("statistic", "gram,histogram")])
    assert [(one.settings["steps"], one.settings["statistic"]) for one in paintings] == [
        (5, "gram"),
        (5, "histogram"),
        (6, "gram"),
        (6, "histogram"),
    ]
    assert all(one.settings["size"] == 64 and one.styles == base.styles for one in paintings)
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


def bomb():
    """A PNG of a few bytes whose header names more pixels than Pillow takes."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def test_a_picture_that_would_fill_the_memory_is_no_mask():
    with pytest.raises(NetLensError, match="cannot be read"):
        masks_of("data:image/png;base64," + base64.b64encode(bomb()).decode(), 1)


def test_what_was_painted_for_a_style_is_never_the_mask_of_another():
    picture = Image.new("RGBA", (60, 40))
    ImageDraw.Draw(picture).rectangle((0, 0, 29, 39), fill=COLORS[1])
    text = text_of(picture)
    before = ["a", "b", "c"]
    for now in (["b", "c"], ["a", "c"], ["a"], ["b", "a", "c"], []):
        assert outdated(text, before, now)
    for now in (["a", "b"], ["a", "b", "c", "d"], ["x", "b", "c"]):
        assert not outdated(text, before, now)  # the style that was painted has kept its color
    assert not outdated("", before, ["b"])
    assert outdated("wrong", before, before)
    assert board(Image.new("RGB", (4, 4)), "why") != board(Image.new("RGB", (4, 4)), "why")  # an empty canvas each time


def test_a_mask_leaves_the_rest_of_the_content_alone(studio, mask):
    run = paint(studio, Painting("scene 1", ("mosaic",), {**QUICK, "steps": 30}, ((mask, None),)), lambda run: None)
    content = np.asarray(studio.picture("scene 1").resize((48, 48)), dtype=float)
    change = np.abs(np.asarray(run.picture, dtype=float) - content).mean((0, 2))
    assert change[:20].mean() > 1.5 * change[28:].mean()


# HTML


def test_names_of_pictures_are_no_html(studio):
    name = "<b>x</b>"
    studio.uploads.put(name, Image.new("RGB", (48, 48), "teal"))
    run, shown = painted(studio, "scene 1", (name,))
    for text in (table([run], run.key), detail(run, []), chosen_pictures(studio, name, (name,))):
        assert "<b>x" not in text and "&lt;b&gt;x" in text
    assert 'aria-valuenow="1"' in growing(shown[0], (0, 2))
    assert "<canvas width=" in board(studio.picture(name))


def test_the_table_names_settings_and_losses_and_marks_the_chosen_run(studio):
    run, _ = painted(studio, "scene 1", ("mosaic",), statistic="mean_std")
    other, _ = painted(studio, "scene 2", ("mosaic",))
    other = replace(other, number=7)
    text = table([run, other], run.key)
    assert "<span>1</span>" in text and "<span>7</span>" in text and "Run 7: " in detail(other, [])
    assert text.index(other.key) < text.index(run.key)  # the newest first
    assert f'data-say="{run.key}" aria-current="true"' in text and text.count("aria-current") == 1
    assert "statistic mean_std" in text and f"{run.losses['style']:.3f}" in text
    full = detail(run, [("PNG", "style/x.png")])
    assert all(one.name.replace("_", " ") in full for one in options_of(StyleTransfer) if one.name != "stop")
    assert "<b>mean_std</b>" in full and 'href="style/x.png" download' in full


def test_what_is_kept_is_bounded(studio):
    run, _ = painted(studio, "scene 1", ("mosaic",))
    new_studio = Studio(studio.flat)
    new_studio.painted._most = 3 * run.nbytes
    for number in range(20):
        new_studio.painted.put(number, run)
    assert len(new_studio.painted) == 3
