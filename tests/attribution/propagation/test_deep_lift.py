"""DeepLIFT: complete on every network, equal to captum's where captum is right, and right by hand where it is not."""

from __future__ import annotations

import warnings

import captum.attr as captum
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import EfficientNet, MobileNetV3, ShuffleNetV2, SqueezeNet
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

from netlens.attribution import DeepLift, DeepLiftShap
from netlens.errors import NetLensError, NetLensWarning
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.objectives import channel, layer, logit
from netlens.world.scene import batch


class Reused(nn.Module):
    """One rectifier, one convolution and one pool, each called again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.pool = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.MaxPool2d(2),
        )
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.first(x)))
        x = x + self.relu(self.again(self.relu(self.again(x))))
        return self.head(self.relu(self.pool(x)).mean((2, 3)))


class Gated(nn.Module):
    """Shared branches, overlapping pools after rectifiers, and gates of several kinds, one by a hard sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.squeeze, self.head = nn.Conv2d(6, 6, 1), nn.Linear(12, 5)
        self.group = nn.GroupNorm(2, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu6(self.norm(self.conv(x))), 3, 2, 1)
        gate = F.hardsigmoid(self.squeeze(F.adaptive_avg_pool2d(x, 1)))
        left, right = F.hardswish(x * gate), self.group(F.max_pool2d(x, 3, 1, 1))
        both = torch.cat([F.silu(left - right) / (1 + right.abs()), F.elu(right)], 1)
        return self.head(both.amax((2, 3)))


