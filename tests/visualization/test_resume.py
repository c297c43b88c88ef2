"""Going on from a state, being done early, and samples of a batch that are not each by itself."""

from functools import partial

import pytest
import torch
from torch import nn

from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter
from netlens.objectives import channel, content, diversity, interpolation, region
from netlens.preprocessing import Preprocessing
from netlens.visualization import (
    Fourier,
    FromImage,
    Maco,
    OptVis,
    Pixel,
    Shared,
)
from netlens.visualization._schedule import (
    Schedule,
)
from netlens.visualization.transforms import Chain

LBFGS = partial(torch.optim.LBFGS, lr=0.5, max_iter=3)
PHOTOS = torch.rand(2, 3, 24, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def flat():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()
    adapter = Adapter(preprocessing=Preprocessing(None, None, (0.5,), (0.25,)))
    return FlatModel.from_nn_Module(nn.Sequential(*layers).double(), adapter=adapter)


def rendered(flat, objective, param, steps, **options):
    return OptVis(flat, objective, Chain()).render(param, steps, progress=False, **options)


def after(step, *samples):
    """Says from a step on that these samples are done."""

    def stop(history):
        done = torch.zeros(history.shape[1], dtype=torch.bool)
        if len(history) >= step:
            done[list(samples)] = True
        return done

    return stop


@pytest.mark.parametrize("optimizer", [partial(torch.optim.Adam, lr=0.05), LBFGS])
def test_a_state_can_be_gone_on_from_many_times(flat, optimizer):
    half = rendered(flat, channel("3", 0), Fourier(16), 4, optimizer=optimizer)
    first, second = (
        rendered(flat, channel("3", 0), Fourier(16), 9, optimizer=optimizer, resume=half) for _ in range(2)
    )
    assert torch.equal(first.images, second.images) and torch.equal(first.history, second.history)


def test_who_is_done_stays_so_for_those_who_look_at_it(flat):
    objective, options = channel("3", 0) - diversity("3"), {"stop": after(4, 0)}
    whole = rendered(flat, objective, Pixel(12, batch=2), 12, **options)
    half = rendered(flat, objective, Pixel(12, batch=2), 7, **options)
    again = rendered(flat, objective, Pixel(12, batch=2), 12, resume=half, **options)
    assert torch.equal(whole.images, again.images)
    assert torch.equal(whole.images[0], rendered(flat, objective, Pixel(12, batch=2), 4).images[0])
    assert not torch.equal(whole.images[1], half.images[1])


def test_pictures_that_share_parts_are_done_together(flat):
    param = Shared(Pixel(12, batch=2))
    alone, both = (rendered(flat, channel("3", 0), param, 9, stop=after(4, *samples)) for samples in ((0,), (0, 1)))
    assert torch.equal(alone.images, rendered(flat, channel("3", 0), param, 9).images)
    assert torch.equal(both.images, rendered(flat, channel("3", 0), param, 4).images)


@pytest.mark.parametrize("optimizer", [partial(torch.optim.Adam, lr=0.05), LBFGS])
@pytest.mark.parametrize(
    "objective", [-content("3", PHOTOS[:1]), interpolation(channel("3", 0), -content("3", PHOTOS[:1]))]
)
def test_another_picture_is_looked_at_alike_alone_and_in_a_batch(flat, optimizer, objective):
    both = rendered(flat, objective, Pixel(16, batch=2), 3, optimizer=optimizer)
    ends = (objective, objective) if not hasattr(objective, "first") else (objective.first, objective.last)
    for i, end in enumerate(ends):
        alone = rendered(flat, end, Pixel(16, seed=i), 3, optimizer=optimizer)
        assert (both.images[i] - alone.images[0]).abs().max() < 1e-6


def test_another_picture_is_run_once_in_each_size(flat, monkeypatch):
    runs = []
    record = FlatModel.record
    monkeypatch.setattr(FlatModel, "record", lambda self, x, *a, **k: runs.append(x.shape) or record(self, x, *a, **k))
    rendered(flat, -content("3", PHOTOS[:1]), Pixel(16), 6, schedule=Schedule(sizes=(8,)))
    assert [tuple(shape[2:]) for shape in runs] == [(8, 8), (16, 16)]


def test_a_region_is_looked_for_at_every_step_alone_and_in_a_batch(flat):
    torch.manual_seed(1)
    segmenter = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.InstanceNorm2d(3)).double()
    maps = FlatModel.from_nn_Module(segmenter, adapter=flat.adapter)
    both = rendered(maps, region(1), Pixel(8, batch=2), 3, optimizer=LBFGS)
    for seed in range(2):
        alone = rendered(maps, region(1), Pixel(8, seed=seed), 3, optimizer=LBFGS)
        assert (both.images[seed] - alone.images[0]).abs().max() < 1e-6


def test_an_optimizer_for_each_picture_knows_its_own_strengths_of_waves(flat):
    param = FromImage(PHOTOS, Maco)
    both = rendered(flat, channel("3", 0), param, 3, optimizer=LBFGS)
    for i in range(2):
        alone = rendered(flat, channel("3", 0), FromImage(PHOTOS[i], Maco, seed=i), 3, optimizer=LBFGS)
        assert (both.images[i] - alone.images[0]).abs().max() < 1e-6
