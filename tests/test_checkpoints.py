"""Weights load exactly or not at all; no file runs code; the module changes only if everything fits."""

import argparse
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netlens.checkpoints import load_weights
from netlens.errors import WeightsError
from netlens.weights import build
from tests.weight_files import Trap, equal, fresh, saved, small


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar"])
def test_what_was_saved_is_loaded(tmp_path, suffix):
    module, state = small(), fresh(1)
    load_weights(module, saved(state, tmp_path / f"a{suffix}"))
    assert equal(module.state_dict(), state)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "model.module."])
def test_nests_and_prefixes_are_taken_off(tmp_path, key, prefix):
    state = fresh(1)
    wrapped = {key: {prefix + name: value for name, value in state.items()}, "epoch": 3, "note": "text"}
    module = small()
    load_weights(module, saved(wrapped, tmp_path / "a.pth"))
    assert equal(module.state_dict(), state)


def test_a_data_parallel_state_with_its_versions(tmp_path):
    source = small()
    source.load_state_dict(fresh(1))
    module = small()
    load_weights(module, saved(nn.DataParallel(source).state_dict(), tmp_path / "a.pth"))
    assert equal(module.state_dict(), source.state_dict())


def test_a_module_that_is_a_wrapper_itself_keeps_its_prefix(tmp_path):
    source, module = nn.DataParallel(small()), nn.DataParallel(small())
    load_weights(module, saved(source.state_dict(), tmp_path / "a.pth"))
    assert equal(module.state_dict(), source.state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_half_precision_is_cast_to_the_modules_type(tmp_path, dtype):
    module = small().to(dtype)
    half = {key: value.half() if value.is_floating_point() else value for key, value in fresh(1).items()}
    load_weights(module, saved(half, tmp_path / "a.safetensors"))
    assert module.conv.weight.dtype == dtype
    assert torch.equal(module.conv.weight, half["conv.weight"].to(dtype))


def test_the_parameters_stay_the_same_objects(tmp_path):
    module = small()
    module.conv.weight.requires_grad_(False)
    before = [(id(p), p.data_ptr(), p.requires_grad) for p in module.parameters()]
    load_weights(module, saved(fresh(1), tmp_path / "a.pth"))
    assert [(id(p), p.data_ptr(), p.requires_grad) for p in module.parameters()] == before and module.training


def test_the_arguments_of_a_training_script_are_no_danger(tmp_path):
    state = fresh(1)
    saved({"model": state, "args": argparse.Namespace(epochs=3, output_dir=Path("out").name)}, tmp_path / "a.pth")
    module = small()
    load_weights(module, tmp_path / "a.pth")
    assert equal(module.state_dict(), state)


@pytest.mark.parametrize("bias", [True, False])
def test_the_head_takes_the_size_of_the_file(tmp_path, bias):
    module, other = (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, n, bias=bias)) for n in (2, 7))
    module.double().requires_grad_(False)
    module.num_classes = 2
    body = module[0].weight
    assert load_weights(module, saved(other.state_dict(), tmp_path / "a.safetensors")) == 7
    x = torch.rand(5, 3)
    torch.testing.assert_close(module(x.double()), other(x).double(), rtol=1e-6, atol=1e-6)
    assert module[2].out_features == module.num_classes == 7 and module[0].weight is body
    assert module[2].weight.dtype == torch.float64 and not module[2].weight.requires_grad
    assert load_weights(module, tmp_path / "a.safetensors") is None


def test_several_heads_take_the_size_of_the_file(tmp_path):
    module, other = (build("lraspp_mobilenet_v3_large", num_classes=n) for n in (21, 4))
    assert load_weights(module, saved(other.state_dict(), tmp_path / "a.pth")) == 4
    assert equal(module.state_dict(), other.state_dict())


@pytest.mark.parametrize(
    "other",
    [
        nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)),  # a wider layer is no head
        nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(4, 7)),  # two layers of different sizes
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 7, bias=False)),
    ],
)
def test_another_architecture_is_not_taken_for_another_head(tmp_path, other):
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(WeightsError, match="does not fit Sequential"):
        load_weights(module, saved(other.state_dict(), tmp_path / "a.pth"))
    assert equal(module.state_dict(), before) and module[2].out_features == 2


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
        load_weights(module, path)
    assert str(error.value).startswith(f"{path} does not fit Sequential") and "\n" not in str(error.value)
    assert equal(module.state_dict(), before)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("wrap", [lambda trap: trap, lambda trap: {"conv.weight": trap}, lambda _: small()])
def test_pickled_code_is_not_run(tmp_path, monkeypatch, wrap):
    monkeypatch.chdir(tmp_path)
    path = saved(wrap(Trap()), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"could run any code and are refused: save model\.state_dict\(\)"):
        load_weights(small(), path)
    path.write_bytes(pickle.dumps(wrap(Trap())))
    with pytest.raises(WeightsError, match="refused"):
        load_weights(small(), path)
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
        load_weights(small(), path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, torch.zeros(3), [torch.zeros(3)], {"state_dict": {"a": "b"}}])
def test_what_is_no_state_dict(tmp_path, content):
    with pytest.raises(WeightsError, match="holds no state dict"):
        load_weights(small(), saved(content, tmp_path / "a.pth"))


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(WeightsError, match=r"a\.pth does not exist"):
        load_weights(small(), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="is a folder"):
        load_weights(small(), tmp_path)
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"\.safetensors, \.pth"):
        load_weights(small(), tmp_path / "a.onnx")


def test_an_ordinary_layer_named_like_a_head_is_not_optional(tmp_path):
    module = nn.ModuleDict({"aux1": nn.Linear(2, 2), "fc": nn.Linear(2, 2)})
    path = saved({key: value for key, value in module.state_dict().items() if "fc" in key}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"'aux1\.weight' is missing"):
        load_weights(module, path)


def test_loading_leaves_no_trace_in_the_warnings(tmp_path):
    before = list(warnings.filters)
    load_weights(small(), saved(fresh(1), tmp_path / "a.pth"))
    assert list(warnings.filters) == before
