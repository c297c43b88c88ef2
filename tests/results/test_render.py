"""What was rendered is kept as it is: in memory, as a picture, as a film, and in a file without pickle."""

import io
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from PIL import Image

from netlens.heatmaps import ResultError
from netlens.results import Provenance, Render, State, read_provenance, storage
from netlens.results.row import row
from netlens.show import sheet

MADE_BY = Provenance("OptVis", "resnet50", "logit([1, 7])", targets=(1, 7), target_names=("owl, bird", "cat"))


def render(n=2, channels=3, height=10, width=13, **more):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n, channels, height, width, generator=generator)
    made_by = MADE_BY if n == 2 else Provenance("OptVis", "resnet50", "channel('layer3', 0)")
    return Render(images, torch.rand(5, n, generator=generator), tuple(range(n)), made_by, **more)


def as_pixels(images):
    return (images * 255).round().byte().movedim(-3, -1).numpy()


def state():
    memory = {
        "step": torch.tensor(3.0),
        "old_dirs": [torch.ones(2), torch.zeros(2)],
        "t": 0.5,
        "prev_loss": None,
        "n_iter": 7,
    }
    return State(3, (torch.rand(2, 4),), torch.rand(3, 2), ({0: memory}, {0: {}}), torch.tensor([True, False]))


def test_one_picture_is_saved_pixel_for_pixel(tmp_path):
    r = render(1)
    path = r.save(tmp_path / "one.png")
    assert np.array_equal(np.array(Image.open(path)), as_pixels(r.images[0]))
    assert read_provenance(path) == r.provenance
    assert [file.name for file in tmp_path.iterdir()] == ["one.png"]


