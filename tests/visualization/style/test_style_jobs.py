"""The file of a batch: what it may say, and every mistake in it told before the work begins."""

import sys

import pytest

from netlens.errors import NetLensError
from netlens.visualization.style import Batch
from tests.visualization.style.batches import SETTINGS, batch_file, write


@pytest.fixture
def file(tmp_path):
    return batch_file(tmp_path)


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
        ({"pairs": [{"content": None, "style": "waves.png"}]}, "no content"),
        ({"pairs": [{"content": ["cat.png"], "style": "waves.png"}]}, "names of files"),
        ({"pairs": [{"content": "cat.png", "style": None}]}, "no style"),
        ({"pairs": [{"content": "cat.png", "style": []}]}, "no style"),
        ({"pairs": [{"content": "cat.png", "style": [None]}]}, "names of files"),
        ({"pairs": [{"content": "cat.png", "style": 5}]}, "names of files"),
        ({"pairs": [{"content": "cat.png", "style": "waves.png", "content_mask": "black.png"}]}, "black.png must hold"),
        ({"pairs": [{"name": None, "content": "cat.png", "style": "waves.png"}]}, "None cannot name a folder"),
        ({"pairs": [{"content": "cat.png", "styles": "waves.png"}]}, "Closest: 'style'"),
        ({"pairs": [{"content": "cat.png", "style": "waves.png"}] * 2}, "two pairs called 'cat-waves'"),
        ({"pairs": [{"name": "../up", "content": "cat.png", "style": "waves.png"}]}, "cannot name a folder"),
        ({"settings": {"usual": {"step": 3}}}, "Closest: 'steps'"),
        ({"settings": {"usual": {"steps": "many"}}}, "whole number"),
        ({"settings": {"usual": {"size": [1, 2, 3]}}}, "size"),
        ({"settings": {"usual": {"size": 18}}}, r"cat\.png would be 14 × 18"),
        ({"settings": {"usual": {"style_scale": 0.02}}}, r"waves\.png would be"),
        ({"settings": {"usual": {"style_weights": [1, 2]}}}, "'usual': 1 style.* style_weights"),
        ({"settings": {"usual": {"style_weights": "a"}}}, "style_weights"),
        ({"settings": {"usual": {"style_layers": []}}}, "style_layers names no layer"),
        ({"settings": {"usual": {"style_layers": True}}}, "style_layers is True, but must be"),
        ({"settings": {"usual": {"content_layers": {"stem": "x"}}}}, "content_layers is {'stem': 'x'}, but must be"),
        ({"settings": {"usual": {"lr": float("nan")}}}, "lr is"),
        ({"settings": {"usual": {"weights": "default"}}}, "without a model"),
        ({"settings": {"usual": {"model": 5}}}, "must be names"),
        ({"settings": {"usual": {"statistic": "grams"}}}, "grams"),
        ({"setting": {}}, "Closest: 'settings'"),
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
    for name, complaint in (("gone.json", "does not exist"), ("batch.yaml", "neither .json nor .toml")):
        (tmp_path / "batch.yaml").write_text("pairs:")
        with pytest.raises(NetLensError, match=complaint):
            Batch.read(tmp_path / name)


@pytest.mark.parametrize(
    "text, complaint",
    [("[" * 100_000, "nested"), ('{"pairs": [], "pairs": []}', "'pairs' occurs twice"), ("[]", "not a list")],
)
def test_a_file_of_another_kind_is_told(file, text, complaint):
    file.write_text(text)
    with pytest.raises(NetLensError, match=complaint):
        Batch.read(file)


def test_a_byte_order_mark_does_no_harm(file):
    jobs = Batch.read(file).jobs
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert Batch.read(file).jobs == jobs


@pytest.mark.parametrize(
    "top, settings, beside, expected",
    [
        ({}, {}, {}, ("shapes", "pretrained")),
        ({}, {}, {"model": "resnet18", "weights": "default"}, ("resnet18", "default")),
        ({"model": "vgg11", "weights": "default"}, {}, {}, ("vgg11", "default")),
        ({"model": "vgg11", "weights": "default"}, {"model": "resnet18"}, {}, ("resnet18", "pretrained")),
        ({"model": "vgg11", "weights": "default"}, {"weights": "IMAGENET1K_V1"}, {}, ("vgg11", "IMAGENET1K_V1")),
    ],
)
def test_the_weights_are_those_of_the_model_that_they_stand_beside(file, top, settings, beside, expected):
    write(file, settings={"usual": SETTINGS | settings}, **top)
    assert {(job.model, job.weights) for job in Batch.read(file, **beside).jobs} == {expected}


def test_a_network_beside_the_file_is_for_the_settings_without_one_and_refused_if_there_are_none(file):
    write(file, settings={"own": SETTINGS | {"model": "vgg11"}, "usual": SETTINGS})
    networks = {job.settings: (job.model, job.weights) for job in Batch.read(file, "resnet18", "default").jobs}
    assert networks == {"own": ("vgg11", "pretrained"), "usual": ("resnet18", "default")}
    for where in ({"model": "vgg11"}, {"settings": {"own": SETTINGS | {"model": "vgg11"}}}):
        write(file, **where)
        for beside in ({"model": "resnet18"}, {"weights": "default"}):
            with pytest.raises(NetLensError, match="names the network of every picture"):
                Batch.read(file, **beside)
