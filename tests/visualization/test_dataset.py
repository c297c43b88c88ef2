"""The most exciting images of a folder: those that sorting all of them gives, each once, broken ones told."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from netlens.errors import ImageError, NetLensError, NetLensWarning, NonFiniteError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter
from netlens.objectives import channel, logit
from netlens.preprocessing import Preprocessing
from netlens.visualization import NetDreamer, most_exciting

SIZE = 40
KNOWN = Preprocessing((SIZE, SIZE), SIZE, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def network(preprocessing=KNOWN):
    torch.manual_seed(0)
    trunk = [nn.Conv2d(3, 6, 5), nn.ReLU(), nn.Conv2d(6, 4, 3, stride=2), nn.ReLU()]
    module = nn.Sequential(*trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).double()
    return FlatModel.from_nn_Module(module, adapter=Adapter(preprocessing=preprocessing))


@pytest.fixture(scope="module")
def flat():
    return network()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    (root / "more").mkdir()
    rng = np.random.default_rng(0)
    for i in range(13):
        pixels = rng.integers(0, 256, (SIZE + i, SIZE + 2 * i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save((root / "more" if i % 3 == 0 else root) / f"{i:02}.png")
    (root / "notes.txt").write_text("no image")
    return root


def brute(flat, folder, score):
    files = sorted(folder.rglob("*.png"))
    with torch.no_grad():
        values = [float(score(flat.adapter.preprocessing(path).double())) for path in files]
    order = sorted(range(len(files)), key=lambda i: -values[i])
    return [files[i] for i in order], [values[i] for i in order]


@pytest.mark.parametrize("batch", [1, 4, 5, 13, 50])
@pytest.mark.parametrize("k", [1, 5, 13, 40])
def test_they_are_what_sorting_all_gives_whatever_the_batch(flat, folder, batch, k):
    examples = most_exciting(flat, channel("2", 1), folder, k=k, batch=batch)
    paths, values = brute(flat, folder, lambda x: flat(x, until="2")[0, 1].mean())
    assert [one.path for one in examples] == paths[:k] and examples.n_read == 13 and examples.skipped == ()
    assert [one.value for one in examples] == pytest.approx(values[:k], rel=1e-9)


@pytest.mark.parametrize("index", [0, 2])
def test_crops_are_sorted_by_their_highest_position(flat, folder, index):
    examples = most_exciting(flat, channel("2", index), folder, k=6, crops=True, batch=4)
    paths, values = brute(flat, folder, lambda x: flat(x, until="2")[0, index].max())
    assert [one.path for one in examples] == paths[:6]
    assert [one.value for one in examples] == pytest.approx(values[:6], rel=1e-9)


TRUNKS = {
    "no padding": (lambda: [nn.Conv2d(3, 6, 9), nn.Tanh(), nn.Conv2d(6, 4, 11, stride=2)], 19 + 1),
    "padding": (
        lambda: [nn.Conv2d(3, 6, 7, padding=3, stride=2), nn.Tanh(), nn.Conv2d(6, 4, 5, padding=2, stride=2)],
        15 + 3,
    ),
    "small": (lambda: [nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Conv2d(6, 4, 1)], 16),
}


@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_crop_holds_all_that_its_position_sees(folder, trunk):
    make, side = TRUNKS[trunk]
    torch.manual_seed(0)
    layers = make()
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    flat = FlatModel.from_nn_Module(nn.Sequential(*layers, *head).double(), adapter=Adapter(preprocessing=KNOWN))
    for one in most_exciting(flat, channel("2", 3), folder, k=13, crops=True):
        top, bottom, left, right = one.box
        assert one.image.shape == (3, bottom - top, right - left) == (3, side, side)
        x = flat.adapter.preprocessing(one.path).double().requires_grad_()
        flat(x, until="2")[0, 3].max().backward()
        rows, columns = x.grad[0].abs().sum(0).nonzero().unbind(1)
        assert top <= rows.min() and rows.max() < bottom and left <= columns.min() and columns.max() < right
        shown = flat.adapter.preprocessing.denormalize(x[0].detach())[:, top:bottom, left:right]
        torch.testing.assert_close(one.image.double(), shown, rtol=0, atol=1e-6)


def test_classes_and_lists_of_files(flat, folder):
    paths, values = brute(flat, folder, lambda x: flat(x)[0, 0])
    examples = most_exciting(flat, logit(0), sorted(folder.rglob("*.png"))[::-1], k=3)
    assert [one.path for one in examples] == paths[:3] and examples[0].value == pytest.approx(values[0])


def test_equals_are_sorted_by_name_and_a_file_counts_once(flat, tmp_path):
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))
    for name in "dacb":
        picture.save(tmp_path / f"{name}.png")
    for batch in (1, 3, 16):
        examples = most_exciting(flat, channel("2", 0), tmp_path, k=3, batch=batch)
        assert [one.path.stem for one in examples] == ["a", "b", "c"]
    assert len(most_exciting(flat, channel("2", 0), tmp_path, k=9, batch=3)) == 4


def test_images_of_their_own_sizes(folder):
    free = network(Preprocessing(None, None, KNOWN.mean, KNOWN.std))
    examples = most_exciting(free, channel("2", 1), folder, k=13)
    paths, _ = brute(free, folder, lambda x: free(x, until="2")[0, 1].mean())
    assert [one.path for one in examples] == paths
    assert len({tuple(one.image.shape) for one in examples}) == 13


def test_broken_files_are_skipped_with_one_warning(flat, folder, tmp_path):
    for path in sorted(folder.rglob("*.png"))[:3]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "cut.png").write_bytes((tmp_path / path.name).read_bytes()[:200])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.warns(NetLensWarning, match=r"3 of 6 files were skipped: cut\.png") as caught:
        examples = most_exciting(flat, channel("2", 0), tmp_path, k=9)
    assert len(caught) == 1 and len(examples) == examples.n_read == 3
    assert [path.name for path, _ in examples.skipped] == ["cut.png", "empty.jpg", "text.jpg"]
    with warnings.catch_warnings(), pytest.raises(ImageError, match="none of the 1 files"):
        warnings.simplefilter("ignore", NetLensWarning)
        most_exciting(flat, channel("2", 0), [tmp_path / "empty.jpg"])


def test_next_to_the_picture(flat, folder, tmp_path):
    dreamer = NetDreamer(flat, size=32, steps=2, progress=False)
    examples = dreamer.examples("2", 1, folder, k=3)
    assert examples.picture.captions == ("2:1",) and len(examples) == 3
    assert torch.equal(examples.picture.images, dreamer.channel("2", 1).images)
    drawn = Image.open(examples.save(tmp_path / "row.png"))
    assert drawn.width > 3 * drawn.height  # four in a row
    with pytest.raises(ImageError, match="png"):
        examples.save(tmp_path / "row.jpg")


def test_errors(flat, folder, tmp_path):
    with pytest.raises(ImageError, match="no folder"):
        most_exciting(flat, channel("2", 0), tmp_path / "none")
    with pytest.raises(ImageError, match="no images"):
        most_exciting(flat, channel("2", 0), tmp_path)
    with pytest.raises(NotApplicable, match="crops"):
        most_exciting(flat, logit(0), folder, crops=True)
    with pytest.raises(NetLensError, match="channels are 0 to 3"):
        most_exciting(flat, channel("2", 4), folder)
    with pytest.raises(NetLensError, match="at least 1"):
        most_exciting(flat, channel("2", 0), folder, k=0)
    broken = network()
    with torch.no_grad():
        next(broken.parameters())[1] = float("nan")
    with pytest.raises(NonFiniteError, match=str(sorted(Path(folder).rglob("*.png"))[0])):
        most_exciting(broken, channel("2", 0), folder)


def test_a_size_that_the_network_does_not_take_is_told(folder):
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 5 * 5, 2)).double()
    with pytest.raises(NotApplicable, match=r"cannot run on images of .* give it an adapter"):
        most_exciting(FlatModel.from_nn_Module(module), logit(0), folder, crops=False)


def test_a_gray_network_that_is_known_by_colors_sees_gray(folder):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU()).double()
    colored = FlatModel.from_nn_Module(module, adapter=Adapter(preprocessing=KNOWN))
    gray = FlatModel.from_nn_Module(module, adapter=Adapter(preprocessing=KNOWN.for_channels(1)))
    examples, expected = (most_exciting(flat, channel("0", 1), folder, k=3) for flat in (colored, gray))
    assert [(one.path, one.value) for one in examples] == [(one.path, one.value) for one in expected]
    assert examples[0].image.shape == (1, SIZE, SIZE)


def test_batches_are_halved_when_memory_runs_out(flat, folder, monkeypatch):
    record, sizes = FlatModel.record, []

    def short(self, x, *args, **options):
        sizes.append(len(x))
        if len(x) > 3:
            raise torch.OutOfMemoryError
        return record(self, x, *args, **options)

    expected = most_exciting(flat, channel("2", 1), folder, k=4)
    monkeypatch.setattr(FlatModel, "record", short)
    examples = most_exciting(flat, channel("2", 1), folder, k=4)
    assert max(sizes) > 3 and [one.path for one in examples] == [one.path for one in expected]


def test_a_picture_of_nan_is_skipped_as_a_broken_one(flat, tmp_path):
    Image.fromarray(np.full((50, 50), np.nan, dtype=np.float32)).save(tmp_path / "nan.tif")
    Image.fromarray(np.zeros((50, 50, 3), dtype=np.uint8)).save(tmp_path / "whole.png")
    with pytest.warns(NetLensWarning, match=r"1 of 2 files were skipped: nan\.tif"):
        examples = most_exciting(flat, channel("0", 0), tmp_path, k=2)
    assert [one.path.name for one in examples] == ["whole.png"]
