"""What a researcher tries: each works, or is refused in one line that says what to do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens import NetLens
from netlens.attribution import (
    METHODS,
    GradCAM,
    InputXGradient,
    IntegratedGradients,
    Occlusion,
    Saliency,
    chunks_of,
    method_named,
)
from netlens.errors import LayerNotFound, NetLensError, NonFiniteError, NotApplicable
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.inputs import Input
from netlens.objectives import channel, logit


class Recurrent(nn.Module):
    """A layer whose output is a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.rnn(x)
        return self.head(outputs[:, -1])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            torch.zeros(3, 15, 20, dtype=torch.float64),
            r"images \(N, C, H, W\), not \(3, 15, 20\); for one image pass x\[None\]",
        ),
        (torch.zeros(0, 3, 15, 20, dtype=torch.float64), r"not a tensor \(0, 3, 15, 20\)"),
        (torch.zeros(1, 3, 15, 20, dtype=torch.uint8), "not a tensor .* of torch.uint8"),
        (torch.zeros(5), r"not a tensor \(5,\)"),
        ([[1.0]], "not a list"),
        (None, "not a NoneType"),
    ],
)
def test_what_is_no_batch(cases, x, message):
    for name in METHODS:
        with pytest.raises(NetLensError, match=message) as caught:
            METHODS[name]()(cases["plain"].flat, x, logit(0))
        assert "\n" not in str(caught.value)


class Two(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


@pytest.mark.parametrize(
    ("network", "x"),
    [
        (nn.Linear(4, 2), torch.zeros(2, 4, dtype=torch.float64)),
        (nn.Linear(4, 2), torch.tensor([[0.0, 1, 2, 3], [torch.nan, 0, 0, 0]])),
        (nn.Conv2d(3, 2, 3), torch.full((1, 3, 8, 8), torch.inf)),
        (Two(), torch.zeros(2, 4)),
    ],
)
def test_an_input_that_does_not_fit_gives_one_error(network, x):
    flat, texts = FlatModel.from_nn_Module(network), []
    for take in (lambda: Saliency()(flat, x, logit(0)), lambda: Input.of(flat, x), lambda: NetLens(network, x)):
        with pytest.raises(NetLensError) as caught:
            take()
        texts.append(str(caught.value))
    assert len(set(texts)) == 1


def test_what_is_no_network_or_objective(cases):
    case = cases["plain"]
    with pytest.raises(NetLensError, match=r"FlatModel.from_nn_Module\(network\), not a Plain"):
        Saliency()(case.module, case.x, logit(0))
    with pytest.raises(NetLensError, match=r"an objective such as logit\(207\), not a int"):
        Saliency()(case.flat, case.x, 3)
    with pytest.raises(LayerNotFound, match=r"no layer 'trunk\.9'. Closest: 'trunk"):
        Saliency()(case.flat, case.x, logit(0), wrt="trunk.9")
    with pytest.raises(NetLensError, match=r"no method 'grad_cm'\. Closest: 'grad_cam'"):
        method_named("grad_cm")


@pytest.mark.parametrize("method", [InputXGradient(), IntegratedGradients(2), Occlusion(2, 1)])
def test_a_layer_that_gives_a_tuple(method):
    flat = FlatModel.from_nn_Module(Recurrent())
    x = torch.randn(2, 5, 4)
    with pytest.raises(NotApplicable, match=r"layer 'rnn' gives no tensor of real numbers \(tuple\)"):
        method(flat, x, logit(0), wrt="rnn")
    assert method(flat, x, logit(1)).values.shape == (2, 5, 4)


def test_an_image_in_a_graph(cases):
    """x is the end of a computation of the user's, and its middle."""
    case = cases["plain"]
    leaf = case.x.clone().requires_grad_()
    result = IntegratedGradients(2)(case.flat, leaf * 2, logit(1))
    assert_close(result.values, IntegratedGradients(2)(case.flat, case.x * 2, logit(1)).values)
    assert leaf.grad is None and not result.values.requires_grad and not result.image.requires_grad


def test_vectors_have_no_picture(cases):
    case = cases["vectors"]
    result = Saliency()(case.flat, case.x, logit(0))
    assert result.image is None and len(result) == 3 and result[1].values.shape == (1, 9)
    with pytest.raises(NotApplicable, match="no layout over the image"):
        result.heatmap()
    with pytest.raises(NotApplicable, match="no image"):
        result.show()


def test_five_bands_are_a_picture_and_are_saved_with_it(tmp_path):
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(5, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4 * 6, 2)))
    x = torch.randn(2, 5, 6, 8)
    result = Saliency()(flat, x, logit(0))
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    assert torch.allclose(result.image, (x - low) / (high - low))
    assert result.heatmap().shape == (2, 1, 6, 8) and result.heatmap(size=12).shape == (2, 1, 12, 12)
    assert (result - 0.5 * result).values.shape == (2, 5, 6, 8)
    again = type(result).load(result.save(tmp_path / "bands.npz"))
    assert torch.equal(again.image, result.image) and torch.equal(again.values, result.values)


