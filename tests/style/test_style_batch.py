"""Batches: each picture once, the same after an interruption, and every mistake told before the work begins."""

import json
import sys

import pytest
import torch
from PIL import Image
from torch import nn

from netlens import images
from netlens.errors import NetLensError, NetLensWarning, NonFiniteError
from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter
from netlens.preprocessing import Preprocessing
from netlens.style import Batch, as_settings, contact_sheet, from_settings
from netlens.style.batch import CONFIG, RESULT

SETTINGS = {"size": 24, "steps": 3, "scales": 1}
NOISY = SETTINGS | {"start": "noise", "seed": 3}
MASKS = {"content_mask": ["mask.png", None]}
BOTH = {"name": "both", "content": "cat.png", "style": ["waves.png", "dots.png"]} | MASKS


def opener(model, weights):
    layers = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2), nn.ReLU()
    known = Preprocessing(None, None, (0.5,) * 3, (0.25,) * 3)
    return FlatModel.from_nn_Module(nn.Sequential(*layers), adapter=Adapter(preprocessing=known))


@pytest.fixture
def file(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for name, size in (("cat", (24, 30)), ("waves", (20, 20)), ("dots", (26, 22))):
        coarse = torch.rand(1, 3, 5, 5, generator=generator)
        images.save(nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)[0], tmp_path / f"{name}.png")
    images.save((torch.arange(30) < 15).float().expand(1, 24, 30), tmp_path / "mask.png")
    write(tmp_path / "batch.json")
    return tmp_path / "batch.json"


def write(path, **changes):
    whole = {
        "pairs": [
            {"content": "cat.png", "style": "waves.png"},
            {
                "name": "both",
                "content": "cat.png",
                "style": ["waves.png", "dots.png"],
                "content_mask": ["mask.png", None],
            },
        ],
        "settings": {"usual": SETTINGS, "noisy": NOISY},
    }
    path.write_text(json.dumps(whole | changes))


def run(file, out):
    return list(Batch.read(file).run(out, opener, progress=False))


