"""An input for which an assumption of a flat model does not hold has a flat model of its own, wherever it is used."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens import NetLens
from netlens.attribution import DeepLift, GradCAM, GuidedBackprop, InputGradient, Occlusion, Saliency, together
from netlens.errors import TraceError
from netlens.fast import fast
from netlens.flat import FlatModel, Hooks, Rule, Rules, vjp
from netlens.objectives import logit
from netlens.visualization import OptVis
from netlens.visualization.params import Pixel


class Gray(nn.Module):
    """Takes color images and gray ones, which it repeats."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu, self.head = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.repeat(1, 3, 1, 1) if x.shape[1] == 1 else x
        y: Tensor = self.head(self.relu(self.conv(x)).mean((2, 3)))
        return y


class OfBatch(Gray):
    """Asks for the number of samples."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2 if len(x) == 1 else super().forward(x) * 2 + 0


class Resized(Gray):
    """Resizes images of another size."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.shape[-1] == 12 else F.interpolate(x, size=(12, 12)))


@pytest.fixture
def flat() -> FlatModel:
    return FlatModel.from_nn_Module(Gray().double(), example=torch.rand(1, 3, 12, 12, dtype=torch.float64))


@pytest.fixture
def gray() -> Tensor:
    return torch.rand(2, 1, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", [Saliency(), GradCAM(), DeepLift(), GuidedBackprop(), Occlusion(window=4, stride=4)])
def test_a_method_gives_what_a_flat_model_of_that_input_gives(method, flat, gray) -> None:  # type: ignore[no-untyped-def]
    model = FlatModel.from_nn_Module(Gray().double(), example=gray[:1])
    values = method(flat, gray, logit(1)).values
    assert torch.equal(values, method(model, gray, logit(1)).values)


def test_gradients_are_those_of_the_network(flat: FlatModel, gray: Tensor) -> None:
    values = InputGradient()(flat, gray, logit(1)).values
    x = gray.clone().requires_grad_()
    Gray().double()(x)[:, 1].sum().backward()
    torch.testing.assert_close(values, x.grad)


def test_methods_together_share_the_run_of_that_input(flat: FlatModel, gray: Tensor) -> None:
    methods = (Saliency(), GradCAM())
    with together(methods, flat, gray, logit(1)) as x:
        shared = [method(flat, x, logit(1)).values for method in methods]
    for values, method in zip(shared, methods, strict=True):
        torch.testing.assert_close(values, method(flat, gray, logit(1)).values)


def test_the_flat_model_itself_stays_as_it_is(flat: FlatModel, gray: Tensor) -> None:
    color, layers = torch.rand(1, 3, 12, 12, dtype=torch.float64), list(flat.layers)
    expected, view = flat(color), flat.with_rules(Rules({nn.ReLU: Rule(lambda layer, x, y, g: vjp(y, x, g))}))
    flat(gray)
    assert list(flat.layers) == layers and flat.fitting(color) is flat
    assert torch.equal(view(color), expected)  # the network has not changed, so its views stay valid


def test_the_model_of_an_input_is_made_once_and_follows_the_network(gray: Tensor) -> None:
    net = Gray().double()
    flat = FlatModel.from_nn_Module(net, example=torch.rand(1, 3, 12, 12, dtype=torch.float64))
    model = flat.fitting(gray)
    assert model is not flat and flat.fitting(gray) is model and not model.opaque
    net.head = nn.Linear(8, 4).double()
    assert torch.equal(flat(gray), net(gray)) and torch.equal(model(gray), net(gray))


def test_hooks_read_and_edit_the_run_of_another_input(flat: FlatModel, gray: Tensor) -> None:
    with Hooks(flat, ["conv"], edit=lambda value: value * 2) as hooks:
        output = flat(gray)
    net = Gray().double()
    doubled = 2 * net.conv(gray.repeat(1, 3, 1, 1))
    assert torch.equal(hooks["conv"].activation, doubled)
    torch.testing.assert_close(output, net.head(net.relu(doubled).mean((2, 3))))


def test_views_that_only_know_more_fit_too(flat: FlatModel, gray: Tensor) -> None:
    named = flat.knowing(name="gray")
    assert torch.equal(named(gray), flat(gray)) and named.fitting(gray).name == "gray"
    assert torch.equal(fast(flat.fitting(gray))(gray), fast(named.fitting(gray))(gray))


@pytest.mark.parametrize("edit", [lambda flat: flat.cut("relu"), lambda flat: flat.replace("relu", nn.SiLU())])
def test_an_edited_view_says_how_to_make_one_for_the_input(edit, flat, gray) -> None:  # type: ignore[no-untyped-def]
    for use in (
        lambda view: view(gray),
        lambda view: view.record(gray, layers="conv"),
        lambda view: view.fitting(gray),
    ):
        with pytest.raises(TraceError, match=r"False in .*shape\[1\] == 1.*flat.fitting\(x\)"):
            use(edit(flat))
    edit(flat.fitting(gray))(gray)


def test_a_lens_takes_a_flat_model_of_another_size() -> None:
    x = torch.rand(2, 3, 16, 16)
    net = Resized()
    lens = NetLens(FlatModel.from_nn_Module(net, example=torch.rand(1, 3, 12, 12)), x)
    assert torch.equal(lens.logits, net(x)) and "interpolate" in lens.flat.layers
    assert torch.equal(lens.saliency().values, Saliency()(lens.flat, x, lens.objective).values)


def test_pictures_of_another_number_of_channels() -> None:
    flat = FlatModel.from_nn_Module(Gray(), example=torch.rand(1, 1, 12, 12))
    render = OptVis(flat, logit(1)).render(Pixel(12), steps=2, progress=False)
    assert render.images.shape == (1, 3, 12, 12)


def test_a_question_about_the_number_of_samples_changes_no_value() -> None:
    x = torch.rand(3, 3, 12, 12)
    net = OfBatch()
    flat = FlatModel.from_nn_Module(net, example=x[:1])
    with pytest.warns(UserWarning, match="one sample at a time"):
        values = Occlusion(window=4, stride=4)(flat, x, logit(1)).values
    plain = Occlusion(window=4, stride=4)(FlatModel.from_nn_Module(Gray(), example=x), x, logit(1)).values
    torch.testing.assert_close(values, 2 * plain)
