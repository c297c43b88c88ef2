"""Weights load exactly or not at all; no file runs code; the module changes only if everything fits."""

import pickle
import re
import subprocess
import sys
import warnings
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model_weights, list_models

from netlens import weights
from netlens.classes import imagenet
from netlens.errors import WeightsError
from netlens.preprocessing import IMAGENET


def small() -> nn.Module:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), head=nn.Linear(4, 2)))


def fresh(seed: int, module: nn.Module | None = None) -> dict[str, Tensor]:
    """A state dict of other values than the module's."""
    generator = torch.Generator().manual_seed(seed)
    state = (module if module is not None else small()).state_dict()
    return {
        key: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value + 1
        for key, value in state.items()
    }


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def saved(state: object, path: Path) -> Path:
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


# load_weights


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar"])
def test_what_was_saved_is_loaded(tmp_path, suffix):
    module, state = small(), fresh(1)
    weights.load_weights(module, saved(state, tmp_path / f"a{suffix}"))
    assert equal(module.state_dict(), state)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_nests_and_prefixes_are_taken_off(tmp_path, key, prefix):
    state = fresh(1)
    wrapped = {key: {prefix + name: value for name, value in state.items()}, "epoch": 3, "note": "text"}
    module = small()
    weights.load_weights(module, saved(wrapped, tmp_path / "a.pth"))
    assert equal(module.state_dict(), state)


def test_a_data_parallel_state_with_its_versions(tmp_path):
    source = small()
    source.load_state_dict(fresh(1))
    module = small()
    weights.load_weights(module, saved(nn.DataParallel(source).state_dict(), tmp_path / "a.pth"))
    assert equal(module.state_dict(), source.state_dict())


def test_a_module_that_is_a_wrapper_itself_keeps_its_prefix(tmp_path):
    source, module = nn.DataParallel(small()), nn.DataParallel(small())
    weights.load_weights(module, saved(source.state_dict(), tmp_path / "a.pth"))
    assert equal(module.state_dict(), source.state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_half_precision_is_cast_to_the_modules_type(tmp_path, dtype):
    module = small().to(dtype)
    half = {key: value.half() if value.is_floating_point() else value for key, value in fresh(1).items()}
    weights.load_weights(module, saved(half, tmp_path / "a.safetensors"))
    assert module.conv.weight.dtype == dtype
    assert torch.equal(module.conv.weight, half["conv.weight"].to(dtype))


def test_the_parameters_stay_the_same_objects(tmp_path):
    module = small()
    module.conv.weight.requires_grad_(False)
    before = [(id(p), p.data_ptr(), p.requires_grad) for p in module.parameters()]
    weights.load_weights(module, saved(fresh(1), tmp_path / "a.pth"))
    assert [(id(p), p.data_ptr(), p.requires_grad) for p in module.parameters()] == before and module.training


def without(state: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "head.bias"), "'head.bias' is missing"),
        (lambda s: {**s, "tail.bias": torch.zeros(2)}, "'tail.bias' is not in the network"),
        (lambda s: {**s, "head.bias": torch.zeros(5)}, r"'head.bias' is \(5,\) in the file, \(2,\) in the network"),
        (lambda s: {**s, "head.bias": torch.zeros(1)}, r"'head.bias' is \(1,\) in the file"),  # would broadcast
        (
            lambda s: {f"x.{key}": value for key, value in s.items()},
            r"'conv.weight' is missing; 'x.conv.bias' is not in the network; 'conv.bias' is missing; and \d+ more",
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_what_does_not_fit_is_listed_and_changes_nothing(tmp_path, change, message, suffix):
    module = small()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    path = saved(change(fresh(1)), tmp_path / f"a{suffix}")
    with pytest.raises(WeightsError, match=message) as error:
        weights.load_weights(module, path)
    assert str(error.value).startswith(f"{path} does not fit Sequential") and "\n" not in str(error.value)
    assert equal(module.state_dict(), before)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("sprung"),)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("wrap", [lambda trap: trap, lambda trap: {"conv.weight": trap}, lambda _: small()])
