"""NetLens: what a person gives it, what it says, and that it explains what was asked."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from netlens import NetLens, open_network
from netlens.attribution import METHODS, GradCAM, Saliency
from netlens.errors import ClassNotFound, ImageError, LayerNotFound, NetLensError, NetLensWarning, NonFiniteError
from netlens.flat import FlatModel
from netlens.objectives import channel, logit
from netlens.show import panel
from netlens.visualization import Fourier, OptVis
from netlens.world.scene import CLASSES, scene


@pytest.fixture(scope="module")
def flat() -> FlatModel:
    return open_network()


@pytest.fixture(scope="module")
def lens(flat: FlatModel) -> NetLens:
    return NetLens(flat, scene(3, label=4).image)


def small(channels: int = 3, classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes)
    )


def test_it_explains_what_the_network_predicts(lens: NetLens) -> None:
    best = lens.predictions(k=1)[0][0]
    assert best.name == CLASSES[4] and lens.targets == (4,)
    assert best.probability == pytest.approx(lens.logits.softmax(1)[0, 4].item(), rel=1e-5)
    assert torch.equal(lens.saliency().values, lens.attribute(Saliency(), objective=logit(4)).values)


def test_every_way_to_give_an_image_is_the_same(flat: FlatModel, tmp_path: Path) -> None:
    picture = Image.fromarray(scene(5).image)
    picture.save(tmp_path / "scene.png")
    expected = NetLens(flat, picture).x
    ready = flat.adapter.preprocessing(picture)
    sources = [scene(5).image, tmp_path / "scene.png", str(tmp_path / "scene.png"), ready, ready[0]]
    sources += [(tmp_path / "scene.png").read_bytes(), [picture]]
    for source in sources:
        assert torch.equal(NetLens(flat, source).x, expected)


def test_targets_by_name_index_and_per_image(flat: FlatModel) -> None:
    batch = [scene(1, label=2).image, scene(2, label=9).image]
    assert NetLens(flat, batch).targets == (2, 9)
    assert NetLens(flat, batch, target=[2, CLASSES[9]]).targets == (2, 9)
    assert NetLens(flat, batch[:1], target=torch.tensor([2])).targets == (2,)
    with pytest.raises(ClassNotFound, match="0 to 14"):
        NetLens(flat, batch, target=15)
    with pytest.raises(NetLensError, match="target has 3 classes for 2 images"):
        NetLens(flat, batch, target=[1, 2, 3])


def test_a_target_that_is_not_predicted_is_explained_with_a_warning(flat: FlatModel) -> None:
    with pytest.warns(
        NetLensWarning, match=r"explaining 'striped disc' \(0\).*its prediction is 'dotted square' \(4\)"
    ):
        lens = NetLens(flat, scene(3, label=4).image, target=0)
    assert lens.targets == (0,)
    assert lens.grad_cam().provenance.target_names == ("striped disc",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NetLens(flat, scene(3, label=4).image, target=4)


@pytest.mark.parametrize("name", METHODS)
def test_every_registered_method_is_a_method_here(lens: NetLens, name: str) -> None:
    explain = getattr(lens, name)
    assert name in dir(lens)
    assert {"objective", "wrt"} <= set(inspect.signature(explain).parameters)
    if name != "input_gradient":  # which is guided backprop as well, by an option of its own
        assert explain.__doc__ == METHODS[name].__doc__


def test_methods_take_their_own_options(lens: NetLens) -> None:
    assert lens.grad_cam(layer="trunk_output.block2").provenance.layer == lens.flat.key("trunk_output.block2")
    assert lens.occlusion(window=64, stride=64).values.shape == lens.x.shape
    with pytest.raises(NetLensError, match=r"InputXGradient has no option 'layer'; .* is wrt='stem'"):
        lens.input_x_gradient(layer="stem")
    with pytest.raises(NetLensError, match=r"GradCAM has no option 'windw'; its options: layer, relu"):
        lens.grad_cam(windw=3)
    with pytest.raises(NetLensError, match=r"no method 'gradcam'\. Closest: 'grad_cam'"):
        lens.attribute("gradcam")
    with pytest.raises(AttributeError, match="no attribute or method 'gradcamm'"):
        lens.gradcamm  # noqa: B018
    with pytest.raises(LayerNotFound, match="Closest"):
        lens.grad_cam(layer="layer9")


def test_several_methods_at_once(lens: NetLens) -> None:
    cam, saliency = lens.attribute([GradCAM(), "saliency"], objective=channel("trunk_output", 0))
    assert cam.provenance.method == "GradCAM" and saliency.provenance.objective.startswith("channel(")


def test_one_logit_has_a_sigmoid_and_is_class_0() -> None:
    x = torch.randn(2, 3, 8, 8)
    lens = NetLens(small(classes=1), x)
    assert lens.targets == (0, 0)
    assert lens.predictions()[1][0].probability == pytest.approx(lens.logits.sigmoid()[1, 0].item(), rel=1e-5)
    assert lens.saliency().values.shape == x.shape


def test_one_channel_takes_a_picture_in_gray() -> None:
    lens = NetLens(small(channels=1), torch.rand(1, 8, 8))
    assert lens.saliency().heatmap().shape == (1, 1, 8, 8)
    assert NetLens(small(channels=1), scene(0).image).x.shape[1] == 1


class Segments(nn.Module):
    """A network with a dict of maps as its output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"aux": x.mean(1), "out": self.conv(x)}


