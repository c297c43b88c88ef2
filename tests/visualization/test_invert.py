"""Inversion: what a layer knows is found again; what it does not know is not."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from netlens.errors import LayerNotFound, NetLensError
from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter
from netlens.preprocessing import Preprocessing
from netlens.results.row import photograph, row
from netlens.visualization import Fourier, Pixel, caricature, invert

COLORS = Preprocessing(None, None, (0.4, 0.5, 0.45), (0.2, 0.25, 0.3))


def network(channels=3):
    torch.manual_seed(0)
    trunk = [nn.Conv2d(channels, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 16, 3, stride=2, padding=1), nn.ReLU()]
    trunk += [nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU()]
    module = nn.Sequential(*trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)).double()
    preprocessing = COLORS if channels == 3 else Preprocessing(None, None, (0.5,), (0.25,))
    return FlatModel.from_nn_Module(module, adapter=Adapter(preprocessing=preprocessing))


@pytest.fixture(scope="module")
def flat():
    return network()


@pytest.fixture(scope="module")
def image():
    coarse = torch.rand(1, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return F.interpolate(0.25 + coarse / 2, (30, 34), mode="bicubic")[0]


def distance(flat, key, pictures, image):
    """‖Φ − Φ0‖² / ‖Φ0‖², by hand."""
    with torch.no_grad():
        mine, theirs = (
            flat(flat.adapter.preprocessing.normalize(one.double()), until=key) for one in (pictures, image[None])
        )
    return float((mine - theirs).square().sum() / theirs.square().sum())


@pytest.mark.parametrize("param", [Fourier, Pixel])
@pytest.mark.parametrize("key", ["1", "3", "5"])
def test_the_distance_falls_far_below_its_start(flat, image, key, param):
    free = {"alpha": 0, "variation": 0}
    render = invert(flat, image, key, param=param, steps=250, progress=False, **free)
    start = -float(render.history[0, 0])
    left = distance(flat, key, render.images, image)
    assert left < start / 10 and left < 0.02
    # the objective is that distance, and nothing else
    assert start == pytest.approx(distance(flat, key, _begun(param), image), rel=1e-5)
    assert float(render.captions[0].split(" · ")[1]) == pytest.approx(left, abs=6e-4)


def _begun(param):
    parametrization = param((30, 34))
    with torch.no_grad():
        return parametrization.image(parametrization.start(dtype=torch.float64))


def test_shallow_layers_know_the_picture_better_than_deep_ones(flat, image):
    render = invert(flat, image, ["1", "5"], steps=150, progress=False)
    shallow, deep = (float((one - image).square().mean()) for one in render.images)
    noise = float((torch.rand(image.shape, generator=torch.Generator().manual_seed(0)) - image).square().mean())
    assert shallow < 0.3 * deep and deep < noise
    assert shallow < 0.003


def test_a_strip_is_its_pictures_one_by_one(flat, image):
    together = invert(flat, image, ["1", "3"], steps=5, seed=4, progress=False)
    assert together.images.shape == (2, 3, 30, 34) and together.seeds == (4, 4)
    for i, key in enumerate(("1", "3")):
        alone = invert(flat, image, key, steps=5, seed=4, progress=False)
        assert torch.equal(together.images[i], alone.images[0]) and together.captions[i] == alone.captions[0]
        torch.testing.assert_close(together.history[:, i], alone.history[:, 0].double(), rtol=0, atol=0)


def test_penalties_are_those_of_the_paper(flat, image):
    free = {"alpha": 0, "variation": 0}
    x = _begun(Pixel)
    alpha = float((x - 0.5).abs().pow(6).mean())
    dx, dy = F.pad(x.diff(dim=3), (0, 1)), F.pad(x.diff(dim=2), (0, 0, 0, 1))
    variation = float((dx.square() + dy.square()).mean())
    plain, normed, rough, both = (
        -float(invert(flat, image, "3", param=Pixel, steps=1, progress=False, **penalties).history[0, 0])
        for penalties in (free, free | {"alpha": 7.0}, free | {"variation": 3.0}, {})
    )
    assert normed - plain == pytest.approx(7 * alpha, rel=1e-6, abs=1e-12)
    assert rough - plain == pytest.approx(3 * variation, rel=1e-6)
    assert both - plain == pytest.approx(10 * alpha + 13 * variation, rel=1e-6)


def test_variation_makes_pictures_smoother(flat, image):
    def roughness(weight):
        picture = invert(flat, image, "5", param=Pixel, steps=80, variation=weight, progress=False).images
        return float(picture.diff(dim=3).square().mean() + picture.diff(dim=2).square().mean())

    assert roughness(50.0) < roughness(0.0) / 2


def test_options_of_a_param_count_and_its_size_does_not(flat, image):
    render = invert(flat, image, "1", param=Fourier(size=8, batch=3, sd=0.5), steps=1, progress=False)
    assert render.images.shape == (1, 3, 30, 34)
    assert render.images.std() > 3 * invert(flat, image, "1", steps=1, progress=False).images.std()


def test_size_and_gray(image):
    render = invert(network(1), image, "1", steps=2, size=17, progress=False)
    assert render.images.shape == (1, 1, 15, 17)


def test_a_caricature_exaggerates(flat, image):
    from netlens.visualization.transforms import Chain

    render = caricature(flat, image, ["1", "3"], steps=60, transforms=Chain(), progress=False)
    assert render.captions == ("1", "3")
    for key, one in zip(("1", "3"), render.images, strict=True):
        mine, theirs = (
            flat(flat.adapter.preprocessing.normalize(x[None].double()), until=key).flatten() for x in (one, image)
        )
        assert (mine @ theirs) / theirs.norm() > theirs.norm()  # more of it than the image itself has
        assert F.cosine_similarity(mine, theirs, dim=0) > 0.6


def test_errors(flat, image):
    with pytest.raises(LayerNotFound):
        invert(flat, image, ["1", "no"], progress=False)
    with pytest.raises(NetLensError, match="no layer"):
        invert(flat, image, [], progress=False)
    with pytest.raises(NetLensError, match="alpha"):
        invert(flat, image, "1", alpha=-1, progress=False)


@pytest.mark.parametrize("function", [invert, caricature])
@pytest.mark.parametrize(
    "options",
    [
        {"layers": None},
        {"layers": 1.5},
        {"param": "pixel"},
        {"size": 32.5},
        {"steps": 1.5},
        {"seed": 1.5},
        {"transforms": "none"},
        {"optimizer": 3},
        {"alpha": float("nan")},
        {"variation": float("inf")},
        {"cosine_power": "a"},
    ],
    ids=str,
)
def test_options_of_another_type_are_named(flat, image, function, options):
    (name,) = options
    with pytest.raises(NetLensError, match=name):
        function(flat, image, **{"layers": "1", "steps": 1, "progress": False, **options})


def test_a_row_of_renders(flat, image):
    one = invert(flat, image, "1", steps=3, progress=False)
    two = invert(flat, image, "3", steps=5, size=20, progress=False)
    both = row(photograph(image, "image", one), one, two)
    assert both.images.shape == (3, 3, 30, 34) and torch.equal(both.images[0], image.float())
    assert torch.equal(both.images[1], one.images[0])
    assert both.captions[0] == "image" and both.captions[1:] == (*one.captions, *two.captions)
    assert both.history.shape == (5, 3) and both.history.isnan().sum().item() == 5 + 2
    assert "content('1')" in both.provenance.objective and "content('3')" in both.provenance.objective
    assert row(one, one, captions=["a", "b"]).captions == ("a", "b")
    assert both[1:].captions == both.captions[1:] and replace(both, captions=None)._captions(None)[0][0] == (
        both.provenance.objective
    )


def test_captions_go_through_a_file(flat, image, tmp_path):
    from netlens.results import Render

    one = invert(flat, image, "1", steps=1, progress=False)
    assert Render.load(one.save(tmp_path / "one.safetensors")).captions == one.captions
