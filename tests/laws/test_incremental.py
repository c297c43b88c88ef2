"""Occlusion and ablation compute again only what a window can have changed, and give what full runs give."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import FeatureAblation, Occlusion
from netlens.errors import NotApplicable
from netlens.fast import (
    fast,
)
from netlens.fast.regions import Incremental, Patch
from netlens.flat import FlatModel
from netlens.objectives import logit
from tests.laws.maps import OPERATIONS, C, H, W, alone, conv, generated


def check_patches(network: nn.Module, x: Tensor, draw: random.Random) -> None:
    """At random windows, wherever patches end, in the network and in its fast twin."""
    flat = FlatModel.from_nn_Module(network)
    for runner in (flat, fast(flat)):
        wanted = runner.program.outputs
        local = len(Incremental(runner.program, {"input": x}, "input", wanted).local)
        for count in {0, local, draw.randint(0, local)}:
            run = Incremental(runner.program, {"input": x}, "input", wanted, switch=lambda *_, count=count: count)
            high, wide, rows = draw.randint(1, H), draw.randint(1, W), draw.randint(1, 4)
            tops = tuple(draw.randint(0, H - high) for _ in range(rows))
            lefts = tuple(draw.randint(0, W - wide) for _ in range(rows))
            new = torch.randn(rows, C, high, wide, dtype=x.dtype)
            variants = x.repeat(rows, 1, 1, 1)
            for row, (top, left) in enumerate(zip(tops, lefts, strict=True)):
                variants[row, :, top : top + high, left : left + wide] = new[row]
            assert_close(run.run(Patch(new, tops, lefts))[wanted[0]], alone(network, variants), rtol=1e-9, atol=1e-10)


def check_methods(network: nn.Module, x: Tensor, draw: random.Random) -> None:
    """Occlusion with windows and strides at random, and ablation of scattered features and of compact ones."""
    flat, whole = FlatModel.from_nn_Module(network), alone(network, x)
    window, stride = (draw.randint(1, H), draw.randint(1, W)), (draw.randint(1, 6), draw.randint(1, 6))
    ours = Occlusion(window, stride, baselines=0.4)(flat, x, logit([0, 2])).values
    total, cover = torch.zeros_like(x), torch.zeros_like(x)
    for top in range(0, max(1, H - window[0] + stride[0]), stride[0]):
        for left in range(0, max(1, W - window[1] + stride[1]), stride[1]):
            part = (slice(None), slice(None), slice(top, top + window[0]), slice(left, left + window[1]))
            covered = x.clone()
            covered[part] = 0.4
            fall = (whole - alone(network, covered))[[0, 1], [0, 2]]
            total[part] += fall.view(2, 1, 1, 1)
            cover[part] += 1
    assert_close(ours, total / cover.clamp(min=1), rtol=1e-9, atol=1e-9)
    for mask in (torch.randint(0, 4, (1, 1, H, W)), torch.arange(H * W).view(1, 1, H, W) // 25):
        ours = FeatureAblation(mask, baselines=0.4)(flat, x, logit([0, 2])).values
        for feature in range(4):
            off = (mask == feature).expand_as(x)
            fall = (whole - alone(network, torch.where(off, 0.4, x)))[[0, 1], [0, 2]]
            assert_close(ours[off].view(2, -1), fall[:, None].expand(2, int(off[0].sum())), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation(name: str) -> None:
    network, x, draw = generated(len(name), name)
    check_patches(network, x[:1], draw)
    check_methods(network, x, draw)


@pytest.mark.parametrize("seeds", [range(first, first + 10) for first in range(100, 200, 10)], ids=str)
def test_operations_at_random(seeds: range) -> None:
    for seed in seeds:
        network, x, draw = generated(seed)
        check_patches(network, x[:1], draw)
        if seed % 4 == 0:
            check_methods(network, x, draw)


@pytest.mark.parametrize("seed", range(30))
def test_windows_of_layers(seed: int) -> None:
    """From the middle on, with what stands beside the layer; a run of the rest alone is what it is held against."""
    network, x, draw = generated(seed)
    flat, x = FlatModel.from_nn_Module(network), x[:1]
    (output,) = flat.program.outputs
    reached = flat.program.reached(flat.inputs)
    for start in draw.sample([key for key in flat.layers if key in reached and key != output], k=2):
        values = flat.program.run({"input": x}, list(dict.fromkeys((*flat.frontier(start), start))))
        at = values[start]
        if not isinstance(at, Tensor) or at.ndim != 4 or len(at) > 1 or not at.is_floating_point():
            continue
        local = len(Incremental(flat.program, values, start, [output]).local)
        for count in range(local + 1):
            run = Incremental(flat.program, values, start, [output], switch=lambda *_, count=count: count)
            top, left = draw.randrange(at.shape[2]), draw.randrange(at.shape[3])
            new = torch.randn(3, at.shape[1], 1, 1, dtype=at.dtype)
            ours = run.run(Patch(new, (top,) * 3, (left,) * 3))[output]
            for row in range(3):
                changed = at.clone()
                changed[0, :, top, left] = new[row, :, 0, 0]
                expected = flat.program.run({**values, start: changed}, [output])[output]
                assert_close(ours[row : row + 1], expected, rtol=1e-9, atol=1e-10)


class Beside(nn.Module):
    """Beside the layer, a branch whose rows are no samples."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = conv(C, 3, padding=1), conv(C, 1), nn.Linear(C, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        swapped = self.second(x.flip(2)).permute(1, 2, 3, 0)
        return self.head((self.second(y).relu() * swapped.permute(3, 0, 1, 2)).mean((2, 3)))


def test_rows_of_what_stands_beside_a_layer() -> None:
    torch.manual_seed(0)
    network = Beside().double()
    flat, x = FlatModel.from_nn_Module(network), torch.randn(1, C, H, W, dtype=torch.float64)
    values = flat.program.run({"input": x}, list(dict.fromkeys((*flat.frontier("first"), "first"))))
    new = torch.randn(3, C, 2, 2, dtype=torch.float64)
    for count in range(4):
        run = Incremental(flat.program, values, "first", flat.program.outputs, switch=lambda *_, count=count: count)
        ours = run.run(Patch(new, (1, 2, 3), (0, 1, 2)))[flat.program.outputs[0]]
        for row in range(3):
            changed = values["first"].clone()
            changed[0, :, row + 1 : row + 3, row : row + 2] = new[row]
            full = flat.program.run({**values, "first": changed}, flat.program.outputs)[flat.program.outputs[0]]
            assert_close(ours[row : row + 1], full, rtol=1e-10, atol=1e-12)


def test_windows_that_would_begin_past_the_border_are_none() -> None:
    """A stride above the window: the last window covers what is left, and there is no empty one after it."""
    network, x, _ = generated(0, "gate per place")
    assert len(Occlusion(2, 5)._windows([9, 11])) == 2 * 3
    values = Occlusion(2, 5)(FlatModel.from_nn_Module(network), x, logit(0)).values
    assert (values[:, :, 7:] == 0).all() and (values[:, :, :2, 10:] != 0).all()


def test_what_does_not_depend_on_the_input_has_no_windows() -> None:
    network, x, _ = generated(0, "buffer of all")
    flat = FlatModel.from_nn_Module(network)
    for method in (Occlusion(2, 2), FeatureAblation()):
        with pytest.raises(NotApplicable, match=r"'stages.0.b' of generated does not depend on the input"):
            method(flat, x, logit(0), wrt="stages.0.b")