def test_pickled_code_is_not_run(tmp_path, monkeypatch, wrap):
    monkeypatch.chdir(tmp_path)
    path = saved(wrap(Trap()), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"could run any code and are refused: save model\.state_dict\(\)"):
        weights.load_weights(small(), path)
    path.write_bytes(pickle.dumps(wrap(Trap())))
    with pytest.raises(WeightsError, match="refused"):
        weights.load_weights(small(), path)
    assert not Path("sprung").exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", ["empty", "text", "html", "half"])
def test_a_damaged_file(tmp_path, suffix, content):
    path = saved(fresh(1), tmp_path / f"a{suffix}")
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "text": b"hello world", "html": b"<html>", "half": whole[: len(whole) // 2]}[content]
    )
    with pytest.raises(WeightsError, match="is damaged or") as error:
        weights.load_weights(small(), path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, torch.zeros(3), [torch.zeros(3)], {"state_dict": {"a": "b"}}])
def test_what_is_no_state_dict(tmp_path, content):
    with pytest.raises(WeightsError, match="holds no state dict"):
        weights.load_weights(small(), saved(content, tmp_path / "a.pth"))


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(WeightsError, match=r"a\.pth does not exist"):
        weights.load_weights(small(), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="is a folder"):
        weights.load_weights(small(), tmp_path)
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"\.safetensors, \.pth"):
        weights.load_weights(small(), tmp_path / "a.onnx")


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
    weights.load_weights(with_heads, without_heads)
    assert equal(with_heads.state_dict(), {**plain.state_dict(), **aux})
    assert equal(weights.build(name, without_heads).state_dict(), plain.state_dict())


def test_the_auxiliary_head_of_a_published_segmentation_file_is_dropped(tmp_path):
    trained = weights.build("fcn_resnet50", aux_loss=True).state_dict()
    built = weights.build("fcn_resnet50", saved(trained, tmp_path / "a.pth"))
    assert equal(built.state_dict(), {key: trained[key] for key in trained if not key.startswith("aux_classifier")})


def test_an_ordinary_layer_named_like_a_head_is_not_optional(tmp_path):
    module = nn.ModuleDict({"aux1": nn.Linear(2, 2), "fc": nn.Linear(2, 2)})
    path = saved({key: value for key, value in module.state_dict().items() if "fc" in key}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"'aux1\.weight' is missing"):
        weights.load_weights(module, path)


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
    weights.load_weights(block, saved(spelt, tmp_path / "b.safetensors"))
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
    with pytest.raises(WeightsError, match=r"\(7, 512, 1, 1\) in the file, \(1000, 512, 1, 1\) in the network"):
        weights.build("squeezenet1_1", path)


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
        weights.build(name, "default")
    text = str(error.value)
    assert f"not cached in {hub} and cannot be downloaded (no route to download.pytorch.org)" in text
    assert "https://download.pytorch.org/models/" in text and "weights=" in text


def test_cached_weights_are_used(hub):
    source = weights.build("squeezenet1_1")
    cached("squeezenet1_1", hub, source.state_dict())
    for spelling in ("default", "DEFAULT", "IMAGENET1K_V1"):
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
    assert weights.metadata("mobilenet_v2", "default")[0].resize == 232
    assert weights.metadata("mobilenet_v2", "imagenet1k_v1")[0] == IMAGENET
    assert weights.metadata("vit_b_16", "IMAGENET1K_SWAG_E2E_V1")[0].size == (384, 384)
    assert weights.metadata("inception_v3")[0].size == (299, 299)


@pytest.mark.parametrize("choice", [None, "default"])
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


def test_loading_leaves_no_trace_in_the_warnings(tmp_path):
    before = list(warnings.filters)
    weights.load_weights(small(), saved(fresh(1), tmp_path / "a.pth"))
    assert list(warnings.filters) == before
