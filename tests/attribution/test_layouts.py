"""Tensors that lie otherwise: views that ask for memory, samples in another dimension, values of no sample."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.testing import assert_close

from netlens import NetLens
from netlens.attribution import (
    LRP,
    RISE,
    FeatureAblation,
    FullGrad,
    GradCAM,
    IntegratedGradients,
    LayerActivation,
    LeGrad,
    Occlusion,
    Saliency,
    ScoreCAM,
    SmoothGradient,
    chunks_of,
    full_gradients,
)
from netlens.attribution._rows import (
    with_rows,
)
from netlens.attribution.activations import batch_activations
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import PerSample, diversity, logit
from tests.networks.local import NETWORKS


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def flattened(network: type[nn.Module]) -> FlatModel:
    torch.manual_seed(0)
    return FlatModel.from_nn_Module(network().double().eval())


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.h = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 3), nn.Linear(8 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.h(self.vectors(F.relu(self.b(F.relu(self.a(x))))))

    def vectors(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Viewed(Convolutions):
    def vectors(self, x: Tensor) -> Tensor:
        return x.view(-1, 8 * 64)


class ViewedAs(Convolutions):
    def vectors(self, x: Tensor) -> Tensor:
        return x.view_as(x.flatten(1))


@fx.wrap
def seen_in_one_row(x: Tensor) -> Tensor:
    return x.view(len(x), -1)


class Wrapped(Convolutions):
    def vectors(self, x: Tensor) -> Tensor:
        return seen_in_one_row(x)


class Unrollable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(len(x), -1) if x.sum() < torch.inf else x


class Opaque(Convolutions):
    def __init__(self) -> None:
        super().__init__()
        self.part = Unrollable()

    def vectors(self, x: Tensor) -> Tensor:
        return self.part(x)


class Direct(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.h = nn.Linear(432, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.h(F.relu(self.a(self.vector(x))))

    def vector(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), -1)


class DirectlyFlattened(Direct):
    def vector(self, x: Tensor) -> Tensor:
        return x.flatten(1)


METHODS = [Saliency(), LRP(), IntegratedGradients(n_steps=3), Occlusion(6, 3), RISE(n_masks=5), FullGrad()]
OF_MAPS = [GradCAM("b"), ScoreCAM("b")]


@pytest.mark.parametrize("network", [Viewed, ViewedAs, Wrapped, Opaque])
@pytest.mark.parametrize("method", [*METHODS, *OF_MAPS], ids=lambda method: type(method).__name__)
def test_however_vectors_are_made_of_maps(network, method):
    x = drawn(3, 3, 12, 12)
    values, expected = (method(flattened(kind), x, logit(1)).values for kind in (network, Convolutions))
    # what LRP has no rule for hands relevance on in proportion to x Jᵀ/f, with an epsilon of 1e-6 beside f
    foreign = isinstance(method, LRP) and network in (Wrapped, Opaque)
    assert_close(values, expected, rtol=1e-9, atol=2e-5 * expected.abs().max() if foreign else 1e-12)


@pytest.mark.parametrize("method", [*METHODS, SmoothGradient(n_samples=2)], ids=lambda method: type(method).__name__)
def test_an_image_may_be_viewed_as_a_vector(method):
    values, expected = (
        method(flattened(kind), drawn(2, 3, 12, 12), logit(0)).values for kind in (Direct, DirectlyFlattened)
    )
    assert_close(values, expected, rtol=1e-9, atol=1e-12)


def test_a_baseline_of_colors_may_be_viewed_as_a_vector():
    method = IntegratedGradients(n_steps=3, baselines=drawn(3, 1, 1))
    x = drawn(2, 3, 12, 12, seed=1)
    together = method(flattened(Direct), x, logit(0)).values
    assert_close(together, torch.cat([method(flattened(Direct), one[None], logit(0)).values for one in x]))


class WritesIntoAView(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.h = nn.Conv2d(3, 6, 3), nn.Linear(600, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y.reshape(-1, 600)[:, :250] = 0  # of memory as the original has it, this is a view
        return self.h(y.flatten(1).relu())


class Masks(WritesIntoAView):
    def forward(self, x: Tensor) -> Tensor:
        return self.h((self.a(x).flatten(1) * (torch.arange(600) >= 250)).relu())


def test_what_is_written_into_a_view_reaches_its_base():
    x = drawn(2, 3, 12, 12)
    values, expected = (Saliency()(flattened(kind), x, logit(1)).values for kind in (WritesIntoAView, Masks))
    assert_close(values, expected, rtol=1e-9, atol=1e-12)


class SequenceFirst(nn.Module):
    """Tokens (L, N, C), as in CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.p, self.n, self.a = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.MultiheadAttention(8, 2)
        self.f, self.h = nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.p(x).flatten(2).permute(2, 0, 1)
        y = self.n(x)
        x = x + self.a(y, y, y)[0]
        return self.h((x + F.gelu(self.f(x))).permute(1, 0, 2).mean(1))


