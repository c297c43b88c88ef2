"""Chunks: of a size that fits, smaller when memory runs out, and never noticed in the values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision.models as tv
from torch import nn
from torch.testing import assert_close

from netlens.attribution import (
    LRP,
    ExcitationBackprop,
    FullGrad,
    IntegratedGradients,
    Occlusion,
    ShapleyCAM,
    engine,
)
from netlens.attribution import _backward as backward
from netlens.attribution import _strategies as strategies
from netlens.attribution.mixing import mixing
from netlens.errors import NetLensError
from netlens.evaluation import randomized
from netlens.fast import chunks
from netlens.fast.chunks import fitting, in_chunks
from netlens.flat import FlatModel
from netlens.flat.layout import layout_of
from netlens.flat.memory import LARGEST, Meter, metered
from netlens.objectives import logit, output


def ranges(total, size, work=None):
    bounds = []

    def noting(start, stop):
        if work is not None:
            work(start, stop)
        bounds.append((start, stop))
        return list(range(start, stop))

    assert [i for part in in_chunks(total, size, noting) for i in part] == list(range(total))
    return bounds


def test_a_given_size_is_kept():
    assert ranges(7, 3) == [(0, 3), (3, 6), (6, 7)]
    assert ranges(2, 100) == [(0, 2)]
    assert ranges(0, 3) == ranges(0, None) == []
    for wrong in (0, -1):
        with pytest.raises(NetLensError, match=f"chunk is {wrong}, but must be a whole number of at least 1 or None"):
            list(in_chunks(3, wrong, lambda *_: 0))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("can't allocate memory: 9 TB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=lambda error: str(error)[:10],
)
@pytest.mark.parametrize("size", [16, None])
def test_it_halves_when_memory_runs_out_and_goes_on_where_it_was(error, size):
    tried = []

    def at_most_5_after_the_first(start, stop):
        tried.append((start, stop))
        if start > 0 and stop - start > 5:
            raise error

    done = ranges(40, size, at_most_5_after_the_first)
    if size == 16:
        # 16, 8 and 4 are tried, and 4 it stays
        assert tried[:4] == [(0, 16), (16, 32), (16, 24), (16, 20)]
    assert max(stop - start for start, stop in done if start > 0) <= 5
    assert len(tried) - len(done) == (2 if size == 16 else 3)  # what fitted before is not tried again and again


def test_what_does_not_fit_alone_and_other_errors_are_raised():
    def fails(error):
        def work(start, stop):
            raise error

        return work

    for size in (8, None):
        with pytest.raises(MemoryError):
            list(in_chunks(8, size, fails(MemoryError())))
        with pytest.raises(RuntimeError, match="mat1 and mat2"):
            list(in_chunks(8, size, fails(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))))


def chain(width: int) -> FlatModel:
    layers = (nn.Linear(width, width), nn.Sigmoid(), nn.Linear(width, width), nn.Sigmoid(), nn.Linear(width, 2))
    return FlatModel.from_nn_Module(nn.Sequential(*layers))


def test_a_meter_measures_what_is_held_with_a_pencil():
    flat, x = chain(1000), torch.zeros(1, 1000)
    with torch.no_grad(), metered() as meter:
        flat(x)
    assert meter.bytes == meter.live == 2 * 4 * 1000  # a layer's input beside its output
    assert meter.largest == 4 * 1000
    with torch.enable_grad(), metered() as meter:
        flat(x.clone().requires_grad_())
    assert meter.bytes == 4 * (4 * 1000 + 2)  # all that the layers give
    assert meter.live == 2 * 4 * 1000
    with metered() as outer, metered() as inner, torch.no_grad():
        flat(x)
    assert outer.bytes == inner.bytes == 8000
    with torch.no_grad():
        flat(x)
    assert outer.bytes == 8000  # nothing outside of the block


def test_views_count_once():
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Flatten(), nn.Identity(), nn.Unflatten(1, (2, 50)), nn.Flatten()))
    with torch.no_grad(), metered() as meter:
        flat(torch.zeros(1, 10, 10))
    assert meter.bytes == 400


def test_no_tensor_of_a_chunk_is_larger_than_what_is_kept_for_the_next():
    six = Meter(live=2**20, bytes=2**20, largest=LARGEST // 6)
    assert fitting(six) == 6 and fitting(replace(six, largest=LARGEST // 6 + 1)) == 5
    assert fitting(replace(six, largest=2 * LARGEST)) == 1


def test_a_chunk_has_room():
    assert fitting(Meter(live=2**26 // 7, bytes=2**26 // 7)) == 7
    assert fitting(Meter(live=2**20, bytes=2**30 // 5)) == 5  # a graph needs more
    assert fitting(Meter(2**40, 2**40)) == 1
    assert fitting(Meter()) == fitting(Meter(100, 200)) == 256


def test_larger_layers_and_inputs_run_in_smaller_chunks():
    sizes = {}
    for name, side in (("vgg11", 64), ("vgg11", 224), ("squeezenet1_1", 64)):
        flat = FlatModel.from_nn_Module(getattr(tv, name)().eval())
        x = torch.zeros(1, 3, side, side)
        for gradients in (False, True):
            with torch.set_grad_enabled(gradients), metered() as meter:
                flat(x.clone().requires_grad_(gradients))
            sizes[name, side, gradients] = meter.bytes
    # the rectified first maps, which overwrite those before, beside the pooled ones
    assert sizes["vgg11", 224, False] == 4 * 64 * (224 * 224 + 112 * 112)
    assert 10 < sizes["vgg11", 224, False] / sizes["vgg11", 64, False] < 13
    for name, side in (("vgg11", 64), ("vgg11", 224), ("squeezenet1_1", 64)):
        assert sizes[name, side, True] > 2 * sizes[name, side, False]


@pytest.mark.parametrize(("method", "chunks"), [(IntegratedGradients(n_steps=40), [39]), (Occlusion((3, 4), 2), [62])])
def test_the_first_runs_alone_and_the_rest_in_chunks(method, chunks, cases):
    case = cases["plain"]
    rows = []

    class Counting(nn.Module):
        def forward(self, x):
            rows.append(len(x))
            return x

    flat = case.flat.prepend("counting", Counting())
    mixing(flat, case.x)  # it is told once that samples do not change each other
    layout_of(flat, {"input": case.x})  # and once where the positions of the input lie
    rows.clear()
    method(flat, case.x[:1], logit(0))
    # besides the first of 40 steps, or of 7 times 9 windows, the sample itself runs alone, and the baseline
    assert [count for count in rows if count > 1] == chunks
    assert rows.index(chunks[0]) in (1, 2)


def test_gradients_of_a_batch_run_in_chunks_that_fit(monkeypatch):
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)
    flat = FlatModel.from_nn_Module(randomized(nn.Sequential(*layers)).double())
    x = torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = [0, 3, 1, 4, 2]
    apart = [engine.gradients_of(flat, x[[i]], logit(target), ["input", "2"]) for i, target in enumerate(targets)]
    lengths, plain = [], backward.record_for

    def noting(objective, flat, samples, *rest):
        lengths.append(len(samples))
        return plain(objective, flat, samples, *rest)

    monkeypatch.setattr(backward, "record_for", noting)
    monkeypatch.setattr(strategies, "fitting", lambda meter: 2)
    for _ in range(2):
        together = engine.gradients_of(flat, x, logit(targets), ["input", "2"])
        for kind in (0, 1):  # activations, gradients
            for i, values in enumerate(together[kind]):
                assert_close(values, torch.cat([one[kind][i] for one in apart]), rtol=1e-11, atol=1e-13)
    assert lengths == [1, 2, 2, 1, 2, 2, 1]  # measured once
    picked = output(lambda scores: scores[torch.arange(5), torch.tensor(targets)])  # which no part of a batch fits
    assert_close(engine.gradients_of(flat, x, picked, ["input"])[1][0], together[1][0], rtol=1e-11, atol=1e-13)
    assert lengths[-1] == 5


@pytest.mark.parametrize(
    "method", [LRP(), LRP("epsilon_gamma_box"), FullGrad(), ExcitationBackprop(), ShapleyCAM("2")], ids=repr
)
def test_what_has_rules_or_a_prefix_runs_in_chunks_that_fit(method, monkeypatch):
    rows = []

    class Counting(nn.Conv2d):
        def forward(self, x):
            rows.append(len(x))
            return super().forward(x)

    layers = Counting(3, 4, 3), nn.Sigmoid(), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)
    flat = FlatModel.from_nn_Module(randomized(nn.Sequential(*layers)).double())
    x = torch.rand(5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = [0, 3, 1, 4, 2]
    apart = torch.cat([method(flat, x[[i]], logit(target)).values for i, target in enumerate(targets)])
    monkeypatch.setattr(chunks, "fitting", lambda meter: 2)
    rows.clear()
    assert_close(method(flat, x, logit(targets)).values, apart, rtol=1e-10, atol=1e-12)
    assert max(rows) == 2