def contents(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_each_pair_and_setting_gets_its_picture_and_what_made_it(file, tmp_path):
    outcomes = run(file, tmp_path / "out")
    assert [outcome.what for outcome in outcomes] == ["made"] * 4
    places = [str(outcome.folder.relative_to(tmp_path / "out")) for outcome in outcomes]
    assert places == ["cat-waves/usual", "cat-waves/noisy", "both/usual", "both/noisy"]
    for outcome in outcomes:
        assert Image.open(outcome.result).size == (24, 19)
        config = json.loads((outcome.folder / CONFIG).read_text())
        assert config["losses"] == outcome.losses
        assert config["losses"]["style"]["start"] == pytest.approx(1)
        assert config["asked"]["options"] == json.loads(json.dumps(as_settings(outcome.job.transfer)))
        assert set(config["versions"]) == {"netlens", "torch", "torchvision"}
        assert config["seeds"] == [outcome.job.transfer.seed]


def test_what_is_done_is_skipped_and_what_was_interrupted_is_made_the_same(file, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(file, whole)
    work = Batch.read(file).run(broken, opener, progress=False)
    next(work), next(work)
    work.close()  # as an interruption does
    (broken / "cat-waves" / "noisy" / CONFIG).unlink()  # and as one between the picture and its config leaves it
    first = (broken / "cat-waves" / "usual" / RESULT).stat().st_mtime_ns
    assert [outcome.what for outcome in run(file, broken)] == ["skipped", "made", "made", "made"]
    assert (broken / "cat-waves" / "usual" / RESULT).stat().st_mtime_ns == first
    assert contents(broken) == contents(whole)
    assert not [name for name in contents(broken) if name.rpartition("/")[2].startswith(".")]


def test_other_options_or_another_picture_under_the_same_name_are_made_again(file, tmp_path):
    out = tmp_path / "out"
    run(file, out)
    write(
        file, settings={"usual": SETTINGS | {"content_weight": 0.7}, "noisy": SETTINGS | {"start": "noise", "seed": 3}}
    )
    assert [outcome.what for outcome in run(file, out)] == ["made", "skipped", "made", "skipped"]
    images.save(torch.zeros(3, 26, 22), tmp_path / "dots.png")
    assert [outcome.what for outcome in run(file, out)] == ["skipped", "skipped", "made", "made"]


def test_a_damaged_config_is_told_and_made_again(file, tmp_path):
    out = tmp_path / "out"
    run(file, out)
    before = contents(out)
    (out / "both" / "usual" / CONFIG).write_text('{"asked": {')
    with pytest.warns(NetLensWarning, match=r"config\.json is damaged"):
        outcomes = run(file, out)
    assert [outcome.what for outcome in outcomes] == ["skipped", "skipped", "made", "skipped"]
    assert contents(out) == before


def test_a_job_that_fails_is_told_and_the_others_are_made(file, tmp_path):
    def failing(model, weights):
        flat = opener(model, weights)
        if model == "broken":
            raise NonFiniteError("the weights hold NaN.")
        return flat

    write(file, settings={"broken": {"model": "broken"}, "usual": SETTINGS})
    outcomes = list(Batch.read(file).run(tmp_path / "out", failing, progress=False))
    assert [outcome.what for outcome in outcomes] == ["failed", "made", "failed", "made"]
    assert outcomes[0].why == "the weights hold NaN."
    assert not outcomes[0].folder.exists()
    assert images.load(contact_sheet(outcomes, tmp_path / "out" / "contact.jpg", side=64)).width > 3 * 64


def test_random_weights_come_from_the_seed_and_global_random_numbers_stay(file, tmp_path):
    torch.manual_seed(9)
    before = torch.get_rng_state()
    run(file, tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(10)
    run(file, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML files need tomllib, which came with Python 3.11")
def test_toml_says_the_same(file, tmp_path):
    toml = tmp_path / "batch.toml"
    toml.write_text(
        '[[pairs]]\ncontent = "cat.png"\nstyle = "waves.png"\n[settings.usual]\nsize = 24\nsteps = 3\nscales = 1\n'
    )
    assert Batch.read(toml).jobs == Batch.read(file).jobs[:1]


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"pairs": []}, "list of pairs"),
        ({"pairs": [{"content": "cat.png"}]}, "no style"),
        ({"pairs": [{"content": "cat.png", "style": "gone.png"}]}, "gone.png does not exist"),
        ({"pairs": [{"content": "cat.png", "style": 5}]}, "by their files"),
        ({"pairs": [{"content": "cat.png", "styles": "waves.png"}]}, "closest: 'style'"),
        ({"pairs": [{"content": "cat.png", "style": "waves.png"}] * 2}, "two pairs called 'cat-waves'"),
        ({"pairs": [{"name": "../up", "content": "cat.png", "style": "waves.png"}]}, "cannot name a folder"),
        ({"settings": {"usual": {"step": 3}}}, "closest: 'steps'"),
        ({"settings": {"usual": {"steps": "many"}}}, "whole number"),
        ({"settings": {"usual": {"size": [1, 2, 3]}}}, "size"),
        ({"settings": {"usual": {"statistic": "grams"}}}, "grams"),
        ({"setting": {}}, "closest: 'settings'"),
    ],
)
def test_mistakes_in_the_file_are_told_before_any_work(file, changes, complaint):
    write(file, **changes)
    with pytest.raises(NetLensError, match=complaint) as caught:
        Batch.read(file)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_told(file, tmp_path):
    file.write_text(file.read_text()[:50])
    with pytest.raises(NetLensError, match=r"batch\.json is damaged"):
        Batch.read(file)
    for name, complaint in (("gone.json", "cannot be read"), ("batch.yaml", "neither .json nor .toml")):
        (tmp_path / "batch.yaml").write_text("pairs:")
        with pytest.raises(NetLensError, match=complaint):
            Batch.read(tmp_path / name)


def test_settings_come_back_as_they_were():
    given = {"size": [20, 30], "statistic": "mean_std", "style_layers": {"relu": 2.0}, "lr": None, "start": "noise"}
    transfer = from_settings(given)
    again = {name: value for name, value in as_settings(transfer).items() if name != "stop"}
    assert from_settings(again) == transfer