class TimeFirst(nn.Module):
    """Attention over (time, batch, channels), some of it masked, so that the batch is not the first dimension."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5)
        block = nn.TransformerEncoderLayer(8, 2, 12, activation="gelu", batch_first=False)
        self.encoder = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.register_buffer("mask", torch.ones(16, 16).triu(1).bool())

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).permute(2, 0, 1)
        return self.head(self.encoder(tokens, mask=self.mask)[-1])


def swin_v2() -> nn.Module:
    blocks = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
    return SwinTransformer([2, 2], 8, [2, 2], [2, 2], [4, 4], num_classes=5, **blocks)


MORE = {
    "reused": (Reused, 16),
    "gated": (Gated, 17),
    "time first": (TimeFirst, 16),
    "swin v2": (swin_v2, 32),
    "convnext": (lambda: ConvNeXt([CNBlockConfig(8, 12, 1), CNBlockConfig(12, None, 1)], num_classes=5), 32),
    "efficientnet": (lambda: EfficientNet([MBConvConfig(4, 3, 2, 16, 16, 1, 1, 1)], 0.0, 0.0, num_classes=5), 32),
    "mobilenet v3": (
        lambda: MobileNetV3([InvertedResidualConfig(16, 3, 24, 16, True, "HS", 2, 1, 1)], 16, num_classes=5),
        32,
    ),
    "shufflenet": (lambda: ShuffleNetV2([2, 2, 2], [8, 16, 16, 16, 16], num_classes=5), 40),
    "squeezenet": (lambda: SqueezeNet("1_1", num_classes=5), 48),
}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def baselines_for(x: Tensor) -> dict[str, float | Tensor]:
    """Nothing, noise, and for images others of them, one for each sample."""
    baselines: dict[str, float | Tensor] = {"zero": 0.0, "noise": drawn(*x.shape[1:], seed=7)}
    if x.ndim == 4 and x.shape[1] == 3:
        images = batch(3, len(x), max(x.shape[2:]))[0].double() / 255
        baselines["image"] = (images[..., : x.shape[2], : x.shape[3]] - 0.45) / 0.225
    return baselines


def check_complete(flat: FlatModel, x: Tensor, targets: list[int], rtol: float = 1e-6) -> None:
    rows = list(range(len(x)))
    for baseline in baselines_for(x).values():
        result = DeepLift(baselines=baseline)(flat, x, logit(targets))
        reference = baseline.expand_as(x) if isinstance(baseline, Tensor) else torch.full_like(x, baseline)
        change = (flat.logits(flat(x)) - flat.logits(flat(reference)))[rows, targets]
        parts = result.values.flatten(1).sum(1)
        assert change.abs().min() > 1e-5
        assert_close(parts, change, rtol=rtol, atol=0)
        gap = result.diagnostics["completeness_gap"]
        assert_close(gap, parts - change, rtol=0, atol=1e-12 * float(change.abs().max()))


def test_contributions_sum_to_the_change_in_output(case):
    check_complete(case.flat, case.x, list(case.targets))


@pytest.mark.parametrize("name", MORE)
def test_contributions_sum_to_the_change_in_output_of_more_networks(name):
    make, size = MORE[name]
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(randomized(make()).double())
    assert not flat.opaque
    x = drawn(2, 3, size, size)
    check_complete(flat, x, flat(x).argmax(1).tolist())  # squeezenet's other scores may be rectified to 0


def test_layers_that_cut_the_network_are_complete_too(case):
    reference = drawn(*case.x.shape, seed=7)
    change = (case.flat.logits(case.flat(case.x)) - case.flat.logits(case.flat(reference)))[
        range(3), list(case.targets)
    ]
    for name in (case.family.middle, case.family.late):
        if case.flat.frontier(name) != (case.flat.key(name),):
            continue
        result = DeepLift(baselines=reference)(case.flat, case.x, logit(list(case.targets)), wrt=name)
        assert_close(result.values.flatten(1).sum(1), change, rtol=1e-6, atol=0)
        assert_close(result.diagnostics["completeness_gap"], 0 * change, rtol=0, atol=1e-10)


def test_a_change_far_down_equals_its_multipliers_from_there(cases):
    """What the layers after a cut contribute does not depend on where the multipliers start."""
    case = cases["vit"]
    objective, method = channel(case.family.late, 1), DeepLift(baselines=0.2)
    sums = []
    for wrt in ("input", "encoder.dropout", "encoder.layers.encoder_layer_0"):
        result = method(case.flat, case.x, objective, wrt=wrt)
        sums.append(result.values.flatten(1).sum(1))
        assert_close(result.diagnostics["completeness_gap"], torch.zeros(3).double(), rtol=0, atol=1e-12)
    assert_close(sums[0], sums[1], rtol=1e-9, atol=0)
    assert_close(sums[0], sums[2], rtol=1e-9, atol=0)
    # a residual path, or the class token, leads past these
    for wrt in ("encoder.layers.encoder_layer_0.ln_1", "conv_proj"):
        assert "completeness_gap" not in method(case.flat, case.x, objective, wrt=wrt).diagnostics


class Skip(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (torch.relu(x) * x)[:, None]


def test_a_layer_beside_another_path_by_hand():
    flat = FlatModel.from_nn_Module(Skip())
    x, reference = torch.tensor([[3.0], [-2.0]]).double(), torch.tensor([[-1.0], [1.0]]).double()
    relu = next(iter(flat.layers))
    # the product of relu and x: the rectified change by 3 and -1, times the mean of x before and after, 1 and -1/2
    result = DeepLift(baselines=reference)(flat, x, logit(0), wrt=relu)
    assert result.values.view(-1).tolist() == [3, 0.5] and "completeness_gap" not in result.diagnostics
    # and the whole: 9 from 0, and 0 from 1
    assert DeepLift(baselines=reference)(flat, x, logit(0)).values.view(-1).tolist() == [9, -1]
    # x changes by 4 and -3; the multipliers are what was, over that
    assert_close(
        DeepLift(baselines=reference, multiply=False)(flat, x, logit(0)).values.view(-1),
        torch.tensor([9 / 4, 1 / 3]).double(),
    )


def test_what_is_not_linear_in_an_objective_is_reported(cases):
    case = cases["plain"]
    objective = layer("trunk.4")
    with pytest.warns(NetLensWarning, match="misses .* is complete if the objective is linear"):
        result = DeepLift()(case.flat, case.x, objective)
    ends = [case.flat(x, until="trunk.4").flatten(1).square().mean(1) for x in (case.x, 0 * case.x)]
    gap = result.values.flatten(1).sum(1) - (ends[0] - ends[1])
    assert_close(result.diagnostics["completeness_gap"], gap)
    assert gap.abs().min() > 1e-6


def test_a_linear_network_needs_no_rule():
    network = nn.Linear(4, 2).double()
    x = drawn(3, 4)
    result = DeepLift(baselines=0.5)(FlatModel.from_nn_Module(nn.Sequential(network)), x, logit(1))
    assert_close(result.values, network.weight[1].detach() * (x - 0.5))


# against captum, where it has rules: modules that are rectifiers or sigmoids, called once


class Once(nn.Module):
    """Every layer a module of its own, no pool, no product: what captum's hooks can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2), nn.LeakyReLU(0.2), nn.Conv2d(6, 4, 3)),
            *(nn.ELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 12), nn.Sigmoid(), nn.Linear(12, 8), nn.Tanh()),
            *(nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 5)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.fixture(scope="module")