def test_maps_of_scores_in_a_dict_are_explained_where_the_class_is_predicted() -> None:
    x = torch.randn(1, 3, 8, 8)
    lens = NetLens(Segments(), x)
    (target,) = lens.targets
    maps = lens.flat(x)["out"]
    predicted = maps.argmax(1)
    assert target == predicted.flatten().mode().values
    assert lens.logits[0, target] == pytest.approx(maps[0, target].mean().item(), abs=1e-6)
    score = maps[:, target][predicted == target].mean() - lens.flat.layers["conv"].bias[target]
    assert lens.input_x_gradient().values.sum().item() == pytest.approx(score.item(), abs=1e-5)


def test_classes_and_preprocessing_can_be_given() -> None:
    names = ["cat", "dog", "owl", "fox"]
    x = torch.zeros(1, 3, 4, 4)
    predicted = NetLens(small(), x).targets
    assert NetLens(small(), x, target=names[predicted[0]], classes=names).targets == predicted
    assert NetLens(small(), x, target=str(predicted[0])).targets == predicted
    with pytest.raises(ClassNotFound, match="has no class names"):
        NetLens(small(), torch.zeros(1, 3, 4, 4), target="dog")


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.full((1, 3, 128, 128), float("nan")), NonFiniteError, "sample 0"),
        (torch.zeros(1, 4, 128, 128), ImageError, "4"),
        (torch.zeros(1, 3, 0, 0), NetLensError, "0"),
        ("no-such-picture.jpg", ImageError, "no-such-picture.jpg"),
        (3.5, NetLensError, "float"),
    ],
)
def test_what_cannot_be_explained_is_a_clear_error(flat: FlatModel, x: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        NetLens(flat, x)
    assert "\n" not in str(caught.value)


def test_too_small_an_image_names_the_usual_size() -> None:
    pooled = nn.Sequential(nn.Conv2d(3, 4, 7), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(NetLensError, match=r"cannot take an input of 3x4x4 \(the usual size is 224x224\)"):
        NetLens(pooled, torch.zeros(1, 3, 4, 4))


def test_what_would_be_misread_is_refused() -> None:
    with pytest.raises(NetLensError, match=r"the input is torch.float64 on cpu, but sequential is torch.float32"):
        NetLens(small(), torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    with pytest.raises(NetLensError, match="has 4 classes, but classes has 2 names"):
        NetLens(small(), torch.zeros(1, 3, 8, 8), classes=["cat", "dog"])
    lens = NetLens(small(), torch.zeros(1, 3, 8, 8))
    with pytest.raises(NetLensError, match=r"IntegratedGradients has no option 'method'"):
        lens.integrated_gradients(method="gausslegendre")
    with pytest.raises(NetLensError, match=r"n_steps is 2\.5, but must be a whole number"):
        lens.integrated_gradients(n_steps=2.5)


def test_a_float64_network_gets_float64_images() -> None:
    assert NetLens(small().double(), scene(0).image).saliency().values.dtype == torch.float64


def test_vectors_are_explained_without_pictures() -> None:
    torch.manual_seed(0)
    lens = NetLens(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), torch.randn(2, 5))
    assert lens.image is None
    assert lens.integrated_gradients().values.shape == (2, 5)


def test_bf16_is_near_and_said(flat: FlatModel) -> None:
    image = scene(0).image
    whole, rough = (NetLens(flat, image, precision=precision) for precision in (None, "bf16"))
    for method in ("occlusion", "grad_cam"):
        exact, near = whole.attribute(method), rough.attribute(method)
        assert near.values.dtype == exact.values.dtype == torch.float32
        assert near.provenance.precision == "bf16" and exact.provenance.precision is None
        error = (near.values - exact.values).abs().max() / exact.values.abs().max()
        assert 1e-5 < error < 0.2
    assert not torch.is_autocast_enabled("cpu")
    with pytest.raises(NetLensError, match="precision is 'fp8', but must be 'bf16' or None"):
        NetLens(flat, image, precision="fp8")  # type: ignore[arg-type]


def test_a_network_that_normalizes_its_input_itself_takes_its_own_number_of_channels(tmp_path):
    class GrayScan(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, 3)

        def forward(self, x):
            return self.head(torch.relu(self.conv((x - 0.5) / 0.25)).mean((2, 3)))

    torch.manual_seed(0)
    network, x = GrayScan().eval(), torch.rand(1, 1, 32, 32)
    result = NetLens(network, x).occlusion(window=8, stride=8)
    assert result.image.shape == (1, 1, 32, 32) and result.save(tmp_path / "scan.png").exists()
    render = OptVis(FlatModel.from_nn_Module(network), channel("conv", 0)).render(Fourier(32), steps=1, progress=False)
    assert render.images.shape == (1, 1, 32, 32)


def test_attributions_are_drawn_in_their_place_among_methods() -> None:
    lens = NetLens(open_network(), torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    first, last = lens.grad_cam(layer="stem"), lens.input_x_gradient()
    assert np.array_equal(lens.show(first, "saliency", last).rgba(), panel([first, lens.saliency(), last]).rgba())
