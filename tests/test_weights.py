"""Networks of torchvision get the weights that are asked for: of a file, published ones, or random ones."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights, list_models

from netlens import weights
from netlens.checkpoints import load_weights
from netlens.classes import imagenet
from netlens.errors import WeightsError
from netlens.preprocessing import IMAGENET
from tests.weight_files import Trap, equal, fresh, saved

# build


def test_a_random_network_is_in_eval_mode_and_needs_no_network():
    for name in ("squeezenet1_1", "ResNet18", "quantized_mobilenet_v2", "lraspp_mobilenet_v3_large"):
        module = weights.build(name)
        assert not any(part.training for part in module.modules())


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_may_be_missing_or_extra(tmp_path, name):
    from torchvision.models import get_model

    with_heads = get_model(name, init_weights=False, aux_logits=True)
    plain = weights.build(name)
    heads = with_heads.state_dict().keys() - plain.state_dict().keys()
    assert heads and all(key.lower().startswith("aux") for key in heads)
    path = saved(with_heads.state_dict(), tmp_path / "heads.safetensors")
    built = weights.build(name, path)
    assert built.transform_input and not plain.transform_input
    assert equal(built.state_dict(), {key: with_heads.state_dict()[key] for key in built.state_dict()})
    without_heads = saved(plain.state_dict(), tmp_path / "plain.safetensors")
    aux = {key: with_heads.state_dict()[key].clone() for key in heads}
    load_weights(with_heads, without_heads)
    assert equal(with_heads.state_dict(), {**plain.state_dict(), **aux})
    assert equal(weights.build(name, without_heads).state_dict(), plain.state_dict())


def test_the_auxiliary_head_of_a_published_segmentation_file_is_dropped(tmp_path):
    trained = weights.build("fcn_resnet50", aux_loss=True).state_dict()
    built = weights.build("fcn_resnet50", saved(trained, tmp_path / "a.pth"))
    assert equal(built.state_dict(), {key: trained[key] for key in trained if not key.startswith("aux_classifier")})


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", ["mnasnet0_5", "mobilenet_v2", "shufflenet_v2_x0_5", "densenet121"])
def test_a_file_gives_the_network_that_was_saved(tmp_path, name, suffix):
    source = weights.build(name)
    state = source.state_dict()
    for key, value in fresh(2, source).items():
        state[key].copy_(value)
    path = saved(state, tmp_path / f"a{suffix}")
    assert equal(weights.build(name, path).state_dict(), state)


def test_keys_in_the_spelling_of_published_files(tmp_path):
    from torchvision.models.vision_transformer import MLPBlock

    state = weights.build("densenet121").state_dict()
    spelt = {re.sub(r"(denselayer\d+\.[a-z]+)([12])", r"\1.\2", key): value for key, value in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in spelt
    assert equal(weights.build("densenet121", saved(spelt, tmp_path / "a.pth")).state_dict(), state)

    # layers that rename their old keys themselves
    block = nn.Sequential(MLPBlock(4, 8, 0.0))
    state = fresh(1, block)
    spelt = {key.replace("0.0.", "0.linear_1.").replace("0.3.", "0.linear_2."): value for key, value in state.items()}
    load_weights(block, saved(spelt, tmp_path / "b.safetensors"))
    assert equal(block.state_dict(), state)


def test_a_file_saves_the_random_initialization(tmp_path, monkeypatch):
    path = saved(weights.build("squeezenet1_1").state_dict(), tmp_path / "a.pth")
    monkeypatch.setattr(Tensor, "uniform_", lambda *_, **__: pytest.fail("drawn"))
    monkeypatch.setattr(Tensor, "normal_", lambda *_, **__: pytest.fail("drawn"))
    state = torch.random.get_rng_state()
    weights.build("squeezenet1_1", path)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_fine_tuned_head(tmp_path):
    path = saved(weights.build("squeezenet1_1", num_classes=7).state_dict(), tmp_path / "a.pth")
    assert weights.build("squeezenet1_1", path, num_classes=7)(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    built, head = weights.built("squeezenet1_1", path)
    assert head == 7 and built(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_an_unknown_network_gets_the_closest():
    for call in (weights.build, weights.metadata):
        with pytest.raises(WeightsError, match=r"no network 'resnet5'\. Closest: .*'resnet50'"):
            call("resnet5")
    with pytest.raises(WeightsError, match=r"nowhere\.pth does not exist.*resnet18"):
        weights.build("resnet18", "nowhere.pth")


# torchvision's own weights


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache and no network."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))

    def offline(url: str, *_: object, **__: object) -> None:
        raise OSError(f"no route to {url.split('/')[2]}")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


def cached(name: str, hub: Path, state: object) -> None:
    torch.save(state, hub / get_model_weights(name).DEFAULT.url.rsplit("/", 1)[1])


@pytest.mark.parametrize("name", ["squeezenet1_1", "fasterrcnn_mobilenet_v3_large_fpn", "quantized_mobilenet_v2"])
def test_neither_cached_nor_downloadable_says_so_and_names_the_way_out(hub, name):
    with pytest.raises(WeightsError) as error:
        weights.build(name, "pretrained")
    text = str(error.value)
    assert f"not cached in {hub} and cannot be downloaded (no route to download.pytorch.org)" in text
    assert "https://download.pytorch.org/models/" in text and "weights=" in text


def test_cached_weights_are_used(hub):
    source = weights.build("squeezenet1_1")
    cached("squeezenet1_1", hub, source.state_dict())
    for spelling in ("pretrained", "default", "DEFAULT", "IMAGENET1K_V1"):
        built = weights.build("squeezenet1_1", spelling)
        assert equal(built.state_dict(), source.state_dict()) and not built.training


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_cached_weights_of_a_network_with_auxiliary_heads(hub, name):
    from torchvision.models import get_model

    cached(name, hub, get_model(name, init_weights=False, aux_logits=True).state_dict())
    built = weights.build(name, "default")
    assert built.transform_input and not [key for key in built.state_dict() if key.lower().startswith("aux")]
    assert built(torch.zeros(1, 3, 96, 96)).shape == (1, 1000)


def test_a_cached_file_that_holds_code_is_not_run(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cached("squeezenet1_1", hub, {"a": Trap()})
    with pytest.raises(WeightsError, match=r"squeezenet1_1.*\.pth is damaged; delete it"):
        weights.build("squeezenet1_1", "default")
    assert not Path("sprung").exists()


# metadata


def test_metadata_is_that_of_the_weights_which_are_used():
    usual, names = weights.metadata("mobilenet_v2")
    assert usual == IMAGENET and names == imagenet()
    assert weights.metadata("mobilenet_v2", "some_file.safetensors")[0] == IMAGENET
    assert weights.metadata("mobilenet_v2", "pretrained")[0].resize == 232
    assert weights.metadata("mobilenet_v2", "imagenet1k_v1")[0] == IMAGENET
    assert weights.metadata("vit_b_16", "IMAGENET1K_SWAG_E2E_V1")[0].size == (384, 384)
    assert weights.metadata("inception_v3")[0].size == (299, 299)


@pytest.mark.parametrize("choice", ["random", "pretrained"])
def test_metadata_is_honest_of_every_network(choice):
    for name in list_models():
        preprocessing, names = weights.metadata(name, choice)
        preset = get_model_weights(name).DEFAULT.transforms()
        kind = type(preset).__name__
        assert (preprocessing is not None) == (kind in ("ImageClassification", "SemanticSegmentation")), name
        assert (names == imagenet()) == (kind == "ImageClassification"), name
        assert (names is None) == (kind == "OpticalFlow"), name


def test_importing_is_light():
    code = "import netlens.weights, sys; print(sorted({'pyimgy', 'matplotlib', 'torchvision'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
