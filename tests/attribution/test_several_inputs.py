"""Several inputs: each can be explained while the others are held, and all inputs of a sample stay together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens import NetLens
from netlens.attribution import METHODS, GradientShap, Occlusion, Saliency, SmoothGradient, chunks_of
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.bundle import bundled
from netlens.objectives import logit
from tests.small import small

# no attention, no class activation map from a gated mean, one input where all gradients are wanted, no numbers to blur
EVERYWHERE = {
    *("le_grad", "attention_map", "attention_rollout", "gradient_rollout"),
    *("cam", "full_grad", "information_bottleneck"),
}
REFUSED = {
    "image": EVERYWHERE,
    "numbers": EVERYWHERE | {"guided_grad_cam", "blur_integrated_gradients", "excitation_backprop", "lrp"},
}


class Patient(nn.Module):
    """An image, numbers and a category; the numbers gate what the image shows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.numbers, self.kinds, self.head = nn.Linear(5, 4), nn.Embedding(7, 4), nn.Linear(4, 3)

    def forward(self, image: Tensor, numbers: Tensor, kind: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.conv(image))).mean((2, 3))
        result: Tensor = self.head(features * torch.sigmoid(self.numbers(numbers)) + self.kinds(kind))
        return result


def inputs(n: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(n, 3, 15, 20, dtype=torch.float64, generator=generator)
    numbers = torch.randn(n, 5, dtype=torch.float64, generator=generator)
    return image, numbers, torch.randint(0, 7, (n,), generator=generator)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    network = Patient().double()
    network.norm.running_mean.normal_()
    network.norm.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.fixture(scope="module")
def lens(network) -> NetLens:
    return NetLens(network, inputs(), target=[0, 1, 2])


pytestmark = pytest.mark.filterwarnings("ignore:.*does not predict")


def scores(network: nn.Module, image: Tensor, numbers: Tensor, kind: Tensor) -> Tensor:
    """(n,): the score of the target of each sample."""
    result: Tensor = network(image, numbers, kind).gather(1, torch.tensor([[0], [1], [2]]))[:, 0]
    return result


def test_a_bundle_gives_what_the_network_gives(network):
    flat = FlatModel.from_nn_Module(network)
    values = inputs()
    bundle, x = bundled(flat, dict(zip(flat.inputs, values, strict=True)))
    assert_close(bundle(x), network(*values), rtol=1e-12, atol=1e-12)
    chosen = [2, 0, 2]
    assert_close(bundle(x[chosen]), network(*(value[chosen] for value in values)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["image", "numbers"])
def test_the_gradient_is_autograds(lens, network, name):
    values = dict(zip(("image", "numbers", "kind"), inputs(), strict=True))
    values[name] = values[name].requires_grad_()
    (expected,) = torch.autograd.grad(scores(network, **values).sum(), values[name])
    assert_close(lens.input_gradient(wrt=name).values, expected, rtol=1e-10, atol=1e-14)
    if name == "image":
        assert_close(lens.input_gradient().values, expected, rtol=1e-10, atol=1e-14)


def test_occlusion_of_one_input_is_brute_force_while_the_others_are_held(lens, network):
    image, numbers, kind = inputs()
    with torch.no_grad():
        before, falls = scores(network, image, numbers, kind), torch.zeros_like(numbers)
        for place in range(5):
            covered = numbers.clone()
            covered[:, place] = 0
            falls[:, place] = before - scores(network, image, covered, kind)
        assert_close(lens.occlusion(wrt="numbers", window=1, stride=1).values, falls, rtol=1e-10, atol=1e-14)
        expected = torch.zeros_like(image)
        for y in range(0, 15, 5):
            for x in range(0, 20, 5):
                covered = image.clone()
                covered[..., y : y + 5, x : x + 5] = 0
                fall = before - scores(network, covered, numbers, kind)
                expected[..., y : y + 5, x : x + 5] = fall[:, None, None, None]
    with chunks_of(4):
        assert_close(lens.occlusion(window=5, stride=5).values, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["image", "numbers"])
@pytest.mark.parametrize("method", ["integrated_gradients", "deep_lift", "gradient_shap", "layer_conductance"])
def test_contributions_of_one_input_sum_to_the_change_that_it_causes(lens, network, name, method):
    values = dict(zip(("image", "numbers", "kind"), inputs(), strict=True))
    options = {"n_samples": 3000} if method == "gradient_shap" else {}
    options = {"n_steps": 300} if method in ("integrated_gradients", "layer_conductance") else options
    result = lens.attribute(method, wrt=name, baselines=0.2, **options)
    with torch.no_grad():
        after = scores(network, **{**values, name: torch.full_like(values[name], 0.2)})
        change = scores(network, **values) - after
    assert_close(result.values.flatten(1).sum(1), change, rtol=2e-3, atol=2e-4)


def test_noise_is_added_to_the_explained_input_alone(lens, network):
    quiet = SmoothGradient(method=Saliency(), n_samples=3, noise_level=0.0)
    assert_close(lens.attribute(quiet, wrt="numbers").values, lens.saliency(wrt="numbers").values)
    noisy = GradientShap(n_samples=2, noise_level=0.5, multiply=False)
    # the category is an integer, which noise would turn into another one, or into none
    assert lens.attribute(noisy, wrt="image").values.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["image", "numbers"])
def test_samples_keep_their_inputs_in_chunks_and_alone(network, method, name):
    lens = NetLens(network, inputs(), target=[0, 1, 2])
    if method in REFUSED[name]:
        with pytest.raises(NotApplicable):
            lens.attribute(small(method), wrt=name)
        return
    whole = lens.attribute(small(method), wrt=name).values
    with chunks_of(2):
        assert_close(lens.attribute(small(method), wrt=name).values, whole, rtol=1e-7, atol=1e-9)
    last = NetLens(network, tuple(value[2:] for value in inputs()), target=2)
    alone = last.attribute(small(method), wrt=name).values
    assert_close(alone, whole[2:], rtol=1e-7, atol=1e-9)


def test_inputs_are_named_by_a_dict_and_one_row_serves_all_samples(network):
    image, numbers, kind = inputs()
    by_name = NetLens(network, {"numbers": numbers[:1], "kind": kind, "image": image}, target=[0, 1, 2])
    in_order = NetLens(network, (image, numbers[:1].expand(3, -1), kind), target=[0, 1, 2])
    assert_close(by_name.saliency(wrt="image").values, in_order.saliency(wrt="image").values)
    assert by_name.saliency().image.shape == (3, 3, 15, 20) and by_name.saliency(wrt="numbers").image is None
    assert by_name.grad_cam(wrt="numbers").heatmap().shape == (3, 1, 15, 20)


def test_wrong_inputs_are_told(network):
    image, numbers, kind = inputs()
    with pytest.raises(NetLensError, match=r"takes 3 inputs \(image, numbers, kind\), but got 2"):
        NetLens(network, (image, numbers))
    with pytest.raises(NetLensError, match="different numbers of samples"):
        NetLens(network, (image, numbers[:2], kind))
    with pytest.raises(NetLensError, match=r"'numbers' is torch\.float32"):
        NetLens(network, (image, numbers.float(), kind))
    with pytest.raises(NetLensError, match="'numbers' holds NaN or Inf in sample 1"):
        NetLens(network, (image, numbers.index_fill(0, torch.tensor([1]), torch.nan), kind))
    with pytest.raises(NetLensError, match="is missing"):
        NetLens(FlatModel.from_nn_Module(network), {"image": image, "numbers": numbers})
    with pytest.raises(NotApplicable, match="one input; patient has image, numbers, kind"):
        NetLens(network, image)


def test_data_that_a_network_holds_of_each_sample_is_told_in_one_line():
    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.data = nn.Linear(6, 3), torch.rand(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.linear(torch.cat([x, self.data], 1))
            return result

    flat = FlatModel.from_nn_Module(Holds())
    with pytest.raises(NotApplicable, match=r"runs with 2 samples, but not with one.*NetLens\(network, \(x, data\)\)"):
        Occlusion(1, 1)(flat, torch.rand(2, 4), logit(0))