def test_nan_that_a_rectifier_would_hide(cases):
    """The derivative of ReLU at NaN is no NaN, so that a broken network has a gradient like any other."""
    module = copy.deepcopy(cases["plain"].module)
    with torch.no_grad():
        module.trunk[3].bias.fill_(torch.nan)
    x = cases["plain"].x
    leaf = x.clone().requires_grad_()
    scores = module(leaf)
    assert scores.isnan().all() and torch.autograd.grad(scores[:, 0].sum(), leaf)[0].isfinite().all()
    with pytest.raises(NonFiniteError, match=r"'trunk\.3' of plain gives NaN or Inf for sample 0"):
        Saliency()(FlatModel.from_nn_Module(module), x, logit(0))
    # what is objected to lies beyond what is explained, so it is no objection
    assert Saliency()(FlatModel.from_nn_Module(module), x, channel("trunk.1", 0)).values.abs().sum() > 0


def test_nan_on_the_way_only():
    """log(x) is finite at the image and not at the baseline."""

    class Log(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.log(x).flatten(1).sum(1)

    flat = FlatModel.from_nn_Module(Log())
    with pytest.raises(NonFiniteError, match="NaN or Inf for sample 0, although every activation on the image"):
        Occlusion(2, 2)(flat, torch.ones(2, 1, 4, 4), logit(0))


def test_a_chunk_is_halved_when_memory_runs_out():
    sizes = []

    def work(start: int, stop: int) -> list[int]:
        sizes.append(stop - start)
        if stop - start > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(range(start, stop))

    assert [row for rows in in_chunks(20, 16, work) for row in rows] == list(range(20))
    assert sizes == [16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]

    def failing(start: int, stop: int) -> None:
        raise RuntimeError("a real error")

    with pytest.raises(RuntimeError, match="a real error"):
        list(in_chunks(20, 16, failing))


def test_memory_does_not_grow_with_steps(cases):
    """Never more samples in one run than the chunk."""
    case = cases["plain"]
    largest = 0

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            nonlocal largest
            largest = max(largest, len(x))
            return x

    flat = case.flat.prepend("counting", Counting())
    for method in (IntegratedGradients(30), Occlusion(4, 3), method_named("var_grad")(30)):
        with chunks_of(5):
            method(flat, case.x, logit(0))
    assert largest == 5


def test_provenance_tells_the_options_and_the_layer(cases):
    case = cases["plain"]
    attribution = method_named("smooth_gradient")(n_samples=2, method=IntegratedGradients(2))(
        case.flat, case.x, logit([1, 0, 2])
    )
    assert attribution.provenance.targets == (1, 0, 2) and attribution.provenance.objective == "logit([1, 0, 2])"
    assert attribution.provenance.options["method"]["IntegratedGradients"]["n_steps"] == 2
    assert GradCAM()(case.flat, case.x, logit(0)).provenance.layer == "trunk.4"