@pytest.mark.parametrize("n", [2, 4, 5])
@pytest.mark.parametrize("copies", [False, True])
def test_samples_in_another_dimension_are_refused_or_right(n, copies):
    flat, targets = flattened(SequenceFirst), [i % 5 for i in range(n)]
    x = drawn(1, 3, 12, 12).expand(n, -1, -1, -1) if copies else drawn(n, 3, 12, 12)
    for method in (Saliency(), IntegratedGradients(n_steps=3), LeGrad(), Occlusion(6, 3)):
        apart = torch.cat([method(flat, x[[i]], logit(target)).values for i, target in enumerate(targets)])
        assert_close(method(flat, x, logit(targets)).values, apart, rtol=1e-9, atol=1e-12)
    apart = torch.cat([FullGrad()(flat, x[[i]], logit(target)).values for i, target in enumerate(targets)])
    try:
        values = FullGrad()(flat, x, logit(targets)).values
    except NotApplicable as refusal:
        assert "rows belong to no sample" in str(refusal)
    else:
        assert_close(values, apart, rtol=1e-9, atol=1e-12)


class TokensFirst(nn.Module):
    """Rows are tokens times samples: as many as of windows, in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.p, self.f, self.h = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.p(x).flatten(2).permute(2, 0, 1).reshape(-1, 8)
        return self.h(F.gelu(self.f(tokens)).view(-1, x.shape[0], 8).mean(0))


@pytest.mark.parametrize("image", [drawn(1, 3, 12, 12), torch.zeros(1, 3, 12, 12, dtype=torch.float64)])
def test_rows_of_tokens_before_samples_are_not_taken_for_windows(image):
    flat = flattened(TokensFirst)
    assert_close(
        IntegratedGradients(n_steps=3)(flat, image.expand(2, -1, -1, -1), logit([0, 1])).values[1:],
        IntegratedGradients(n_steps=3)(flat, image, logit(1)).values,
    )
    for method in (IntegratedGradients(n_steps=3), FeatureAblation()):
        with pytest.raises(NotApplicable, match="do not belong to samples"):
            method(flat, image, logit(0), wrt="f")
    for method in (Saliency(), LayerActivation()):
        assert method(flat, image, logit(0), wrt="f").values.shape == (1, 9, 8)
        with pytest.raises(NotApplicable, match="do not belong to samples"):
            method(flat, image.repeat(2, 1, 1, 1), logit(0), wrt="f")


def test_a_layer_of_one_tensor_per_sample_is_refused_for_any_number_of_them():
    class Unbound(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.h = nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.h(torch.stack(x.unbind(0)).tanh())

    flat = flattened(Unbound)
    (key,) = (key for key in flat.layers if "unbind" in key)
    for n in (1, 2, 5):
        with pytest.raises(NotApplicable, match="no tensor of real numbers"):
            LayerActivation()(flat, drawn(n, 6), logit(0), wrt=key)


class Interpolated(nn.Module):
    """Positions that depend on the size of the image alone, windows, and chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.p, self.places = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, 8, 2, 2))
        self.q, self.h = nn.Linear(8, 24), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.p(x)
        x = x + F.interpolate(self.places, x.shape[-2:], mode="nearest")
        n, c, h, w = x.shape
        x = x.permute(0, 2, 3, 1).reshape(n * h, w, c)
        q, k, v = self.q(x).reshape(n * h, w, 3, c).permute(2, 0, 1, 3).chunk(3)
        x = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.h(x.reshape(n, h * w, c).mean(1))


