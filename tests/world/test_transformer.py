"""The bundled transformer: it knows the world, and its convolutions are those of the bundled network."""

from __future__ import annotations

import hashlib

import pytest
import torch

from netlens.errors import WeightsError
from netlens.world import distillation, training, transformer
from netlens.world.network import network as shapes
from netlens.world.training import accuracy
from netlens.zoo import open_network


@pytest.fixture(scope="module")
def net():
    return transformer.network()


def test_it_tells_held_out_scenes_apart(net):
    assert accuracy(net, n=500) >= 0.9


def test_its_stem_is_that_of_the_bundled_network(net):
    x = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(net.conv_proj[:-1](x), torch.nn.Sequential(*transformer.stem(shapes()))(x))


def test_its_file_is_the_one_that_belongs_to_it(net, tmp_path, monkeypatch):
    content = transformer.WEIGHTS.read_bytes()
    assert hashlib.sha256(content).hexdigest() == transformer.SHA256
    assert len(content) < 3_000_000
    (tmp_path / "shapes_vit.safetensors").write_bytes(content[:-1])
    monkeypatch.setattr(transformer, "WEIGHTS", tmp_path / "shapes_vit.safetensors")
    with pytest.raises(WeightsError, match=r"shapes_vit\.safetensors.*reinstall"):
        transformer.network()


def test_loading_draws_no_random_numbers():
    before = torch.get_rng_state()
    transformer.network()
    torch.testing.assert_close(torch.get_rng_state(), before)


def test_training_again_gives_the_same_weights(monkeypatch):
    for module in (training, distillation):
        monkeypatch.setattr(module, "BATCH", 4)  # bfloat16 is slow on many processors
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = distillation.train(scenes=8, epochs=2).state_dict()
    torch.testing.assert_close(torch.get_rng_state(), before)
    torch.manual_seed(1)
    other = distillation.train(scenes=8, epochs=2).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_opens_by_name_with_tokens_on_a_grid():
    flat = open_network("shapes_vit")
    assert flat.classes[0] == "striped disc"
    assert flat.adapter.preprocessing.size == (128, 128)
    with pytest.raises(WeightsError, match="shapes_vit has its own weights"):
        open_network("shapes_vit", "other.safetensors")
