"""The commands that make pictures: what they write, and every wrong thing that a person may type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image

from netlens.results import read_provenance
from netlens.visualization import NetDreamer
from netlens.world.scene import scene
from tests.cli.commands import failed, run

LAYER = "stem"


@pytest.fixture(autouse=True)
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scene(3, label=4).image[:, :96]).save("photo.png")


def wrote(result: Result, path: str) -> Image.Image:
    assert result.exit_code == 0, result.output
    assert result.stdout == f"wrote {path}\n"
    return Image.open(path)


def visualize(target: str, *options: str) -> Result:
    return run("visualize", "shapes", target, "--steps", "2", "--size", "32", *options)


@pytest.mark.parametrize(
    ("target", "options", "objective"),
    [
        (f"{LAYER}:0", [], f"channel('{LAYER}', [0])"),
        (f"{LAYER}:3", ["--at", "middle"], f"neuron('{LAYER}', [3])"),
        (f"{LAYER}:3", ["--at", "1,2"], f"neuron('{LAYER}', [3], y=1, x=2)"),
        (f"{LAYER}:3", ["--negative"], f"-channel('{LAYER}', [3])"),
        ("class:striped disc", [], "logit([0]) + log_probability([0])"),
        ("class:4", ["--param", "maco"], "logit([4]) + log_probability([4])"),
        (LAYER, ["--param", "cppn"], f"layer('{LAYER}')"),
    ],
)
def test_visualize_writes_one_picture_of_the_size_asked_for(target: str, options: list[str], objective: str) -> None:
    assert wrote(visualize(target, "-o", "out.png", *options), "out.png").size == (32, 32)
    made_by = read_provenance("out.png")
    assert made_by.objective == objective and made_by.options["steps"] == 2 and made_by.network == "shapes"


@pytest.mark.parametrize(
    ("target", "options", "count"),
    [
        (f"{LAYER}:0,1,2", [], 3),
        (f"{LAYER}:5", ["--both"], 2),
        (f"{LAYER}:5", ["--diverse", "3"], 3),
        ("class:striped disc,3", [], 2),
        (f"{LAYER}:5", ["--images", "."], 2),
    ],
)
def test_visualize_writes_several_side_by_side(target: str, options: list[str], count: int) -> None:
    drawn = wrote(visualize(target, "-o", "out.png", *options), "out.png")
    assert count * 0.6 < drawn.width / drawn.height < count


def test_visualize_makes_a_film_of_the_steps() -> None:
    film = wrote(visualize(f"{LAYER}:0,1", "--steps", "64", "-o", "film.gif"), "film.gif")
    assert film.n_frames == 33 and film.size == (2 * 32 + 4, 32)
    failed(visualize(f"{LAYER}:0", "--both", "-o", "film.gif"), "--both", ".png")


def test_visualize_shows_crops_of_a_folder_or_whole_images() -> None:
    Path("folder").mkdir()
    Image.open("photo.png").resize((64, 160)).save("folder/tall.png")  # a crop of it is square
    crop, whole = (
        wrote(visualize(f"{LAYER}:0", "--images", "folder", "-o", "out.png", *more), "out.png").convert("RGB")
        for more in ([], ["--whole"])
    )
    assert crop.size != whole.size or (np.asarray(crop) != np.asarray(whole)).any()


def test_the_default_name_says_what_it_shows() -> None:
    wrote(visualize("class:striped disc"), "shapes-class-striped-disc.png")
    Path("folder").mkdir()
    wrote(visualize(LAYER, "-o", "folder"), f"folder/shapes-{LAYER}.png")


def test_same_seed_same_picture() -> None:
    pictures = []
    for seed in ("1", "1", "2"):
        visualize(f"{LAYER}:0", "--seed", seed, "-o", "out.png")
        pictures.append(np.asarray(Image.open("out.png")))
    assert (pictures[0] == pictures[1]).all() and (pictures[0] != pictures[2]).any()


def test_dream_keeps_the_size_of_its_image() -> None:
    options = ["--layer", LAYER, "--octaves", "2", "--steps", "2"]
    photo = np.asarray(Image.open("photo.png")).astype(int)
    dreamed = np.asarray(wrote(run("dream", "photo.png", *options), "photo-dream.png")).astype(int)
    assert dreamed.shape == photo.shape and 1 < np.abs(dreamed - photo).mean() < 30
    small = wrote(run("dream", "photo.png", *options, "--size", "64", "-o", "small.png"), "small.png")
    assert small.size == (48, 64)
    wrote(run("dream", "photo.png", "--layer", f"{LAYER}:0", "--octaves", "1", "-o", "c.png"), "c.png")
    assert "channel" in read_provenance("c.png").objective
    wrote(run("dream", "photo.png", *options, "--towards", "small.png", "-o", "g.png"), "g.png")
    assert "guide" in read_provenance("g.png").objective


def test_dream_makes_a_film() -> None:
    options = ["--layer", LAYER, "--octaves", "1", "--steps", "1", "--size", "64", "--zoom", "3"]
    film = wrote(run("dream", "photo.png", *options), "photo-dream.gif")
    assert film.n_frames == 3 and film.size == (48, 64)


def test_invert_and_atlas_draw_strips() -> None:
    options = ["--steps", "2", "--size", "48"]
    two = wrote(run("invert", "photo.png", "--layer", f"{LAYER},trunk_output.block1", *options), "photo-inverted.png")
    one = wrote(run("invert", "photo.png", "--layer", LAYER, "--caricature", *options), "photo-caricature.png")
    assert two.width > 1.3 * one.width
    pixels = wrote(run("invert", "photo.png", "--layer", LAYER, "--param", "pixel", *options, "-o", "p.png"), "p.png")
    assert pixels.size == one.size
    grid = ["--layer", "trunk_output.block2", "--cell-size", "16", "--steps", "1"]
    wrote(run("atlas", "photo.png", *grid, "--cells", "3"), "photo-atlas.png")
    groups = wrote(run("atlas", "photo.png", *grid, "--groups", "2", "-o", "groups.png"), "groups.png")
    assert groups.width > groups.height


WRONG: list[tuple[list[str], list[str]]] = [
    (["visualize", "shapes", "stemm:0"], ["stemm", "Closest"]),
    (["visualize", "shapes", f"{LAYER}:99"], ["99", "channels are 0 to"]),
    (["visualize", "shapes", f"{LAYER}:-1"], ["whole numbers", "-1"]),
    (["visualize", "shapes", f"{LAYER}:1,x"], ["whole numbers"]),
    (["visualize", "shapes", "class:giraffe"], ["giraffe"]),
    (["visualize", "shapes", "class:99"], ["99"]),
    (["visualize", "shapes", "class:"], ["class:"]),
    (["visualize", "shapez", LAYER], ["shapez"]),
    (["visualize", "alexnet", "features.0:1", "--weights", "none.pth"], ["none.pth"]),
    (["visualize", "shapes", f"{LAYER}:1", "--both", "--negative"], ["--negative", "--both"]),
    (["visualize", "shapes", LAYER, "--both"], ["--both", "channel"]),
    (["visualize", "shapes", f"{LAYER}:1,2", "--diverse", "3"], ["one channel"]),
    (["visualize", "shapes", f"{LAYER}:1", "--at", "9,900"], ["900"]),
    (["visualize", "shapes", f"{LAYER}:1", "--at", "9"], ["--at"]),
    (["visualize", "shapes", f"{LAYER}:1", "--images", "nowhere"], ["nowhere"]),
    (["visualize", "shapes", f"{LAYER}:1", "-o", "no/out.png"], ["no"]),
    (["visualize", "shapes", f"{LAYER}:1", "--images", ".", "-o", "photo.png"], ["photo.png", "overwritten"]),
    (["visualize", "shapes", f"{LAYER}:1", "--images", ".", "-o", "./sub/../photo.png"], ["overwritten"]),
    (["visualize", "shapes", f"{LAYER}:1", "-k", "3"], ["-k", "--images"]),
    (["visualize", "shapes", f"{LAYER}:1", "--size", "3000000"], ["pixels", "size"]),
    (["visualize", "shapes", f"{LAYER}:1", "--size", "10000000000"], ["pixels", "size"]),
    (["dream", "photo.png", "--layer", LAYER, "--factor", "1.1"], ["--factor", "--zoom"]),
    (["dream", "photo.png", "--layer", LAYER, "--scale", "nan"], ["scale", "finite"]),
    (["invert", "photo.png", "--layer", LAYER, "--alpha", "nan"], ["alpha", "finite"]),
    (["invert", "photo.png", "--layer", LAYER, "--variation", "inf"], ["variation", "finite"]),
    (["atlas", "photo.png", "--layer", LAYER, "--groups", "2", "--cells", "3"], ["--groups", "--cells"]),
    (["visualize", "shapes", f"{LAYER}:1", "-o", "out.jpg"], ["out.jpg", "PNG"]),
    (["dream", "missing.png", "--layer", LAYER], ["missing.png"]),
    (["dream", "text.jpg", "--layer", LAYER], ["text.jpg"]),
    (["dream", "photo.png", "--layer", "layer9"], ["layer9", "Closest"]),
    (["dream", "photo.png", "--layer", f"{LAYER}:900"], ["900"]),
    (["dream", "photo.png", "--layer", LAYER, "-o", "photo.png"], ["photo.png", "overwritten"]),
    (["dream", "photo.png", "--layer", LAYER, "--octaves", "0"], ["octave"]),
    (["dream", "photo.png", "--layer", LAYER, "--tile", "4"], ["32"]),
    (["dream", "photo.png", "--layer", LAYER, "--zoom", "2", "-o", "out.png"], ["GIF"]),
    (["dream", "photo.png", "--layer", f"{LAYER}:1", "--towards", "photo.png"], ["--towards"]),
    (["invert", "photo.png", "--layer", f"{LAYER},nothing"], ["nothing"]),
    (["invert", "photo.png", "--layer", ","], ["--layer"]),
    (["invert", "missing.png", "--layer", LAYER], ["missing.png"]),
    (["invert", "photo.png", "--layer", LAYER, "--caricature", "--alpha", "1"], ["--alpha"]),
    (["atlas", "photo.png", "--layer", "nothing"], ["nothing"]),
    (["atlas", "photo.png", "--layer", LAYER, "--groups", "0"], ["groups"]),
    (["atlas", "missing.png", "--layer", LAYER], ["missing.png"]),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_input_is_one_line_and_exit_code_2(arguments: list[str], words: list[str]) -> None:
    Path("text.jpg").write_text("hello")
    Path("sub").mkdir()
    before = {path: path.read_bytes() for path in Path().glob("*.*")}
    failed(run(*arguments), *words)
    assert {path: path.read_bytes() for path in Path().glob("*.*")} == before


def test_too_little_memory_is_said_with_what_to_do(monkeypatch):
    def full(*arguments, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(NetDreamer, "channel", full)
    failed(run("visualize", "shapes", f"{LAYER}:1"), "memory", "--size")


def test_an_interrupt_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("netlens.visualization._ascent.Ascent.step", interrupted)
    result = visualize(f"{LAYER}:0")
    assert result.exit_code == 1 and "Aborted" in result.output + result.stderr
    assert [path.name for path in Path().iterdir()] == ["photo.png"]


def test_random_weights_and_broken_images_are_said() -> None:
    Path("text.jpg").write_text("hello")
    result = visualize(f"{LAYER}:0", "--images", ".", "-o", "out.png")
    assert result.exit_code == 0 and "note: 1 of 2 files were skipped: text.jpg" in result.stderr
    result = run(
        *("dream", "photo.png", "--layer", "features.0", "--model", "squeezenet1_1", "--weights", "random"),
        *("--octaves", "1", "--steps", "1"),
    )
    assert result.exit_code == 0 and "squeezenet1_1 has random weights" in result.stderr


def test_a_folder_that_cannot_be_written_into_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # the tests may run as root, whom no permission stops
    monkeypatch.setattr("netlens.zoo.open_network", lambda *_: pytest.fail("opened"))
    failed(visualize(f"{LAYER}:0", "-o", "out.png"), "out.png")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]
)
def test_a_lack_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def greedy(*_: object) -> None:
        raise error

    monkeypatch.setattr("netlens.visualization._ascent.Ascent.step", greedy)
    failed(visualize(f"{LAYER}:0"), "not enough memory", "--size")


def test_suffixes_may_be_in_capitals() -> None:
    assert wrote(visualize(f"{LAYER}:0", "-o", "out.PNG"), "out.PNG").size == (32, 32)
    wrote(visualize(f"{LAYER}:0", "--images", ".", "-k", "1", "-o", "row.PNG"), "row.PNG")
    film = ["--octaves", "1", "--steps", "1", "--size", "64", "--zoom", "2", "-o", "film.GIF"]
    assert wrote(run("dream", "photo.png", "--layer", LAYER, *film), "film.GIF").n_frames == 2
    grid = ["--layer", "trunk_output.block2", "--cell-size", "16", "--steps", "1", "--cells", "1", "-o", "atlas.PNG"]
    wrote(run("atlas", "photo.png", *grid), "atlas.PNG")


def test_random_weights_are_the_same_each_time_and_touch_no_generator() -> None:
    state = torch.get_rng_state()
    for name in ("one.png", "two.png"):
        options = ["--weights", "random", "--steps", "1", "--size", "32", "-o", name]
        result = run("visualize", "squeezenet1_1", "features.0:0", *options)
        assert result.exit_code == 0 and "random weights (seed 0)" in result.stderr
        assert torch.equal(torch.get_rng_state(), state)
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()


def test_a_film_of_a_dead_layer_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "netlens.visualization._tiles.Tiled.__call__", lambda self, image: (image.sum() * 0, torch.zeros_like(image))
    )
    result = run("dream", "photo.png", "--layer", LAYER, "--octaves", "1", "--steps", "1", "--zoom", "3")
    assert result.exit_code == 0 and result.stderr.count("note: the gradient of layer(") == 1
