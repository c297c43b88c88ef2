"""Batches: each picture once, the same after an interruption, and no mistake that ends the others."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from netlens import images
from netlens.errors import NetLensError, NetLensWarning, NonFiniteError
from netlens.visualization.style import Batch, as_settings, contact_sheet, from_settings
from netlens.visualization.style._batch import (
    CONFIG,
    RESULT,
)
from netlens.visualization.style._contact import (
    fitting_side,
)
from netlens.visualization.style.network import seeded
from tests.visualization.style.batches import SETTINGS, batch_file, contents, opener, run, write


@pytest.fixture
def file(tmp_path):
    return batch_file(tmp_path)


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


def test_settings_stand_below_each_other_where_one_of_them_failed(file, tmp_path):
    outcomes = run(file, tmp_path / "out")
    whole = np.asarray(images.load(contact_sheet(outcomes, tmp_path / "whole.png", side=64)))
    outcomes[2] = replace(outcomes[2], what="failed")
    less = np.asarray(images.load(contact_sheet(outcomes, tmp_path / "less.png", side=64)))
    assert less.shape == whole.shape
    changed = (less != whole).any((0, 2)).nonzero()[0]
    fifth = whole.shape[1] / 5  # content, two styles, two settings
    assert 3 * fifth <= changed.min() and changed.max() < 4 * fifth


def test_random_weights_come_from_the_seed_and_global_random_numbers_stay(file, tmp_path):
    torch.manual_seed(9)
    before = torch.get_rng_state()
    run(file, tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(10)
    run(file, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("changed", ["content", "style", "content_mask"])
def test_what_is_read_is_not_overwritten(file, tmp_path, changed):
    out = tmp_path / "out"
    run(file, out)
    pair = {"name": "both", "content": "cat.png", "style": "waves.png"} | {changed: "out/both/usual/result.jpg"}
    write(file, pairs=[pair])
    before = contents(out)
    with pytest.raises(NetLensError, match="would be overwritten"):
        Batch.read(file).run(out, opener, progress=False)
    write(file, settings={"usual": SETTINGS | {"start": "out/both/usual/result.jpg"}})
    with pytest.raises(NetLensError, match="would be overwritten"):
        Batch.read(file).run(out, opener, progress=False)
    assert contents(out) == before


@pytest.mark.parametrize("damage", [b"", b"\xff\xd8 no picture"])
def test_a_damaged_picture_is_told_and_made_again(file, tmp_path, damage):
    out = tmp_path / "out"
    run(file, out)
    before = contents(out)
    (out / "both" / "usual" / RESULT).write_bytes(damage)
    with pytest.warns(NetLensWarning, match=r"result\.jpg is damaged"):
        outcomes = run(file, out)
    assert [outcome.what for outcome in outcomes] == ["skipped", "skipped", "made", "skipped"]
    assert contents(out) == before


@pytest.mark.parametrize("error", [RuntimeError("CUDA out\nof memory"), MemoryError("too much"), OSError("disk full")])
def test_an_error_of_another_kind_fails_its_own_job_only(file, tmp_path, error):
    def failing(model, weights):
        if model == "broken":
            raise error
        return opener(model, weights)

    write(file, settings={"broken": {"model": "broken"}, "usual": SETTINGS})
    outcomes = list(Batch.read(file).run(tmp_path / "out", failing, progress=False))
    assert [outcome.what for outcome in outcomes] == ["failed", "made", "failed", "made"]
    assert outcomes[0].why == f"{type(error).__name__}: {' '.join(str(error).split())}"


def test_a_person_who_interrupts_ends_it(file, tmp_path):
    def interrupted(model, weights):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(Batch.read(file).run(tmp_path / "out", interrupted, progress=False))


def test_an_output_that_cannot_be_written_to_is_told_before_the_first_job(file, tmp_path, monkeypatch):
    batch = Batch.read(file)
    with pytest.raises(NetLensError, match="cannot make the folder"):
        batch.run(file, opener, progress=False)
    monkeypatch.setattr(os, "access", lambda *_: False)  # whoever runs this may be allowed everything
    with pytest.raises(NetLensError, match="cannot write to"):
        batch.run(tmp_path / "out", opener, progress=False)


def test_a_folder_that_cannot_be_made_fails_its_own_jobs_only(file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "both").write_text("in the way")
    outcomes = run(file, tmp_path / "out")
    assert [outcome.what for outcome in outcomes] == ["made", "made", "failed", "failed"]
    assert "cannot make the folder" in outcomes[-1].why


@pytest.mark.parametrize("name", ["config.json", "contact.jpg"])
def test_files_that_no_batch_made_stay(file, tmp_path, name):
    out = tmp_path / "out"
    foreign = out / ("contact.jpg" if name == "contact.jpg" else "both/usual/config.json")
    foreign.parent.mkdir(parents=True)
    foreign.write_text('{"my": "settings"}')
    with pytest.raises(NetLensError, match=f"{name} exists already and was not made by a batch"):
        run(file, out)
    assert foreign.read_text() == '{"my": "settings"}'
    assert [path for path in out.rglob("*") if path.is_file()] == [foreign]


def test_the_file_of_a_batch_is_not_overwritten_by_it(file, tmp_path):
    config = tmp_path / "out" / "both" / "usual" / "config.json"
    config.parent.mkdir(parents=True)
    for picture in tmp_path.glob("*.png"):
        shutil.copy(picture, config.parent)
    shutil.copy(file, config)
    with pytest.raises(NetLensError, match=r"config\.json is an input and would be overwritten"):
        run(config, tmp_path / "out")
    assert config.read_bytes() == file.read_bytes()


def test_random_weights_of_a_seed_too_large_for_torch(file, tmp_path):
    write(file, settings={"usual": SETTINGS | {"seed": 10**30}})
    assert [outcome.what for outcome in run(file, tmp_path / "out")] == ["made", "made"]


def test_settings_come_back_as_they_were():
    settings = {"size": [20, 30], "statistic": "mean_std", "style_layers": {"relu": 2.0}, "lr": None, "start": "noise"}
    transfer = from_settings(settings)
    again = {name: value for name, value in as_settings(transfer).items() if name != "stop"}
    assert from_settings(again) == transfer


def test_only_the_generator_that_is_put_back_is_seeded(monkeypatch):
    def everywhere(seed):
        raise AssertionError("torch.manual_seed seeds the generators of all devices")

    monkeypatch.setattr(torch, "manual_seed", everywhere)
    drawn = [seeded(lambda model, weights: torch.rand(3), "any", "random", seed) for seed in (5, 5, 6)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(("rows", "columns"), [(4, 5), (100, 6), (2, 400), (1200, 3)])
def test_a_contact_sheet_can_be_written_and_opened_whatever_its_length(rows, columns):
    side = fitting_side(rows, columns, 256)
    letter = max(10, round(0.056 * side))
    height, width = rows * (side + 2 * letter) + letter, columns * (max(side, 8 * letter) + letter // 2) + letter
    assert height * width <= images.MAX_PIXELS and max(height, width) <= 65_500
    assert side == 256 or side >= 16


def test_pictures_of_a_contact_sheet_have_the_side_that_is_asked_for(file, tmp_path):
    sheet = images.load(contact_sheet(run(file, tmp_path / "out"), tmp_path / "sheet.jpg", side=200))
    assert 5 * 200 < sheet.width < 5 * 210 + 20 and 2 * 200 < sheet.height < 2 * 240


def test_too_many_pictures_for_a_sheet_are_told():
    with pytest.raises(NetLensError, match="divide the batch"):
        fitting_side(100_000, 5, 256)


def test_a_start_may_be_named_in_several_ways(file, tmp_path, monkeypatch):
    write(file, settings={"own": SETTINGS | {"start": "dots.png"}})
    assert {outcome.what for outcome in run(file, tmp_path / "out")} == {"made"}
    monkeypatch.chdir(file.parent)
    assert {outcome.what for outcome in run(Path(file.name), tmp_path / "out")} == {"skipped"}