@pytest.mark.parametrize(
    "network", [SequenceFirst, TokensFirst, Interpolated, *(NETWORKS[name][0] for name in ("swin", "shufflenet"))]
)
@pytest.mark.parametrize("n", [2, 5, 7])
def test_a_batch_in_chunks_is_recorded_as_the_whole(network, n):
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(network().double().eval())
    x = drawn(n, 3, 32, 32)
    assert (n < 5) != bool(with_rows(flat, x, list(flat.layers)))
    for batch in (x, x[:1].expand_as(x)):
        with torch.no_grad():
            wanted = flat.run({"input": batch}, [*flat.layers, "output"])
        for key in (*flat.layers, "output"):
            assert_close(batch_activations(flat, batch, [key])[key], wanted[key], rtol=1e-9, atol=1e-10)


def test_full_gradients_of_copies_of_a_network_with_windows():
    torch.manual_seed(0)
    flat, x = FlatModel.from_nn_Module(NETWORKS["swin"][0]().double().eval()), drawn(1, 3, 32, 32)
    targets = [0, 1, 2, 3, 4, 0]
    apart = torch.cat([FullGrad()(flat, x, logit(target)).values for target in targets])
    assert_close(FullGrad()(flat, x.expand(6, -1, -1, -1), logit(targets)).values, apart, rtol=1e-8, atol=1e-10)


@pytest.mark.filterwarnings("ignore:explaining")
@pytest.mark.parametrize("network", [Interpolated, SequenceFirst, NETWORKS["swin"][0]])
@pytest.mark.parametrize("targets", [[0, 1, 2], [0, 1, 2, 3, 4]])
def test_copies_share_runs_at_whatever_layer(network, targets):
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(network().double().eval())
    x = drawn(1, 3, 32, 32)
    several, compared = NetLens(flat, x, target=targets), 0
    for key in list(flat.layers)[:12:2]:
        for method in ("saliency", "layer_activation", "integrated_gradients"):
            try:
                alone = [NetLens(flat, x, target=target).attribute(method, wrt=key).values for target in targets]
                together = several.attribute(method, wrt=key).values
            except NotApplicable:  # at tuples, and where rows are of no sample
                continue
            assert_close(together, torch.cat(alone), rtol=1e-8, atol=1e-10)
            compared += 1
    assert compared >= 8


def test_an_objective_may_give_the_same_tensor_for_each_copy():
    class First(PerSample):
        layers = ("output",)

        def __call__(self, record):
            return self.value(record)

        def value(self, record):
            return record.values["output"]

        def take(self, samples):
            return self

    class Scalar(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.tanh(self.a(x))).squeeze(1)

    flat, x = flattened(Scalar), drawn(1, 6)
    values = Saliency()(flat, x.expand(3, -1), First()).values
    assert_close(values, Saliency()(flat, x, First()).values.expand(3, -1))


def test_an_objective_of_the_batch_as_one_sees_all_copies():
    flat, x = flattened(Convolutions), drawn(1, 3, 12, 12).expand(3, -1, -1, -1)
    objective = logit([0, 1, 3]) - 0.3 * diversity("a")
    method = Occlusion(6, 6)
    with chunks_of(3):
        assert_close(method(flat, x, objective).values, method(flat, x.clone(), objective).values)


def test_samples_that_change_each_other_do_not_run_as_variants() -> None:
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(144, 3),
    )
    flat = FlatModel.from_nn_Module(nn.Sequential(*layers).double())
    x = torch.randn(7, 3, 8, 8, dtype=torch.float64) * torch.arange(1, 8)[:, None, None, None]
    activations = batch_activations(flat, x, ["2"])["2"]
    with torch.no_grad():
        assert_close(activations, flat.run({flat.inputs[0]: x}, ["2"])["2"])
    assert with_rows(flat, x, ["0", "1", "2"]) == {"0"}
    with pytest.raises(NotApplicable, match=r"'1' of .* normalizes over the batch"):
        IntegratedGradients()(flat, x[:1], logit(0))
    assert IntegratedGradients()(flat, x[:1], logit(0), wrt="2").values.isfinite().all()
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(flat(point)[:, 0].sum(), point)
    assert_close(Saliency()(flat, x, logit(0)).values, gradient.abs())
    parts = sum(part.flatten(1).sum(1) for _, part in full_gradients(flat, x[:1], logit(0)))
    assert_close(parts, flat(x[:1])[:, 0].detach())