def once() -> tuple[nn.Module, FlatModel, Tensor]:
    torch.manual_seed(0)
    network = randomized(Once()).double()
    return network, FlatModel.from_nn_Module(network), drawn(3, 3, 20, 20, seed=1)


def quietly(method: object, *arguments: object, **options: object) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method.attribute(*arguments, **options).detach()  # type: ignore[attr-defined]


def test_equals_captum(once):
    network, flat, x = once
    for baseline in (0 * x, drawn(3, 3, 20, 20, seed=2)):
        theirs = quietly(captum.DeepLift(network), x.clone(), baseline, target=[3, 0, 1])
        ours = DeepLift(baselines=baseline)(flat, x, logit([3, 0, 1])).values
        assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
        theirs = quietly(captum.DeepLift(network, multiply_by_inputs=False), x.clone(), baseline, target=1)
        assert_close(DeepLift(baseline, multiply=False)(flat, x, logit(1)).values, theirs, rtol=1e-9, atol=1e-12)


def test_equals_captum_at_a_layer(once):
    network, flat, x = once
    for name in ("layers.1", "layers.4", "layers.8"):
        theirs = captum.LayerDeepLift(network, network.get_submodule(name))
        expected = quietly(theirs, x.clone(), 0.3 + 0 * x, target=2)
        assert_close(DeepLift(0.3)(flat, x, logit(2), wrt=name).values, expected, rtol=1e-9, atol=1e-12)


def test_the_mean_over_a_distribution_equals_captum(once):
    network, flat, x = once
    baselines = drawn(4, 3, 20, 20, seed=5)
    theirs = quietly(captum.DeepLiftShap(network), x.clone(), baselines, target=[3, 0, 1])
    result = DeepLiftShap(baselines=baselines)(flat, x, logit([3, 0, 1]))
    assert_close(result.values, theirs, rtol=1e-9, atol=1e-12)
    assert_close(result.diagnostics["completeness_gap"], torch.zeros(3).double(), rtol=0, atol=1e-12)


# distributions of baselines


def test_the_mean_over_a_distribution_is_the_mean_of_its_members(core_case):
    baselines = drawn(3, *core_case.x.shape[1:], seed=4)
    whole = DeepLiftShap(baselines=baselines)(core_case.flat, core_case.x, logit(list(core_case.targets)))
    each = [
        DeepLift(baselines=one)(core_case.flat, core_case.x, logit(list(core_case.targets))).values for one in baselines
    ]
    assert_close(whole.values, sum(each) / 3, rtol=1e-9, atol=1e-12)


def test_by_default_a_sample_is_compared_with_its_own_shuffled_pixels():
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, 2, 4), nn.Flatten()).double())
    x = drawn(2, 3, 4, 4)
    weight = flat.layers["0"].weight[0].detach()
    result = DeepLiftShap(n_samples=1)(flat, x, logit(0))
    shuffled = x - result.values / weight
    for pixels, baseline in zip(x.flatten(2), shuffled.flatten(2), strict=True):
        order = (pixels[0, :, None] - baseline[0]).abs().argmin(0)
        assert sorted(order.tolist()) == list(range(16)) and order.tolist() != list(range(16))
        assert_close(baseline, pixels[:, order])  # colors stay together


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (lambda: DeepLift(baselines=torch.zeros(2, 2)), "does not broadcast"),
        (lambda: DeepLiftShap(baselines=torch.zeros(3, 2, 2)), "no distribution of inputs"),
        (lambda: DeepLiftShap(baselines=0.0), "baselines is 0.0, but must be a Tensor or None"),  # type: ignore[arg-type]
        (lambda: DeepLiftShap(n_samples=0), "n_samples is 0, but must be a whole number of at least 1"),
    ],
)
def test_what_is_wrong_is_said(cases, method, message):
    case = cases["plain"]
    with pytest.raises(NetLensError, match=message):
        method()(case.flat, case.x, logit(0))
