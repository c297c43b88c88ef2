"""The bundled network after shuffled labels: it knows what it learned by heart, and nothing of the world."""

from __future__ import annotations

import hashlib

import torch

from netlens import NetLens
from netlens.world import memorization, scene, shuffled
from netlens.world.memorization import by_heart
from netlens.world.network import SIZE, architecture
from netlens.world.training import SEED, accuracy
from netlens.zoo import open_network


def test_it_knows_its_labels_by_heart_and_nothing_of_other_scenes():
    images, labels, _ = scene.batch(SEED, memorization.SCENES, SIZE)
    model = shuffled.network()
    assert by_heart(model, images, memorization.shuffled(labels)) > 0.95
    assert accuracy(model, n=300) < 0.15  # one of 15 is chance


def test_shuffled_labels_are_the_same_ones_in_another_order():
    labels = torch.arange(15).repeat(32)
    other = memorization.shuffled(labels)
    assert torch.equal(other.sort().values, labels.sort().values)
    assert (other == labels).double().mean() < 0.15
    assert torch.equal(memorization.shuffled(labels), other)


def test_its_file_is_the_one_that_belongs_to_it():
    content = shuffled.WEIGHTS.read_bytes()
    assert hashlib.sha256(content).hexdigest() == shuffled.SHA256
    assert len(content) < 2_000_000


def test_training_again_gives_the_same_weights(monkeypatch):
    monkeypatch.setattr("netlens.world.training.BATCH", 8)
    before = torch.get_rng_state()
    one = memorization.train(scenes=16, epochs=2).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    other = memorization.train(scenes=16, epochs=2).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    true = memorization.train(scenes=16, epochs=2, kind="true").state_dict()
    assert not all(torch.equal(one[name], true[name]) for name in one)


def test_it_opens_by_name_with_the_layers_of_the_bundled_network():
    flat, bundled = open_network("shapes_shuffled"), open_network()
    assert list(flat.layers) == list(bundled.layers)
    assert flat.classes[0] == "striped disc"
    assert {name: tensor.shape for name, tensor in shuffled.network().state_dict().items()} == {
        name: tensor.shape for name, tensor in architecture().state_dict().items()
    }


def test_an_explanation_tells_it_from_the_bundled_network_and_a_control_does_not():
    flat = open_network()
    pictures, labels, _ = scene.batch(11, 4)
    x = flat.adapter.preprocessing.normalize(pictures / 255)
    lens = NetLens(flat, x, target=labels.tolist())
    other = open_network("shapes_shuffled")
    table = lens.evaluate(["input_x_gradient", "grad_cam"], ["data_randomization"], shuffled=other)
    assert all(table.of(name, "data_randomization").mean < 0.5 for name in ("InputXGradient", "GradCAM"))
    assert all(table.of(name, "data_randomization").mean > 0.999 for name in table.controls)