@pytest.mark.parametrize(("n", "columns", "across"), [(2, None, 2), (5, None, 3), (5, 2, 2), (4, None, 2), (3, 9, 3)])
def test_a_grid_holds_each_picture_pixel_for_pixel_on_white(tmp_path, n, columns, across):
    r = render(n)
    pixels = np.array(Image.open(r.save(tmp_path / "grid.png", columns=columns)))
    down = -(-n // across)
    assert pixels.shape == (down * 14 - 4, across * 17 - 4, 3)
    white = np.full_like(pixels, 255)
    for i, image in enumerate(as_pixels(r.images)):
        y, x = i // across * 14, i % across * 17
        assert np.array_equal(pixels[y : y + 10, x : x + 13], image)
        white[y : y + 10, x : x + 13] = image
    assert np.array_equal(pixels, white)


def test_transparency_is_kept_alone_and_laid_on_white_in_grids(tmp_path):
    alone = np.array(Image.open(render(1, 4).save(tmp_path / "alone.png")))
    assert alone.shape == (10, 13, 4)
    r = render(2, 4)
    r.images[:, 3] = 0
    assert (np.array(Image.open(r.save(tmp_path / "grid.png"))) == 255).all()
    gray = np.array(Image.open(render(1, 1).save(tmp_path / "gray.png")))
    assert gray.shape == (10, 13)


def test_everything_comes_back_from_a_file_to_the_bit(tmp_path):
    frames = (torch.rand(2, 3, 5, 5), torch.rand(2, 3, 10, 13))
    r = render(frames=frames, state=state())
    back = Render.load(r.save(tmp_path / "all.safetensors"))
    assert torch.equal(back.images, r.images) and torch.equal(back.history, r.history)
    assert (back.seeds, back.provenance) == (r.seeds, r.provenance)
    assert all(torch.equal(one, other) for one, other in zip(back.frames, frames, strict=True))
    assert Render.load(render().save(tmp_path / "less.safetensors")).state is None
    assert read_provenance(tmp_path / "all.safetensors") == r.provenance
    same_state(back.state, r.state)


def same_state(one, other):
    assert one.step == other.step and torch.equal(one.done, other.done) and torch.equal(one.history, other.history)
    assert torch.equal(one.parameters[0], other.parameters[0])
    memory, expected = one.optimizers[0][0], other.optimizers[0][0]
    assert torch.equal(memory.pop("step"), expected.pop("step"))
    pairs = zip(memory.pop("old_dirs"), expected.pop("old_dirs"), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    assert memory == expected and one.optimizers[1] == other.optimizers[1] == {0: {}}


def test_a_damaged_header_is_told(tmp_path):
    render(frames=(torch.rand(2, 3, 5, 5),), state=state()).save(tmp_path / "all.safetensors")
    tensors, header = storage.unpack(tmp_path / "all.safetensors")
    damaged = [header | {"seeds": None}, header | {"frames": 9}, header | {"provenance": {}}, header | {"state": {}}]
    for one in damaged:
        storage.write(tmp_path / "a.safetensors", storage.pack(".safetensors", tensors, one))
        with pytest.raises(ResultError, match="was not saved by netlens"):
            Render.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("seconds", [0, -5, float("nan"), float("inf")])
def test_a_film_of_no_length_is_refused(tmp_path, seconds):
    with pytest.raises(ResultError, match=r"seconds is .*, but must be a finite number above 0 and at most 600"):
        render(frames=(torch.rand(2, 3, 5, 5),)).save_gif(tmp_path / "a.gif", seconds=seconds)
    render(frames=(torch.rand(2, 3, 5, 5),) * 2).save_gif(tmp_path / "a.gif", seconds=600)


def test_rows_keep_frames_if_all_have_as_many():
    two, one = render(frames=(torch.rand(2, 3, 5, 5),) * 2), render(1, 1, frames=(torch.rand(1, 1, 10, 13),) * 2)
    assert [frame.shape for frame in row(two, one).frames] == [(3, 3, 10, 13)] * 2
    assert row(two, render()).frames == ()


def test_a_state_comes_back_from_its_file(tmp_path):
    one = state()
    same_state(State.load(one.save(tmp_path / "state.safetensors")), one)
    with pytest.raises(ResultError, match="no state"):
        State.load(render().save(tmp_path / "render.safetensors"))
    with pytest.raises(ResultError, match="safetensors"):
        one.save(tmp_path / "state.pt")
    with pytest.raises(ResultError, match="no pictures"):
        Render.load(tmp_path / "state.safetensors")


def test_a_film_shows_each_step_and_rests_on_the_last(tmp_path):
    levels = (0.0, 0.4, 1.0)
    frames = tuple(torch.full((2, 3, 5 if level == 0 else 10, 5 if level == 0 else 13), level) for level in levels)
    path = render(frames=frames).save_gif(tmp_path / "film.gif", seconds=0.6)
    film = Image.open(path)
    assert film.n_frames == 3 and film.info["loop"] == 0
    durations = []
    for i, level in enumerate(levels):
        film.seek(i)
        shown = np.array(film.convert("RGB"))
        assert shown.shape == (10, 30, 3)
        assert (np.abs(shown[:, :13].astype(int) - round(level * 255)) <= 1).all()
        durations.append(film.info["duration"])
    assert durations == [200, 200, 1000]


@pytest.mark.parametrize("spread", [0.02, 1.0])
def test_the_colors_of_a_film_are_as_near_as_those_chosen_from_all_pixels(tmp_path, spread):
    across, down = torch.linspace(0, 1, 160).expand(160, 160), torch.linspace(0, 1, 160)[:, None].expand(160, 160)
    noise = torch.rand(3, 160, 160, generator=torch.Generator().manual_seed(0))
    frame = ((1 - spread) * torch.stack([across * down, across, down]) + spread * noise)[None]
    film = Image.open(replace(render(1), images=frame, frames=(frame,)).save_gif(tmp_path / "film.gif"))
    exact = Image.fromarray(as_pixels(frame[0]))

    def distance(picture):
        return np.abs(np.asarray(picture.convert("RGB"), float) - np.asarray(exact)).mean()

    assert distance(film) < 1.2 * distance(exact.quantize(256))


def test_a_film_of_few_colors_keeps_them(tmp_path):
    frame = torch.zeros(1, 3, 300, 300)
    frame[0, :, 150, 7] = torch.tensor([1.0, 0.2, 0.4])  # one pixel
    film = Image.open(replace(render(1), images=frame, frames=(frame,)).save_gif(tmp_path / "film.gif"))
    assert film.convert("RGB").getpixel((7, 150)) == (255, 51, 102)


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(ResultError, match="no steps were recorded"):
        render().save_gif(tmp_path / "film.gif")
    with pytest.raises(ResultError, match=r"\.png"):
        render().save(tmp_path / "r.pt")
    with pytest.raises(ResultError, match="columns"):
        render().grid(0)
    with pytest.raises(ResultError, match="2 pictures"):
        Render(torch.rand(2, 3, 4, 4), torch.zeros(5, 1), (0, 1), MADE_BY)
    with pytest.raises(ResultError, match="frames"):
        render(frames=(torch.rand(1, 3, 4, 4),))
    with pytest.raises(FrozenInstanceError):
        render().seeds = (1,)
    with pytest.raises(IndexError):
        render()[2]
    assert not list(tmp_path.iterdir())


def test_one_of_several(tmp_path):
    r = render(frames=(torch.rand(2, 3, 4, 4),), state=state())
    second = r[-1]
    assert torch.equal(second.images, r.images[1:]) and torch.equal(second.history, r.history[:, 1:])
    assert second.seeds == (1,) and second.provenance.targets == (7,) and len(second.frames[0]) == 1
    assert second.state is None and [one.seeds for one in r] == [(0,), (1,)]


def texts(picture):
    return [text.get_text() for text in picture.texts]


def test_it_shows_what_was_made_of_which_seed():
    assert texts(render().show()) == ["owl", "seed 0", "cat", "seed 1"]
    assert texts(render(1).show()) == ["channel('layer3', 0)", "seed 0"]
    assert texts(render().show(captions=["a", "b"])) == ["a", "b"]
    jpeg, size = render()._repr_jpeg_()
    assert Image.open(io.BytesIO(jpeg)).size[0] > size["width"]


def test_a_caption_that_is_too_long_keeps_its_beginning_and_its_end():
    (caption,) = texts(render(1).show(captions=["trunk_output.block1.block1-0.activation and more of it · 0.836"]))
    assert caption.startswith("trunk") and "…" in caption and caption.endswith("· 0.836")


def test_suffixes_may_be_in_capitals(tmp_path):
    path = render().save(tmp_path / "r.PNG")
    assert Image.open(path).format == "PNG" and read_provenance(path) == MADE_BY
    assert Image.open(render(frames=(torch.rand(2, 3, 4, 4),)).save_gif(tmp_path / "r.GIF")).format == "GIF"


def test_a_drawing_with_captions_is_saved_with_its_provenance(tmp_path):
    path = render().save(tmp_path / "drawn.png", captions=["a", "b"])
    assert read_provenance(path) == MADE_BY
    assert Image.open(path).size[0] > 800


def test_a_sheet_shows_every_pixel():
    images = torch.zeros(2, 3, 4, 4)
    images[1] = 1
    pixels = sheet(images, columns=1).rgba()
    assert (pixels[len(pixels) // 4, pixels.shape[1] // 2, :3] == 0).all()
    assert (pixels[-len(pixels) // 4, pixels.shape[1] // 2, :3] == 255).all()
    with pytest.raises(ResultError, match="3 captions"):
        sheet(images, captions="abc")
