"""Incremental runs give what full runs give, wherever the window lies and wherever patches end."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.evaluation import randomized
from netlens.fast import (
    fast,
)
from netlens.fast.regions import Incremental, Patch, Work
from netlens.fast.regions._cost import (
    Cost,
    best_switch,
)
from netlens.flat import FlatModel
from netlens.flat.memory import metered
from tests.networks.local import NETWORKS, PARTS, conv


def network(name: str) -> tuple[FlatModel, Tensor]:
    """A network in float64 and one image; a part of one ends in a map, of which each place then counts."""
    make, size = NETWORKS[name] if name in NETWORKS else (PARTS[name], (14, 17))
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(randomized(make()).double())
    return flat, torch.randn(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def variants(x: Tensor, patch: Patch) -> Tensor:
    changed = x.repeat(len(patch.value), 1, 1, 1)
    for row, (top, left) in enumerate(zip(patch.top, patch.left, strict=True)):
        changed[row, :, top : top + patch.size[0], left : left + patch.size[1]] = patch.value[row]
    return changed


def windows(shape: tuple[int, int], size: tuple[int, int], channels: int = 3) -> Patch:
    """Windows in the corners, at the borders, inside, and shifted by one, all in one batch."""
    size = min(size[0], shape[0]), min(size[1], shape[1])
    down, right = shape[0] - size[0], shape[1] - size[1]
    places = [(t, x) for t in (0, down // 3, down // 2, down) for x in (0, right // 3 + 1, right)]
    places = sorted({(min(t, down), min(x, right)) for t, x in [*places, (down // 2 + 1, right // 2)]})
    generator = torch.Generator().manual_seed(2)
    value = torch.randn(len(places), channels, *size, dtype=torch.float64, generator=generator)
    return Patch(value, tuple(t for t, _ in places), tuple(x for _, x in places))


def saved(work: Work) -> float:
    """The share of multiplications that were not needed."""
    return 1 - work.incremental / work.full


def last_of(flat: FlatModel) -> str:
    return flat.program.outputs[0]


def check(flat: FlatModel, run: Incremental, x: Tensor, patch: Patch) -> None:
    ours = run.run(patch)
    with torch.no_grad():
        full = flat.program.run({run.start: variants(x, patch)}, run.fetches)
    for key in run.fetches:
        assert_close(ours[key], full[key], rtol=1e-10, atol=1e-12)
        # the windows reach what is compared: with other values there, the result is another one
        assert (full[key] - run.result[key]).abs().max() > 1e-6


SIZES = [(1, 1), (3, 2), (5, 5), (9, 14), (14, 3), (100, 100)]


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_exact_wherever_patches_end(name):
    flat, x = network(name)
    last = last_of(flat)
    steps = len(Incremental(flat.program, {"input": x}, "input", [last]).local)
    for count in range(steps + 1):
        run = Incremental(flat.program, {"input": x}, "input", [last], switch=lambda *_, count=count: count)
        for size in SIZES:
            if name == "stride above the kernel" and size == (1, 1):
                continue  # one pixel may fall into a gap
            check(flat, run, x, windows(tuple(x.shape[2:]), size))


# what must run on patches to its end; the other parts meet something global, or borders with rules of their own
LOCAL = set(PARTS) - {
    *("reflected", "average pool of what is there", "average pool with ceil_mode", "instance norm", "gate"),
    *("concatenate along the height", "chunks", "shuffle", "stretched", "upsample", "transposed"),
}


@pytest.mark.parametrize("name", PARTS)
def test_what_is_local_runs_on_patches_to_its_end(name):
    flat, x = network(name)
    run = Incremental(flat.program, {"input": x}, "input", [last_of(flat)])
    assert (run.local[-1:] == [run.steps[-1]]) == (name in LOCAL)
    assert len(run.local) >= (1 if name not in ("average pool of what is there",) else 0)


def test_a_batch_norm_that_normalizes_by_what_it_is_given_ends_patches():
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU()))
    run = Incremental(flat.program, {"input": torch.rand(1, 3, 14, 17)}, "input", [last_of(flat)])
    assert [step.key for step in run.local] == ["0"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("twin", [False, True])
def test_networks_are_exact_wherever_patches_end(name, twin):
    flat, x = network(name)
    runner = fast(flat) if twin else flat
    last = last_of(flat)
    steps = len(Incremental(runner.program, {"input": x}, "input", [last]).local)
    assert steps >= (1 if name in ("vit", "swin") else 5)
    choices = {None, 0, steps, *random.Random(name).sample(range(steps + 1), min(4, steps))}
    for count in choices:
        switch = best_switch if count is None else lambda *_, count=count: count
        run = Incremental(runner.program, {"input": x}, "input", [last], switch=switch)
        for size in [(1, 2), (7, 7), (30, 8), (99, 99)]:
            check(flat, run, x, windows(tuple(x.shape[2:]), size))


@pytest.mark.parametrize("name", ["resnet", "densenet", "branches", "convnext"])
def test_windows_of_a_layer_and_several_layers_wanted(name):
    """From the middle on, with what skips it; wanted are maps that patches pass, one that was known, and the output."""
    flat, x = network(name)
    keys = list(flat.layers)
    run = Incremental(flat.program, {"input": x}, "input", [last_of(flat)])
    maps = [
        step.key for step in run.local if len(run.shapes[step.key]) == 4 and step.key not in run.layouts.channels_last
    ]
    start = maps[len(maps) // 3]
    activations = flat.program.run({"input": x}, list(dict.fromkeys((*flat.frontier(start), start, keys[0]))))
    later = [step.key for step in run.local if step.key in flat.program.reached([start])]
    wanted = [start, later[len(later) // 2], later[-1], last_of(flat)]
    at = activations[start]
    for count in (0, 1, len(later) // 2, len(later) - 1):
        partial_run = Incremental(
            flat.program, activations, start, [keys[0], *wanted], switch=lambda *_, count=count: count
        )
        assert len(partial_run.local) >= count
        for size in [(1, 1), (3, 4), (50, 50)]:
            patch = windows(tuple(at.shape[2:]), size, at.shape[1])
            rows = len(patch.value)
            with torch.no_grad():
                repeated = {key: value.repeat(rows, *[1] * (value.ndim - 1)) for key, value in activations.items()}
                full = flat.program.run({**repeated, start: variants(at, patch)}, partial_run.fetches)
            ours = partial_run.run(patch)
            for key in partial_run.fetches:
                assert_close(ours[key], full[key], rtol=1e-10, atol=1e-12)


def test_random_windows_on_random_networks():
    """A chain of sliding layers at random, on a map of random size, with windows and the end of patches at random."""
    draw = random.Random(0)
    for seed in range(40):
        layers: list[nn.Module] = []
        channels, size = 2, (draw.randint(9, 25), draw.randint(9, 25))
        for _ in range(draw.randint(1, 4)):
            kernel, stride, dilation = draw.randint(1, 4), draw.randint(1, 3), draw.randint(1, 2)
            padding = draw.randint(0, kernel // 2)
            kind = draw.choice(["conv", "max", "average"])
            if kind == "conv":
                layers.append(conv(channels, 4, kernel, stride, padding, dilation, draw.choice([1, 2])))
                channels = 4
            elif kind == "max":
                layers.append(nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=draw.random() < 0.5))
            else:
                layers.append(nn.AvgPool2d(kernel, stride, padding))
        x = torch.randn(1, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        network = randomized(nn.Sequential(*layers), seed).double()
        try:
            network(x)
        except RuntimeError:
            continue  # no window of some layer fits
        flat = FlatModel.from_nn_Module(network)
        for count in range(len(layers) + 1):
            run = Incremental(
                flat.program, {"input": x}, "input", [last_of(flat)], switch=lambda *_, count=count: count
            )
            assert len(run.local) == len(layers)
            for _ in range(4):
                patch = windows(size, (draw.randint(1, size[0]), draw.randint(1, size[1])), 2)
                with torch.no_grad():
                    assert_close(run.run(patch)[last_of(flat)], network(variants(x, patch)), rtol=1e-10, atol=1e-12)


def test_the_work_done_and_saved_with_a_pencil():
    network = nn.Sequential(
        conv(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), conv(4, 5, 3), nn.Flatten(), nn.Linear(180, 2)
    )
    flat = FlatModel.from_nn_Module(network.double())
    x = torch.randn(1, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    full = 16 * 16 * 4 * 27 + 6 * 6 * 5 * 36 + 180 * 2
    run = Incremental(flat.program, {"input": x}, "input", [last_of(flat)], switch=lambda *_: 4)
    assert run.work == Work(full, full)  # the sample itself, once
    # pixels 4 and 5 reach 3 to 6 of the first maps, 1 to 3 of the pooled ones, and 0 to 3 of the last
    run.run(Patch(torch.zeros(3, 3, 2, 2, dtype=torch.float64), (4, 4, 4), (4, 4, 4)))
    inside = 4 * 4 * 4 * 27 + 4 * 4 * 5 * 36 + 180 * 2
    assert run.work == Work(full + 3 * inside, 4 * full)
    # in the corner, pixels 0 and 1 reach 0 to 2, then 0 and 1, then 0 and 1
    before = run.work
    run.run(Patch(torch.zeros(1, 3, 2, 2, dtype=torch.float64), (0,), (0,)))
    assert run.work - before == Work(3 * 3 * 4 * 27 + 2 * 2 * 5 * 36 + 180 * 2, full)
    assert saved(run.work - before) == 1 - (972 + 720 + 360) / 34_488
    # where patches end after the first layers, the rest is done on full maps; where they never start, everything is
    for count, done in [(1, 4 * 4 * 4 * 27 + 6 * 6 * 5 * 36 + 360), (0, full)]:
        run = Incremental(flat.program, {"input": x}, "input", [last_of(flat)], switch=lambda *_, count=count: count)
        run.run(Patch(torch.zeros(1, 3, 2, 2, dtype=torch.float64), (4,), (4,)))
        assert run.work - Work(full, full) == Work(done, full)


def test_patches_end_where_it_costs_least():
    one, five, free = Cost(1, 0), Cost(5, 0), [Cost(0, 0)] * 9
    assert best_switch([one, one], [five, five, five], free) == 2
    assert best_switch([five, five], [one, one, one], free) == 0
    assert best_switch([one, Cost(9, 0), one], [five] * 4, free) == 1
    # a dear step in the middle pays if enough is saved after it
    assert best_switch([one, Cost(9, 0), one, one, one], [five] * 6, free) == 5
    # what is moved counts too, and so does what it takes to make full maps again
    assert best_switch([Cost(1, 1)], [five, five], free) == 0
    assert best_switch([one, one], [five, five], [Cost(0, 0), Cost(3, 0), Cost(8, 0)]) == 1


def test_small_windows_save_work_and_large_ones_run_whole():
    flat, x = network("resnet")
    run = Incremental(flat.program, {"input": x}, "input", [last_of(flat)])
    plans = [len(run.plan(size).steps) for size in ((1, 1), (8, 8), (16, 16), (40, 36))]
    assert plans == sorted(plans, reverse=True) and plans[0] > 3 and plans[-1] == 0
    before = run.work
    run.run(windows((40, 36), (2, 2)))
    assert 0.1 < saved(run.work - before) < 1


def test_chunks_are_chosen_by_patches_and_not_by_the_sample_itself():
    flat, x = network("resnet")
    with metered() as meter:
        run = Incremental(flat.program, {"input": x}, "input", [last_of(flat)])
        assert meter.live == 0
        patch = windows(tuple(x.shape[2:]), (2, 2))
        run.run(Patch(patch.value[:1], patch.top[:1], patch.left[:1]))
    with metered() as whole:
        flat.program.run({"input": x}, [last_of(flat)])
    assert patch.value[:1].nbytes < meter.live < whole.live


class _Positions(nn.Module):
    """Positions in the size of a map, made before it is normalized as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.GroupNorm(2, 4), nn.Linear(4, 5)
        self.places = nn.Parameter(torch.randn(1, 4, 5, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        places = F.interpolate(self.places, x.shape[-2:])
        x = F.relu(self.second(x))
        return self.head((self.norm(x) + places).mean((2, 3)))


class _Divided(nn.Module):
    """A map that is divided by its own number of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = F.relu(self.second(x / x.size(1) + x.dim()))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("make", [_Positions, _Divided])
def test_sizes_are_those_of_the_sample(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(randomized(make()).double())
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    run = Incremental(flat.program, {flat.inputs[0]: x}, flat.inputs[0], flat.program.outputs)
    check(flat, run, x, windows((64, 64), (8, 8)))
    assert saved(run.work) > 0.2
