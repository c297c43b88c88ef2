"""NetDreamer: each picture is what was asked for, and as if it were alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from netlens.classes import ClassNames
from netlens.errors import ClassNotFound, LayerNotFound, NetLensError
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter
from netlens.objectives import Record, channel, layer, log_probability, logit, neuron
from netlens.preprocessing import Preprocessing
from netlens.visualization import Alpha, Fourier, NetDreamer, Pixel
from netlens.visualization.transforms import Chain

PLAIN = Preprocessing(None, None, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture(scope="module")
def flat():
    torch.manual_seed(0)
    trunk = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=2, padding=1)]
    module = nn.Sequential(*trunk, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    names = ClassNames(["owl", "barn swallow", "cat, tabby"])
    module = randomized(module).double().eval()
    return FlatModel.from_nn_Module(module, adapter=Adapter(preprocessing=PLAIN), classes=names)


@pytest.fixture
def dreamer(flat):
    return NetDreamer(flat, size=24, steps=20, seed=3, transforms=Chain(), progress=False)


def value(flat, objective, images):
    with torch.no_grad():
        x = flat.adapter.preprocessing.normalize(images.double())
        return objective(Record(flat, flat.record(x, layers=objective.layers)))


REQUESTS = {
    "channel": (lambda d, i: d.channel("3", i), lambda i: channel("3", i)),
    "neuron": (lambda d, i: d.neuron("3", i), lambda i: neuron("3", i)),
    "neuron at": (lambda d, i: d.neuron("3", i, 0, 2), lambda i: neuron("3", i, 0, 2)),
    "class": (lambda d, i: d.classes(i), lambda i: logit(i) + log_probability(i)),
    "negative": (lambda d, i: d.negative("3", i), lambda i: -channel("3", i)),
}


@pytest.mark.parametrize("request_", REQUESTS)
def test_each_picture_of_a_batch_is_its_own_single_run_and_excites(dreamer, flat, request_):
    ask, objective = REQUESTS[request_]
    together = ask(dreamer, [2, 0])
    assert together.seeds == (3, 3) and together.images.shape == (2, 3, 24, 24)
    start = torch.full((1, 3, 24, 24), 0.5)
    for i, index in enumerate((2, 0)):
        alone = ask(dreamer, index)
        torch.testing.assert_close(together[i].images, alone.images, rtol=0, atol=1e-5)
        torch.testing.assert_close(together.history[:, i], alone.history[:, 0], rtol=1e-7, atol=1e-9)
        assert together.captions[i] == alone.captions[0]
        goal = objective(index)
        assert value(flat, goal, alone.images) > value(flat, goal, start) + 0.05
    # each picture excites its own more than the other's does
    for i, index in enumerate((2, 0)):
        values = value(flat, objective(index), together.images)
        assert values[i] > values[1 - i]


def test_a_class_picture_is_of_that_class_rather_than_another():
    """Red raises both scores, and the other more: by the score alone, the picture would be red."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        network[2].weight.copy_(torch.tensor([[4.0, 8.0, 0.0], [16.0, 0.0, 0.0]]))
    adapter = Adapter(preprocessing=Preprocessing(None, None, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    flat = FlatModel.from_nn_Module(network, adapter=adapter)
    dreamer = NetDreamer(flat, size=8, steps=200, param=Pixel, transforms=Chain(), progress=False)
    scores, by_score_alone = (
        flat(render.images)[0] for render in (dreamer.classes(0), dreamer.render(logit(0), ["red"]))
    )
    assert scores[0] > scores[1] and by_score_alone[0] < by_score_alone[1]


def test_layer_and_captions(dreamer, flat):
    render = dreamer.layer("3")
    assert render.captions == ("3",)
    assert value(flat, layer("3"), render.images) > value(flat, layer("3"), torch.full((1, 3, 24, 24), 0.5))
    assert dreamer.channel("3", [1, 0]).captions == ("3:1", "3:0")
    assert dreamer.neuron("3", 1, 2, 3).captions == ("3:1 at 2,3",)
    assert dreamer.neuron("3", 1).captions == ("3:1 at middle",)
    render = dreamer.classes(["cat", 0])
    assert render.captions == ("cat", "owl") and render.provenance.targets == (2, 0)
    assert dreamer.negative("3", 4).captions == ("3:4 negative",)
    assert dreamer.channel("3", range(2)).captions == ("3:0", "3:1")
    assert dreamer.channel(nn.BatchNorm2d, 1).captions == dreamer.channel("[1]", 1).captions == ("1:1",)
    with pytest.raises(NetLensError, match=r"param is Alpha.*, but must be"):
        replace(dreamer, param=Alpha(Fourier(24))).channel("3", 1)


def test_channel_0_and_class_0_are_like_any_other(dreamer):
    assert torch.equal(dreamer.channel("3", 0).images, dreamer.channel("3", [0]).images)
    assert not torch.equal(dreamer.channel("3", 0).images, dreamer.channel("3", 5).images)
    assert torch.equal(dreamer.classes(0).images, dreamer.classes("owl").images)


def test_negative_and_positive_side_by_side(dreamer, flat):
    both = dreamer.both("3", [1, 4])
    assert both.captions == ("3:1 negative", "3:1", "3:4 negative", "3:4")
    assert torch.equal(both.images[3], dreamer.channel("3", 4).images[0])
    values = value(flat, channel("3", 1), both.images)
    assert values[0] < values[1]


def test_a_diverse_row_is_more_diverse_than_other_seeds_alone(dreamer, flat):
    from netlens.objectives import diversity

    row = dreamer.diverse("3", 1, n=3, weight=3.0)
    assert len(row) == 3 and row.seeds == (3, 4, 5)
    alone = dreamer.render(channel("3", 1), ["a", "b", "c"], (3, 4, 5))
    assert value(flat, diversity("3"), row.images).mean() < value(flat, diversity("3"), alone.images).mean()
    assert (
        value(flat, channel("3", 1), row.images) > value(flat, channel("3", 1), torch.full((1, 3, 24, 24), 0.5))
    ).all()


def test_options(flat):
    plain = NetDreamer(
        flat, size=(12, 15), steps=2, param=Pixel(sd=0.3, batch=7), options={"redirect": 0}, progress=False
    )
    render = plain.channel("3", [0, 1])
    assert render.images.shape == (2, 3, 12, 15) and render.provenance.options["redirect"] == 0
    assert render.images.std() > 0.03  # of 0.3 before the sigmoid and the mix of colors, not of 0.01
    assert NetDreamer(flat, steps=1, progress=False).layer("0").images.shape == (1, 3, 224, 224)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, torch.tensor])
