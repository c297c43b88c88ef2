"""Networks of Hugging Face come with their classes and the preprocessing of their processor."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from netlens import FlatModel, NetLens, open_network
from netlens.classes import ClassNames
from netlens.errors import NetLensWarning, WeightsError
from netlens.flat.adapter import adapter_of
from netlens.world.scene import scene
from netlens.zoo import check_network
from tests.weight_files import Trap, saved

transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install netlens[hf]")

NAMES = ["cat", "dog", "great grey owl"]


def vit(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    names = {"id2label": dict(enumerate(NAMES)), "label2id": {name: index for index, name in enumerate(NAMES)}}
    config = transformers.ViTConfig(**{**sizes, "image_size": 32, "patch_size": 8, **names, **options})
    network: nn.Module = transformers.ViTForImageClassification(config).eval()
    return network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as Hugging Face saves it, with a processor that is unlike the usual one."""
    vit().save_pretrained(tmp_path)
    processor = transformers.ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], resample=3
    )
    processor.save_pretrained(tmp_path)
    return tmp_path


def picture() -> Image.Image:
    return Image.fromarray(scene(0).image).resize((61, 47))


def test_a_folder_is_a_network_with_its_classes_and_its_processor(folder: Path) -> None:
    flat = open_network(str(folder))
    assert flat.classes == ClassNames(NAMES) and not flat.opaque
    lens = NetLens(flat, picture())
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = processor(images=picture(), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(lens.x, pixels, rtol=0, atol=1e-6)
    expected = vit()(pixels).logits.softmax(1)[0].detach()
    best = lens.predictions()[0][0]
    assert best.name == NAMES[int(expected.argmax())] and abs(best.probability - float(expected.max())) < 1e-5


def test_what_a_processor_returns_is_an_input(folder: Path) -> None:
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    flat = open_network(str(folder))
    for kind in ("pt", "np", None):
        lens = NetLens(flat, processor(images=[picture(), picture()], return_tensors=kind))
        torch.testing.assert_close(lens.x, processor(images=[picture()] * 2, return_tensors="pt")["pixel_values"])


def test_a_network_that_was_loaded_finds_the_processor_of_its_folder(folder: Path) -> None:
    network = transformers.AutoModelForImageClassification.from_pretrained(folder)
    adapter = adapter_of(network)
    assert adapter.preprocessing.size == (32, 32) and not adapter.preprocessing.doubt
    assert adapter.preprocessing.mean == (0.1, 0.2, 0.3) and adapter.preprocessing.interpolation == "bicubic"
    assert adapter.example == (1, 3, 32, 32) and adapter.classes == ClassNames(NAMES)


def test_a_preprocessing_that_nobody_knows_is_told_as_a_guess() -> None:
    network = vit()
    with pytest.warns(NetLensWarning, match=r"of ViTForImageClassification is a guess .*give preprocessing="):
        lens = NetLens(network, picture())
    assert lens.x.shape == (1, 3, 32, 32)
    NetLens(network, torch.zeros(1, 3, 32, 32))  # tensors need none


def test_random_weights_and_weights_of_a_file(folder: Path, tmp_path: Path) -> None:
    random = open_network(str(folder), "random")
    x = torch.rand(1, 3, 32, 32)
    assert not torch.equal(random.logits(random(x)), vit()(x).logits)
    other = vit(id2label={index: f"LABEL_{index}" for index in range(5)})
    path = saved({"state_dict": other.state_dict()}, tmp_path / "a.pth")
    flat = open_network(str(folder), path)
    assert flat.classes is None
    torch.testing.assert_close(flat.logits(flat(x)), other(x).logits, rtol=1e-5, atol=1e-6)


def test_numbers_are_no_names() -> None:
    plain = {index: f"LABEL_{index}" for index in range(2)}
    assert FlatModel.from_nn_Module(vit(id2label=plain)).classes is None
    assert FlatModel.from_nn_Module(vit()).classes == ClassNames(NAMES)
    body = vit().vit
    assert adapter_of(body).classes is None  # its output is no class


@pytest.mark.parametrize("kind", ["resnet", "convnext"])
def test_networks_without_a_size_get_the_usual_one(kind: str) -> None:
    configs = {
        "resnet": lambda: transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]),
        "convnext": lambda: transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
    }
    network = transformers.AutoModelForImageClassification.from_config(configs[kind]())
    flat = FlatModel.from_nn_Module(network)
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(flat.logits(flat(x)), network.eval()(x).logits)
    assert flat.adapter.example == (1, 3, 224, 224) and not flat.opaque


def test_neither_cached_nor_downloadable_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netlens.zoo._huggingface.reachable", lambda: False)
    with pytest.raises(WeightsError, match=r"is not cached.*pass the path of their folder") as error:
        open_network("hf/somebody/no-such-network")
    assert "\n" not in str(error.value)


def test_weights_that_are_not_whole_are_refused(folder: Path) -> None:
    vit().vit.save_pretrained(folder)  # without a head
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["ViTForImageClassification"]}))
    with pytest.raises(WeightsError, match=r"has no weights for 'classifier\.\w+' of ViTForImageClassification"):
        open_network(str(folder))


def test_pickled_weights_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "model.safetensors").unlink()
    saved({"a": Trap()}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"cannot be opened .*\.safetensors"):
        open_network(str(folder))
    assert not Path("sprung").exists()


def test_code_of_a_repository_is_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Net"}})
    )
    (folder / "mine.py").write_text("from pathlib import Path\nPath('sprung').touch()\n")
    with pytest.raises(WeightsError, match="which netlens never runs"):
        open_network(str(folder))
    assert not Path("sprung").exists()


def test_a_folder_without_a_config(tmp_path: Path) -> None:
    for call in (open_network, check_network):
        with pytest.raises(WeightsError, match=r"has no config\.json"):
            call(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        open_network(str(tmp_path))


def test_a_folder_does_not_hide_a_network_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("squeezenet1_1").mkdir()
    assert open_network("squeezenet1_1", "random").layers


def test_a_processor_that_is_saved_anew_is_read_anew(folder: Path) -> None:
    network = transformers.AutoModelForImageClassification.from_pretrained(folder)
    assert adapter_of(network).preprocessing.mean == (0.1, 0.2, 0.3)
    time.sleep(0.01)
    transformers.ViTImageProcessor(image_mean=[0.3, 0.2, 0.1]).save_pretrained(folder)
    assert adapter_of(network).preprocessing.mean == (0.3, 0.2, 0.1)


def test_a_processor_that_does_more_is_told(folder: Path) -> None:
    transformers.MobileViTImageProcessor().save_pretrained(folder)  # it swaps red and blue
    with pytest.warns(NetLensWarning, match=r"guess \(MobileViTImageProcessor does more than resizing"):
        NetLens(open_network(str(folder)), picture())


def test_without_transformers_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(WeightsError, match=r"needs transformers: pip install 'netlens\[hf\]'"):
        open_network(str(folder))


def test_a_network_of_timm_in_a_wrapper_sees_as_timm_does(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed: pip install netlens[timm]")
    network = transformers.TimmWrapperForImageClassification(
        transformers.TimmWrapperConfig(architecture="test_vit", num_labels=3)
    )
    network.save_pretrained(tmp_path)
    flat = open_network(str(tmp_path))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network.timm_model))
    lens = NetLens(flat, picture())
    assert torch.equal(lens.x[0], transform(picture()))
    expected = network.eval()(lens.x).logits.detach()
    torch.testing.assert_close(flat.logits(flat(lens.x)), expected, rtol=1e-4, atol=1e-5)
