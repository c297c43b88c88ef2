"""The bundled network: it is the file that it should be, and it has learned the world for the right reason."""

from __future__ import annotations

import hashlib

import pytest
import torch

from netlens.errors import WeightsError
from netlens.world import network as bundled
from netlens.world import training
from netlens.world.network import SIZE, WEIGHTS, network, normalize
from netlens.world.scene import CLASSES, batch, scene
from netlens.world.training import HELD_OUT, SEED, accuracy, save, train


@pytest.fixture(scope="module")
def net():
    return network()


def test_it_tells_held_out_scenes_apart(net):
    assert SEED != HELD_OUT
    assert accuracy(net, n=500) >= 0.97


def test_it_looks_at_the_object(net):
    """The object before a flat gray is still what it was; the scene without it is nothing in particular."""
    scenes = [scene((HELD_OUT, i)) for i in range(100)]
    images, labels, masks = batch(HELD_OUT, 100)
    alone = torch.where(masks[:, None], images, torch.tensor(128, dtype=torch.uint8))
    without = torch.stack([torch.from_numpy(one.background).permute(2, 0, 1) for one in scenes])
    with torch.inference_mode():
        assert (net(normalize(alone)).argmax(1) == labels).float().mean() > 0.9
        assert (net(normalize(without)).argmax(1) == labels).float().mean() < 0.25


def test_a_pixel_of_the_object_matters_more_than_one_outside(net):
    images, labels, masks = batch(HELD_OUT, 100)
    x = normalize(images).requires_grad_()
    logits = net(x)[torch.arange(100), labels]
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    strength = gradient.abs().sum(1)
    assert strength[masks].mean() > 2 * strength[~masks].mean()


def test_it_is_small_float32_and_ready_to_use(net):
    assert not net.training
    assert all(p.dtype == torch.float32 and p.requires_grad for p in net.parameters())
    assert all(t.device.type == "cpu" and not t.is_meta for t in net.state_dict().values())
    assert WEIGHTS.stat().st_size <= 3_000_000
    x = normalize(batch(0, 2)[0])
    assert net(x).shape == (2, len(CLASSES))
    assert net.trunk_output(net.stem(x)).shape[-2:] == (SIZE // 16, SIZE // 16)


def test_each_call_gives_a_network_of_its_own(net):
    other = network()
    with torch.no_grad():
        other.fc.bias += 1
    assert not torch.equal(net.fc.bias, other.fc.bias)
    torch.testing.assert_close(network().fc.bias, net.fc.bias, rtol=0, atol=0)


def test_loading_draws_no_random_numbers():
    before = torch.get_rng_state()
    network()
    torch.testing.assert_close(torch.get_rng_state(), before)


@pytest.mark.parametrize("harm", [lambda b: b[:-1], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""])
def test_weights_that_are_not_the_bundled_ones_are_refused(harm, tmp_path, monkeypatch):
    copy = tmp_path / "shapes.safetensors"
    copy.write_bytes(harm(WEIGHTS.read_bytes()))
    monkeypatch.setattr(bundled, "WEIGHTS", copy)
    with pytest.raises(WeightsError, match=r"shapes\.safetensors.*reinstall"):
        network()


def test_missing_weights_are_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match=r"none\.safetensors.*reinstall"):
        network()


def test_saving_gives_back_the_same_file(net, tmp_path):
    path = tmp_path / "again.safetensors"
    digest = save(net, path)
    assert digest == bundled.SHA256 == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_training_again_gives_the_same_weights(monkeypatch):
    monkeypatch.setattr(training, "BATCH", 4)  # bfloat16 is slow on many processors
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = train(scenes=8, epochs=2).state_dict()
    torch.testing.assert_close(torch.get_rng_state(), before)
    torch.manual_seed(1)
    other = train(scenes=8, epochs=2).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    of_another_seed = train(scenes=8, epochs=2, seed=3).state_dict()
    assert not any(torch.equal(one[name], of_another_seed[name]) for name in one if name.endswith("weight"))
