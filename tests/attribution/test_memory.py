"""Memory: it does not grow with the work, and only with what comes out of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from netlens.attribution import (
    RISE,
    GradCAM,
    IntegratedGradients,
    KernelShap,
    LayerCAM,
    Lime,
    Saliency,
    SmoothGradient,
    method,
)
from netlens.evaluation import randomized
from netlens.finite import all_finite
from netlens.flat import FlatModel
from netlens.objectives import logit


@pytest.mark.parametrize("explainer", [Saliency(), GradCAM("2"), LayerCAM(("0", "2"))], ids=repr)
def test_a_large_batch_runs_in_parts(explainer, monkeypatch):
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)
    flat = FlatModel.from_nn_Module(randomized(nn.Sequential(*layers)).double())
    x = torch.rand(5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole, copies = (explainer(flat, batch, logit([0, 3, 1, 4, 2])).values for batch in (x, x[:1].expand_as(x)))
    parts, plain = [], type(explainer).attribute

    def noting(self, flat, part, *rest):
        parts.append(len(part))
        return plain(self, flat, part, *rest)

    monkeypatch.setattr(type(explainer), "attribute", noting)
    monkeypatch.setattr(method, "_PART", 2)
    assert_close(explainer(flat, x, logit([0, 3, 1, 4, 2])).values, whole, rtol=1e-11, atol=1e-13)
    assert_close(explainer(flat, x[:1].expand_as(x), logit([0, 3, 1, 4, 2])).values, copies, rtol=1e-11, atol=1e-13)
    assert parts == 2 * [2, 2, 1]


class Largest(TorchDispatchMode):
    """The bytes of the largest memory that any operation gives."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(outputs):
            if isinstance(leaf, torch.Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return outputs


@pytest.mark.parametrize(
    "make",
    [
        lambda n: IntegratedGradients(n_steps=n),
        lambda n: SmoothGradient(n_samples=n),
        lambda n: RISE(n_masks=n),
        lambda n: KernelShap(n_samples=n, feature_mask=torch.arange(64).view(8, 8) // 5),
        lambda n: Lime(n_samples=n, feature_mask=torch.arange(64).view(8, 8) // 5),
        lambda n: GradCAM("2"),
    ],
    ids=["steps", "samples", "masks", "coalitions", "surrogate", "classes"],
)
def test_memory_does_not_grow_with_the_work(make, request):
    layers = nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    flat = FlatModel.from_nn_Module(randomized(nn.Sequential(*layers)).double())
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    peaks = []
    for n in (300, 1200):
        classes = request.node.callspec.id == "classes"
        copies = x.expand(n, -1, -1, -1) if classes else x
        with Largest() as largest:
            make(n)(flat, copies, logit([i % 32 for i in range(len(copies))]))
        peaks.append(largest.bytes)
    assert peaks[0] == peaks[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(dtype, bad):
    values = torch.randn(101, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert all_finite(values) and all_finite(values[:0]) and all_finite(values[3])
    for place in range(101):
        broken = values.clone()
        broken[place] = bad
        assert not all_finite(broken) and not all_finite(broken.expand(3, -1))