def test_indices_of_any_library(dreamer, kind):
    assert dreamer.channel("3", kind(2)).captions == ("3:2",)
    assert dreamer.neuron("3", kind(2), kind(0), kind(1)).captions == ("3:2 at 0,1",)
    assert dreamer.classes(kind(2)).captions == ("cat",)
    assert dreamer.diverse("3", kind(2), n=2).captions == ("3:2 · 1", "3:2 · 2")
    assert dreamer.channel("3", np.array([2, 1])).captions == ("3:2", "3:1")
    assert dreamer.classes(torch.tensor([2, 1])).captions == ("cat", "barn swallow")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 32.5}, "size is 32.5, but must be a whole number of at least 1"),
        ({"steps": 1.5}, "steps is 1.5, but must be a whole number from 1 to 1,000,000"),
        ({"steps": "3"}, "steps is '3', but must be"),
        ({"seed": 1.5}, "seed is 1.5, but must be"),
        ({"seed": -1}, "seed is -1, but must be a whole number of at least 0"),
        ({"param": "pixel"}, "param is 'pixel', but must be"),
        ({"param": Chain}, "param is the class Chain, but must be"),
        ({"transforms": "none"}, "transforms is 'none', but must be a Transform or None"),
        ({"progress": "no"}, "progress is 'no', but must be True or False"),
        ({"options": {"optimizr": None}}, "no option 'optimizr'"),
        ({"options": {"steps": 3}}, "no option 'steps'"),
        ({"options": {"optimizer": "adam"}}, "optimizer"),
        ({"options": 3}, "options is 3, but must be a mapping"),
    ],
    ids=str,
)
def test_options_of_another_type_are_named(flat, options, message):
    with pytest.raises(NetLensError, match=message):
        NetDreamer(flat, **{"size": 16, "steps": 1, "progress": False, **options}).channel("3", 0)


def test_errors(dreamer, flat):
    with pytest.raises(NetLensError, match="FlatModel"):
        NetDreamer(nn.Conv2d(3, 3, 1))
    for ask in (dreamer.channel, dreamer.neuron, dreamer.negative, dreamer.diverse):
        with pytest.raises(NetLensError, match=r"a channel is 1\.5, but must be a whole number"):
            ask("3", 1.5)
    with pytest.raises(NetLensError, match=r"a channel is \[0, 1\], but must be a whole number"):
        dreamer.examples("3", [0, 1], ".")
    with pytest.raises(NetLensError, match=r"a position is 0\.5, but must be a whole number"):
        dreamer.neuron("3", 1, 0.5, 1)
    with pytest.raises(ClassNotFound):
        dreamer.classes(1.5)
    with pytest.raises(LayerNotFound):
        dreamer.channel("trunk", 0)
    with pytest.raises(NetLensError, match="channels are 0 to 5"):
        dreamer.channel("3", 6)
    with pytest.raises(NetLensError, match="no channel"):
        dreamer.channel("3", [])
    with pytest.raises(NetLensError, match="no class"):
        dreamer.classes([])
    with pytest.raises(ClassNotFound):
        dreamer.classes("dog")
    with pytest.raises(ClassNotFound, match="0 to 2"):
        dreamer.classes(3)
    with pytest.raises(NetLensError, match="from 2 to 1,000"):
        dreamer.diverse("3", 0, n=1)
