"""Frozen results: heatmaps, arithmetic, selection, and files that give back what was saved."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from netlens import heatmaps
from netlens.errors import NetLensError, NotApplicable
from netlens.results import Attribution, Provenance, read_provenance
from netlens.results import storage as files


def provenance(n=1, **changes):
    default = Provenance(
        "Saliency",
        "resnet50",
        "logit(207)",
        targets=range(n),
        target_names=[f"class {i}, also é" for i in range(n)],
        options={"window": (32, 32), "baselines": torch.zeros(2, 3), "noise": 0.1, "layer": None},
    )
    return replace(default, **changes)


def attribution(*shape, reduction="magnitude", size=(6, 8), channels=3, **more):
    shape = shape or (1, 3, 6, 8)
    n = shape[0]
    return Attribution(torch.randn(shape), torch.rand(n, channels, *size), provenance(n), reduction=reduction, **more)


# heatmaps


def test_the_heat_of_a_gradient():
    a = attribution(2, 3, 6, 8)
    total = a.values.abs().sum(1, keepdim=True)
    low = total.amin((1, 2, 3), keepdim=True)
    high = torch.quantile(total.flatten(1), 0.99, dim=1)[:, None, None, None]
    assert_close(a.heatmap(), ((total - low) / (high - low)).clamp(0, 1))
    assert_close(replace(a, reduction="signed").heatmap(), a.heatmap())


def test_the_heat_of_a_cam():
    a = attribution(2, 1, 2, 2, reduction="cam")
    up = torch.nn.functional.interpolate(a.values, (6, 8), mode="bilinear", align_corners=False)
    low, high = up.amin((1, 2, 3), keepdim=True), up.amax((1, 2, 3), keepdim=True)
    assert_close(a.heatmap(), (up - low) / (high - low))
    assert a.heatmap().amin((1, 2, 3)).tolist() == [0, 0]
    assert a.heatmap().amax((1, 2, 3)).tolist() == [1, 1]
    assert a.heatmap(size=5).shape == (2, 1, 5, 5)
    assert a.heatmap(size=(12, 4)).shape == (2, 1, 12, 4)


def test_the_percentile_is_an_option():
    a = attribution()
    assert (a.heatmap(percentile=50) == 1).float().mean() > 0.45
    assert (a.heatmap(percentile=100) == 1).sum() == 1


def test_a_batch_equals_its_samples():
    for a in (attribution(3, 3, 6, 8), attribution(3, 1, 2, 3, reduction="cam")):
        assert_close(a.heatmap(), torch.cat([sample.heatmap() for sample in a]))
        assert_close(a.positive.values, torch.cat([sample.positive.values for sample in a]))


@pytest.mark.parametrize("reduction", ["magnitude", "signed", "cam"])
@pytest.mark.parametrize("value", [0.0, 0.3, -2.0])
def test_a_constant_attribution_is_cold(reduction, value):
    a = replace(attribution(1, 1, 3, 3, reduction=reduction), values=torch.full((1, 1, 3, 3), value))
    assert a.heatmap().abs().max() == 0


def test_tokens_are_seen_through_their_maps():
    a = attribution(2, 7, 5, maps=torch.rand(2, 5, 2, 3))
    assert a.heatmap().shape == (2, 1, 6, 8)
    assert (a * 2).maps is not None
    assert_close((a - a).maps, torch.zeros(2, 5, 2, 3))


def test_vectors_have_no_heat_map():
    a = attribution(2, 10)
    with pytest.raises(NotApplicable, match=r"\(2, 10\).*no layout over the image"):
        a.heatmap()
    assert a._repr_jpeg_() is None


def test_positive_and_negative():
    a = attribution(2, 3, 6, 8, reduction="signed")
    v = a.values
    assert_close(a.positive.values, v.clamp(min=0) / v.amax((1, 2, 3), keepdim=True))
    assert_close(a.negative.values, (-v).clamp(min=0) / (-v).amax((1, 2, 3), keepdim=True))
    assert a.positive.provenance.method == "Saliency.positive"
    assert a.negative.reduction == "magnitude"


# arithmetic


def test_arithmetic_is_that_of_the_values():
    a, b = attribution(), attribution()
    assert_close((a + b).values, a.values + b.values)
    assert_close((a - b).values, a.values - b.values)
    assert_close((0.5 * a).values, a.values / 2)
    assert_close((a / np.float32(2)).values, a.values / 2)
    assert_close((-a).values, -a.values)


def test_arithmetic_is_told():
    a, b = attribution(), attribution()
    assert (a - (b + 0.5 * a)).provenance.method == "Saliency - (Saliency + 0.5 * Saliency)"
    assert (2 * (a + b)).provenance.method == "2 * (Saliency + Saliency)"
    assert (-a).provenance.method == "-Saliency"
    assert (a + b).provenance.options["left"] == json.loads(json.dumps(asdict(a.provenance)))
    other = replace(b, provenance=provenance(targets=[7], target_names=["owl"], objective="logit(7)"))
    assert (a - other).provenance.target_names == ("class 0, also é - owl",)
    assert (a - other).provenance.objective == "logit(207) - logit(7)"
    assert (a - other).provenance.targets is None


def test_a_difference_is_drawn_with_its_sign():
    a = attribution(1, 1, 2, 2, reduction="cam")
    assert (a - a).reduction == (-a).reduction == (a + attribution(1, 1, 2, 2)).reduction == "signed"
    assert (a + a).reduction == (2 * a).reduction == "cam"


def test_what_does_not_match_does_not_add():
    with pytest.raises(NetLensError, match=r"values are \(1, 3, 6, 8\) and \(1, 1, 2, 2\)"):
        attribution() + attribution(1, 1, 2, 2)
    with pytest.raises(NetLensError, match="images"):
        attribution() + attribution(size=(9, 9))
    with pytest.raises(TypeError):
        attribution() + 1


# selection


def test_selection():
    a = attribution(3, 3, 6, 8, diagnostics={"gap": torch.arange(3.0)}, maps=torch.rand(3, 1, 2, 2))
    assert len(a) == 3
    assert_close(a[1].values, a.values[1:2])
    assert_close(a[-1].image, a.image[2:])
    assert a[1].maps.shape == (1, 1, 2, 2)
    assert a[1].provenance.targets == (1,)
    assert a[-1].diagnostics["gap"].tolist() == [2.0]
    assert a[:2].provenance.targets == (0, 1)
    assert [sample.provenance.targets for sample in a] == [(0,), (1,), (2,)]
    for index in (3, -4):
        with pytest.raises(IndexError, match="3 samples"):
            a[index]


# what a result is


def test_results_are_frozen_compact_and_checked():
    a = attribution(2, 3, 6, 8)
    with pytest.raises(FrozenInstanceError):
        a.values = a.image
    assert repr(a) == "Attribution(Saliency of logit(207) at input of resnet50: (2, 3, 6, 8) float32, magnitude)"
    with pytest.raises(NetLensError, match="2 images, but values for 1"):
        replace(a, values=a.values[:1])
    with pytest.raises(NetLensError, match="targets for 1"):
        replace(a, provenance=provenance(1))
    with pytest.raises(NetLensError, match="gap for 1"):
        replace(a, diagnostics={"gap": torch.tensor(1.0)})
    with pytest.raises(NetLensError, match="'cam'"):
        replace(a, reduction="gradcam")


def test_options_are_as_json_has_them():
    assert provenance().options == {"window": [32, 32], "baselines": "Tensor(2, 3)", "noise": 0.1, "layer": None}
    assert set(provenance().versions) == {"netlens", "torch", "torchvision"}
    saved = asdict(provenance(3)) | {"from_the_future": 1}
    assert Provenance.from_dict(json.loads(json.dumps(saved))) == provenance(3)


# files


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_values_come_back_bit_for_bit(tmp_path, suffix, dtype):
    a = attribution(2, 3, 6, 8, reduction="signed", diagnostics={"gap": torch.rand(2)})
    values = a.values.to(dtype).requires_grad_()
    a = replace(a, values=values, maps=values.transpose(2, 3))  # a view: shared memory, not contiguous
    path = a.save(tmp_path / f"owl{suffix}")
    b = Attribution.load(path)
    for name in ("values", "image", "maps"):
        assert_close(getattr(b, name), getattr(a, name).detach(), rtol=0, atol=0)
    assert (b.provenance, b.reduction, b.diagnostics["gap"].tolist()) == (
        a.provenance,
        "signed",
        a.diagnostics["gap"].tolist(),
    )
    assert read_provenance(path) == a.provenance
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_bfloat16_needs_safetensors(tmp_path):
    a = replace(attribution(), values=torch.randn(1, 3, 6, 8, dtype=torch.bfloat16))
    assert torch.equal(Attribution.load(a.save(tmp_path / "a.safetensors")).values, a.values)
    with pytest.raises(NetLensError, match="save as"):
        a.save(tmp_path / "a.npz")


def test_a_drawing_carries_its_provenance(tmp_path):
    a = attribution()
    path = a.save(tmp_path / "owl.png", colorbar=True)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert read_provenance(path) == a.provenance


@pytest.mark.parametrize("name", ["a.png", "a.npz", "a.safetensors"])
def test_a_failing_write_leaves_no_file_and_keeps_the_old_one(tmp_path, monkeypatch, name):
    a, path = attribution(), tmp_path / name
    a.save(path)
    before = path.read_bytes()

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.Path, "replace", full)
    with pytest.raises(NetLensError, match="No space left"):
        (2 * a).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_bad_paths_and_files_are_clear(tmp_path):
    a = attribution()
    with pytest.raises(NetLensError, match=r"\.png \(a drawing\)"):
        a.save(tmp_path / "a.pickle")
    with pytest.raises(NetLensError, match="cannot be written"):
        a.save(tmp_path / "nowhere" / "a.npz")
    with pytest.raises(NetLensError, match="no file"):
        Attribution.load(tmp_path / "a.npz")
    with pytest.raises(NetLensError, match=r"must end in \.safetensors or \.npz"):
        Attribution.load(a.save(tmp_path / "a.png"))
    for name in ("b.png", "b.npz", "b.safetensors"):
        whole = a.save(tmp_path / name).read_bytes()
        for rest in (whole[: len(whole) // 3], b"", b"something else"):
            (tmp_path / name).write_bytes(rest)
            with pytest.raises(NetLensError, match=r"damaged|was not saved by netlens"):
                read_provenance(tmp_path / name) if name == "b.png" else Attribution.load(tmp_path / name)


def test_no_advice_of_a_library_to_trust_a_damaged_file_is_handed_on(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"something else")
    with pytest.raises(NetLensError, match="damaged, or netlens did not save it") as error:
        Attribution.load(tmp_path / "a.npz")
    assert "pickle" not in str(error.value)


def test_files_of_others_are_told_apart(tmp_path):
    np.savez(tmp_path / "a.npz", values=np.zeros(3))
    safe = files.save({"values": torch.zeros(3)})
    (tmp_path / "a.safetensors").write_bytes(safe)
    for name in ("a.npz", "a.safetensors"):
        with pytest.raises(NetLensError, match="not saved by netlens"):
            Attribution.load(tmp_path / name)


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", netlens=np.array([{"a": 1}], dtype=object))
    with pytest.raises(NetLensError):
        Attribution.load(tmp_path / "a.npz")


def test_results_do_not_load_matplotlib_and_drawings_no_pyplot():
    code = "import sys, netlens.results; assert 'matplotlib' not in sys.modules; import netlens.show"
    code += "; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_results_do_not_change_their_tensors():
    a = attribution(reduction="signed")
    values, image = a.values.clone(), a.image.clone()
    a.heatmap(), a.positive, a.negative, a - a, a.show(), heatmaps.reduce(a.values)
    assert torch.equal(a.values, values)
    assert torch.equal(a.image, image)


def test_a_file_of_something_else_is_no_attribution(tmp_path):
    tensors, header = {"images": torch.zeros(1, 3, 4, 4)}, {"provenance": asdict(provenance()), "seeds": [0]}
    path = files.write(tmp_path / "render.safetensors", files.pack(".safetensors", tensors, header))
    with pytest.raises(NetLensError, match="no attribution"):
        Attribution.load(path)


def test_a_name_as_long_as_names_may_be_is_written(tmp_path):
    path = tmp_path / ("x" * 251 + ".npz")
    assert files.write(path, b"all of it").read_bytes() == b"all of it" and list(tmp_path.iterdir()) == [path]
