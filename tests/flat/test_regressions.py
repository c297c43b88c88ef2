"""Mistakes that were made once: each law names what went wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.attribution import GuidedBackprop, Saliency, cam_layer
from netlens.classes import ClassNames
from netlens.errors import LayerNotFound, NetLensError, NotApplicable, RecordError
from netlens.flat import FlatModel, Hooks, adapter, edits
from netlens.flat.operations import RECTIFIERS
from netlens.flat.receptive import Field, receptive_fields
from netlens.objectives import logit
from netlens.rules import GUIDED
from netlens.weights import build


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


class Closure(nn.Module):
    """Means its own layer through a function, where no attribute says so."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.function = lambda x: self.fc(x) + self.fc.weight.sum()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def test_a_closure_never_leads_to_the_users_parameters() -> None:
    network, x = Closure().eval(), torch.randn(2, 4)
    flat = FlatModel.from_nn_Module(network)
    assert next(iter(flat.layers)) == "fc" and torch.equal(flat(x), network(x))
    with Hooks(flat, "fc", parameters=True):
        flat(x)[0, 0].backward()
    assert network.fc.weight.grad is None and network.fc.weight.requires_grad


def test_the_first_traces_of_several_threads_all_know_the_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_discovered", False)
    monkeypatch.setattr(adapter, "REGISTRY", {})
    slow = threading.Event()

    class Point:
        name = value = "late"

        def load(self) -> None:
            slow.wait(0.2)
            adapter.register("torchvision.models.resnet.ResNet")(lambda network: adapter.Adapter(cam_layer="late"))

    monkeypatch.setattr(adapter, "entry_points", lambda group: [Point()])
    network, layers = build("resnet18"), []
    threads = [threading.Thread(target=lambda: layers.append(adapter.adapter_of(network).cam_layer)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert layers == ["late"] * 3


def test_no_layer_can_be_put_in_under_the_name_of_the_output() -> None:
    flat = FlatModel.from_nn_Module(small())
    with pytest.raises(NetLensError, match="'output' is taken"):
        flat.insert_after("1", "output", nn.Identity())


def test_hooks_reach_views_by_rule_and_views_with_names() -> None:
    flat, x = FlatModel.from_nn_Module(small()), torch.randn(1, 3, 8, 8)
    assert GuidedBackprop()(flat, x, logit(0)).values.abs().sum() > 0
    with Hooks(flat, "0", edit=edits.zero([0, 1, 2, 3])):
        assert GuidedBackprop()(flat, x, logit(0)).values.abs().sum() == 0
        named = FlatModel.from_nn_Module(flat, classes=ClassNames(["a", "b"]), name="named")
        assert named.name == "named" and Saliency()(named, x, logit("a")).values.abs().sum() == 0


def test_the_cam_layer_is_the_same_under_rules() -> None:
    flat = FlatModel.from_nn_Module(small())
    assert cam_layer(flat) == cam_layer(flat.with_rules(GUIDED)) == "1"


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (F.selu, nn.SELU),
        (F.celu, nn.CELU),
        (F.softplus, nn.Softplus),
        (lambda x: F.threshold(x, 0.1, 0.0), nn.Threshold),
        (lambda x: x.clamp(min=0), nn.ReLU),
        (lambda x: torch.clamp_min(x, 0), nn.ReLU),
        (lambda x: torch.clamp(x, 0, 6), nn.Hardtanh),
    ],
)
def test_functional_rectifiers_are_rectifiers(function: Callable[[Tensor], Tensor], kind: type[nn.Module]) -> None:
    class Functional(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    flat, x = FlatModel.from_nn_Module(Functional()), torch.randn(5, 4)
    assert isinstance(flat.layers[0], kind) and isinstance(flat.layers[0], RECTIFIERS)
    assert torch.equal(flat(x), function(x))


def test_receptive_fields_that_were_wrong() -> None:
    class Strided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.LayerNorm([4, 6, 6])
            self.linear = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            maps = self.conv(x)
            return self.linear(maps.permute(0, 2, 3, 1)), self.norm(maps), maps[:, :, ::2, ::2]

    fields = receptive_fields(FlatModel.from_nn_Module(Strided()).program)
    assert fields["linear"] == Field((3, 3)) and str(fields["norm"]) == "all" and fields["getitem"] is None


def test_errors_that_were_missing() -> None:
    flat = FlatModel.from_nn_Module(small())
    assert flat.layers.get("nope") is None
    with pytest.raises(LayerNotFound) as caught:
        flat.layers["nope"]
    assert str(caught.value).startswith("sequential has no layer 'nope'")
    with pytest.raises(NetLensError, match=r"torch.float64 on cpu, but sequential is torch.float32 on cpu"):
        Saliency()(flat, torch.randn(1, 3, 8, 8, dtype=torch.float64), logit(0))
    with Hooks(flat, "0") as hooks, pytest.raises(RecordError, match="open already"):
        hooks.__enter__()

    class Two(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a + b

    with pytest.raises(NotApplicable, match="a network of one input; two has a, b"):
        Saliency()(FlatModel.from_nn_Module(Two()), torch.randn(1, 2), logit(0))


@pytest.mark.parametrize(
    "clamp",
    [lambda x: x.clamp(0, 1), lambda x: x.clamp(min=0), lambda x: torch.clamp(x, -1, 2), lambda x: x.clip(0, 1)],
)
def test_a_clamp_passes_gradients_at_its_ends(clamp):
    class Clamped(nn.Module):
        def forward(self, x):
            return (clamp(x) * torch.arange(1.0, 6)).sum(1)

    x = torch.tensor([[-1.0, 0.0, 0.5, 1.0, 2.0]], requires_grad=True)
    flat, module = FlatModel.from_nn_Module(Clamped()), Clamped()
    ours, theirs = (torch.autograd.grad(one(x).sum(), x)[0] for one in (flat, module))
    assert torch.equal(ours, theirs)
