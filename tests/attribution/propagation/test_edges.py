"""Where rules meet what is rare: objectives before a batch norm, edits, differences, masks, padding, statistics."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import LRP, DeepLift, ExcitationBackprop, GradCAM
from netlens.errors import NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel, Hooks
from netlens.objectives import channel, logit

X = torch.rand(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def flat_of(*layers: nn.Module) -> FlatModel:
    return FlatModel.from_nn_Module(randomized(nn.Sequential(*layers)).double())


@pytest.fixture
def normed() -> FlatModel:
    torch.manual_seed(0)
    flat = flat_of(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    with torch.no_grad():
        flat.layers["1"].weight.copy_(torch.tensor([-1.0, 2.0, -3.0, 0.5]))
    return flat


def test_an_objective_before_a_batch_norm_is_the_convolutions(normed: FlatModel) -> None:
    alone = flat_of(nn.Conv2d(3, 4, 3, bias=False))
    with torch.no_grad():
        alone.layers["0"].weight.copy_(normed.layers["0"].weight)
    for method in (LRP("epsilon", epsilon=1e-12), LRP(), ExcitationBackprop()):
        ours, theirs = (method(flat, X, channel("0", 1)).values for flat in (normed, alone))
        assert_close(ours, theirs)
    relevance = LRP("epsilon", epsilon=1e-12)(normed, X, channel("0", 1)).values
    assert_close(relevance.flatten(1).sum(1), alone(X)[:, 1].mean((1, 2)))


@pytest.mark.parametrize("key", ["0", "1", "2"])
@pytest.mark.parametrize("method", [LRP("epsilon", epsilon=1e-12), LRP(), ExcitationBackprop()])
def test_edits_reach_networks_that_are_folded(normed: FlatModel, key: str, method: LRP) -> None:
    plain = method(normed, X, logit(0)).values
    with Hooks(normed, key, edit=lambda value: value * 0.25) as hooks:
        edited = method(normed, X, logit(0)).values
    assert not torch.allclose(edited, plain)
    with torch.no_grad():
        assert_close(hooks[key].activation, normed.record(X, layers=key)[key] * 0.25)
    with Hooks(normed, key):  # who only listens changes nothing
        assert torch.equal(method(normed, X, logit(0)).values, plain)


class _Difference(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (F.relu(self.first(x)) - F.relu(self.second(x))).mean((2, 3))


def test_excitation_through_a_difference_leads_to_what_it_is_made_of() -> None:
    torch.manual_seed(0)
    module = _Difference().double()
    with torch.no_grad():
        for conv, weight in ((module.first, 2.0), (module.second, 1.0)):
            conv.weight.fill_(weight / 3)
            conv.bias.zero_()
    flat = FlatModel.from_nn_Module(module)
    keys = [key for key in flat.layers if key.startswith("relu")]
    first, second = (ExcitationBackprop()(flat, X, logit(0), wrt=key).values for key in keys)
    assert_close(first.flatten(1).sum(1), torch.ones(2, dtype=torch.float64))
    assert not second.any()
    assert (ExcitationBackprop()(flat, X, logit(0)).values >= 0).all()


class _Masked(nn.Module):
    """A rectifier by assignment to the places of a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(144, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y[y < 0] = 0
        return self.fc(y.flatten(1))


def test_a_mask_of_what_changes_is_no_linear_layer() -> None:
    torch.manual_seed(0)
    flat = FlatModel.from_nn_Module(randomized(_Masked()).double())
    attribution = DeepLift()(flat, X, logit(1))
    with torch.no_grad():
        change = (flat(X) - flat(X * 0))[:, 1]
    assert_close(attribution.values.flatten(1).sum(1), change)


class _SamePadding(nn.Module):
    """Pads as TensorFlow does: by the remainder of the size, which an example tells."""

    def forward(self, x: Tensor) -> Tensor:
        rest = max(int((x.shape[-1] - 1) // 2) * 2 + 3 - x.shape[-1], 0)
        return F.pad(x, (0, rest, 0, rest))


@pytest.mark.parametrize(
    "before",
    [nn.ZeroPad2d(1), nn.ReflectionPad2d(3), nn.AvgPool2d(2), _SamePadding()],
    ids=["zeros", "reflection", "pool", "by the size"],
)
def test_a_box_of_inputs_that_is_not_known_is_told(before: nn.Module) -> None:
    layers = before, nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    flat = FlatModel.from_nn_Module(randomized(nn.Sequential(*layers)).double(), example=X)
    with pytest.raises(NotApplicable, match="pixel by pixel"):
        LRP("epsilon_gamma_box")(flat, X, logit(0))
    assert LRP("epsilon_plus_flat")(flat, X, logit(0)).values.isfinite().all()


def test_relevance_passes_a_norm_that_knows_its_statistics() -> None:
    torch.manual_seed(0)
    head = nn.Flatten(), nn.Linear(192, 3, bias=False)
    norm = nn.InstanceNorm2d(3, eps=0, track_running_stats=True)
    with_norm = FlatModel.from_nn_Module(nn.Sequential(norm, *head).double())
    without = FlatModel.from_nn_Module(nn.Sequential(*head).double())
    method = LRP("epsilon", epsilon=1e-12)
    assert_close(method(with_norm, X, logit(0)).values, method(without, X, logit(0)).values)


class _Functional(nn.Module):
    def __init__(self, norm: str) -> None:
        super().__init__()
        self.conv, self.fc, self.norm = nn.Conv2d(3, 4, 3), nn.Linear(144, 3), norm
        self.weight = nn.Parameter(torch.randn(144))

    def forward(self, x: Tensor) -> Tensor:
        if self.norm == "layer":
            return self.fc(torch.layer_norm(self.conv(x).flatten(1), (144,), self.weight, None, 1e-5, True))
        return self.fc(torch.group_norm(self.conv(x), 2, cudnn_enabled=False).flatten(1))


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_norms_of_torch_are_those_of_its_functional_half(norm: str) -> None:
    torch.manual_seed(0)
    module = _Functional(norm).double()
    flat = FlatModel.from_nn_Module(module)
    with torch.no_grad():
        assert torch.equal(flat(X), module(X))
    assert LRP()(flat, X, logit(0)).values.isfinite().all()
    gap = DeepLift()(flat, X, logit(0)).values.flatten(1).sum(1) - (flat(X) - flat(X * 0))[:, 0].detach()
    assert gap.abs().max() < 1e-9


def test_a_second_call_does_not_take_the_name_of_another_module() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.conv_1 = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv_1(self.conv(self.conv(x)))

    flat = FlatModel.from_nn_Module(Twice().double())
    assert flat.layers["conv_1"].out_channels == 5 and list(flat.layers) == ["conv", "conv_2", "conv_1"]
    assert GradCAM("conv_1")(flat, X, channel("conv_1", 4)).values.shape == (2, 1, 8, 8)
