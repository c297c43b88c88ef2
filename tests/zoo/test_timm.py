"""Networks of timm come with timm's own weights, preprocessing and class names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from netlens import FlatModel, NetLens, open_network
from netlens.errors import WeightsError
from netlens.flat.adapter import adapter_of
from netlens.world.scene import scene
from netlens.zoo import architecture, check_network
from tests.weight_files import fresh, saved

timm = pytest.importorskip("timm", reason="timm is not installed: pip install netlens[timm]")

DATA = Path(os.environ.get("NETLENS_DATA", "."))
LITE = DATA / "weights" / "tf_efficientnet_lite0_imagenet.safetensors"
PHOTOS = {"egyptian_cat": "Egyptian cat", "macaw": "macaw", "samoyed": "Samoyed, Samoyede", "sunflower": "daisy"}


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and no network."""
    monkeypatch.setattr("netlens.zoo._timm.reachable", lambda: False)
    monkeypatch.setattr("netlens.zoo._timm.cached", lambda repository, file: None)
    return tmp_path


def test_a_random_network_equals_that_of_timm(unreachable: Path) -> None:
    flat = open_network("timm/test_resnet", "random")
    network = timm.create_model("test_resnet").eval()
    assert flat.classes is not None and len(flat.classes) == 1000 and flat.classes[0] == "tench, Tinca tinca"
    flat_of_network = FlatModel.from_nn_Module(network)
    assert list(flat.layers) == list(flat_of_network.layers) and not flat.opaque
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(flat_of_network(x), network(x))


def test_a_file_gives_the_network_that_was_saved(tmp_path: Path) -> None:
    network = timm.create_model("test_vit", num_classes=5)
    network.load_state_dict(fresh(1, network))
    half = {f"model.{key}": value.half() for key, value in network.state_dict().items()}
    flat = open_network("timm/test_vit", saved(half, tmp_path / "a.safetensors"))
    assert flat.classes is None
    again = timm.create_model("test_vit", num_classes=5).eval()
    again.load_state_dict({key.removeprefix("model."): value.float() for key, value in half.items()})
    x = torch.rand(2, 3, 160, 160)
    torch.testing.assert_close(flat(x), again(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet5", "timm has no network 'resnet5'. Closest: 'resnet50'"),
        ("timm/resnet50.a2", "timm has no weights 'a2' of resnet50. Closest: 'a2_in1k'"),
    ],
)
def test_unknown_names_get_the_closest(name: str, message: str) -> None:
    for call in (open_network, architecture, check_network):
        with pytest.raises(WeightsError, match=message):
            call(name)


def test_neither_cached_nor_downloadable_says_what_to_do(unreachable: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"fetch model\.safetensors of timm/\S+ elsewhere and pass its path"
    ) as error:
        open_network("timm/test_resnet")
    assert "\n" not in str(error.value)


def test_cached_weights_are_used_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = timm.create_model("test_resnet")
    path = saved(fresh(2, network), tmp_path / "model.safetensors")
    monkeypatch.setattr("netlens.zoo._timm.reachable", lambda: False)
    monkeypatch.setattr("netlens.zoo._timm.cached", lambda repository, file: path)
    flat = open_network("timm/test_resnet")
    network.load_state_dict(fresh(2, network))
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(flat(x), network.eval()(x))


def test_a_folder_that_timm_has_saved(tmp_path: Path) -> None:
    from timm.models import save_for_hf

    network = timm.create_model("test_resnet", num_classes=4)
    network.load_state_dict(fresh(1, network))
    save_for_hf(network, tmp_path, model_config={"label_names": ["a", "b", "c", "d"]}, safe_serialization=True)
    flat = open_network(str(tmp_path))
    assert flat.classes is not None and list(flat.classes) == ["a", "b", "c", "d"]
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(flat(x), network.eval()(x))


@pytest.mark.parametrize(
    ("options", "size", "classes"),
    [
        ({}, (160, 160), 1000),
        ({"img_size": 96}, (96, 96), 1000),
        ({"in_chans": 1, "num_classes": 3}, (160, 160), None),
    ],
)
def test_the_adapter_reads_the_network_that_is_there(
    options: dict[str, int], size: tuple[int, int], classes: int | None
) -> None:
    network = timm.create_model("test_vit", **options).eval()
    adapter = adapter_of(network)
    assert adapter.preprocessing.size == size and adapter.preprocessing.interpolation == "bicubic"
    assert adapter.example == (1, options.get("in_chans", 3), *size)
    assert (None if adapter.classes is None else len(adapter.classes)) == classes
    assert not FlatModel.from_nn_Module(network).opaque  # unrolled along an example of this shape


def test_a_picture_becomes_what_timm_makes_of_it() -> None:
    network = timm.create_model("test_vit").eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    picture = Image.fromarray(scene(0).image).resize((301, 233))
    assert torch.equal(NetLens(network, picture).x[0], transform(picture))


@pytest.mark.skipif(
    not LITE.is_file(), reason=f"needs ImageNet weights: {LITE.name} in the folder weights/ of NETLENS_DATA"
)
def test_a_real_network_sees_what_timm_sees() -> None:
    from safetensors.torch import load_file

    flat = open_network("timm/tf_efficientnet_lite0", LITE)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(load_file(LITE))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    for photo, name in PHOTOS.items():
        path = DATA / "photos" / f"{photo}.jpg"
        lens = NetLens(flat, path)
        x = transform(Image.open(path).convert("RGB"))[None]
        assert torch.equal(lens.x, x)
        best = lens.predictions()[0][0]
        with torch.no_grad():
            expected = network(x).softmax(1)[0]
        assert best.name == name and best.index == int(expected.argmax())
        assert abs(best.probability - float(expected.max())) < 1e-5


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(WeightsError, match=r"needs timm: pip install 'netlens\[timm\]'"):
        open_network("timm/resnet18", "random")
