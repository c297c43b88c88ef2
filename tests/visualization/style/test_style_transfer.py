"""Style transfer: the style reached and the content kept, blends, regions, starts and seeds."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from netlens import images, visualization
from netlens.errors import ImageError, NetLensError, NetLensWarning, NotApplicable
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter
from netlens.preprocessing import Preprocessing
from netlens.visualization import Fourier, Frames
from netlens.visualization.style import STATISTICS, Below, StyleTransfer, stylize
from netlens.visualization.style._losses import (
    Look,
    Rooted,
    content_loss,
    style_loss,
)
from netlens.visualization.style._reading import PictureReader
from netlens.visualization.style._sight import (
    Sight,
    mask_of,
)
from netlens.visualization.style.task import Task

LAYERS = "1", "4"
PLAIN = {
    "optimizer": "adam",
    "transforms": "none",
    "scales": 1,
    "size": None,
    "param": "pixel",
    "tv_weight": 0.0,
    "loss": "squared",
}


def network(channels=3, scale=1.0):
    torch.manual_seed(0)
    layers = nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU()
    net = randomized(nn.Sequential(*layers)).double()
    with torch.no_grad():
        net[0].weight.mul_(scale)
        net[0].bias.mul_(scale)
        net[3].bias.mul_(scale)
    units = (0.5,) * channels, (0.25,) * channels
    return FlatModel.from_nn_Module(net, adapter=Adapter(preprocessing=Preprocessing(None, None, *units)))


@pytest.fixture(scope="module")
def flat():
    return network()


def waves(height, width, across, down, colors=(0.4, 0.3, 0.2)):
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    wave = torch.sin(across * x + down * y)
    return torch.stack([0.5 + color * wave for color in colors])


@pytest.fixture(scope="module")
def content():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32).double(), torch.linspace(-1, 1, 40).double(), indexing="ij")
    disc = (x.square() + y.square() < 0.4).double()
    return torch.stack([0.2 + 0.6 * disc, 0.3 + 0.2 * x.abs(), 0.6 - 0.3 * disc])


STYLE = waves(24, 24, 0.9, 0.7)
OTHER = waves(28, 20, 0.3, -1.4, (-0.2, 0.1, 0.4))


def value_at(flat, objective, x):
    return PictureReader(flat).values([objective], x)[0]


def losses(render):
    return render.provenance.options["losses"]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("param", ["pixel", "fourier", "pyramid"])
def test_style_comes_tenfold_nearer_and_the_content_stays_nearer_than_a_plain_picture(flat, content, optimizer, param):
    options = PLAIN | {"optimizer": optimizer, "param": param, "content_weight": 0.05, "style_layers": LAYERS}
    reached = losses(stylize(flat, content, STYLE, progress=False, steps=120, **options))
    assert reached["style"]["start"] == pytest.approx(1, rel=1e-9)
    assert reached["style"]["end"] < 0.1
    assert reached["content"]["end"] < 0.8


# a contextual distance looks for like features, and a picture without any like them has no slope towards them
FALL = dict.fromkeys(STATISTICS, 0.1) | {"contextual": 0.8}


@pytest.mark.parametrize("statistic", STATISTICS)
def test_every_statistic_is_1_at_the_content_and_falls_without_content(flat, content, statistic):
    options = PLAIN | {"optimizer": "lbfgs", "content_weight": 0.0, "style_layers": LAYERS, "statistic": statistic}
    steps = 30 if statistic == "contextual" else 120
    reached = losses(stylize(flat, content, STYLE, progress=False, steps=steps, **options))["style"]
    assert reached["start"] == pytest.approx(1, rel=1e-9)
    assert reached["end"] < FALL[statistic]


def test_losses_mean_the_same_on_a_network_of_other_units(content):
    def both(scale):
        flat = network(scale=scale)
        return losses(stylize(flat, content, STYLE, progress=False, steps=20, style_layers=LAYERS, **PLAIN))

    one, other = both(1.0), both(100.0)
    for name, moments in one.items():
        for moment, value in moments.items():
            assert other[name][moment] == pytest.approx(value, rel=1e-6), (name, moment)


def test_content_loss_is_0_at_the_content_and_1_at_its_mean_color(flat, content):
    sight = Sight(flat, ("4",))
    loss = content_loss(flat, sight(content[None]), {"4": 2.0}, "squared")
    plain = content.mean((1, 2), keepdim=True).expand_as(content)
    assert value_at(flat, loss, sight(content[None])) == 0
    assert value_at(flat, loss, sight(plain[None])) == pytest.approx(1, rel=1e-9)


def test_blends_are_linear_in_the_weights_of_styles_and_layers(flat, content):
    sight = Sight(flat, LAYERS)
    looks = [sight(style[None]) for style in (STYLE, OTHER)]
    elsewhere = sight(waves(32, 40, 0.2, 0.5)[None])

    def loss(weights, layers=(1.0, 1.0)):
        pairs = [Look(look, weight) for look, weight in zip(looks, weights, strict=True)]
        objective = style_loss(
            flat, sight(content[None]), pairs, dict(zip(LAYERS, layers, strict=True)), STATISTICS["gram"](), "squared"
        )
        return value_at(flat, objective, elsewhere)

    assert loss((0.3, 0.7)) == pytest.approx(0.3 * loss((1, 0)) + 0.7 * loss((0, 1)), rel=1e-12)
    assert loss((3, 7)) == pytest.approx(loss((0.3, 0.7)), rel=1e-12)
    assert loss((1, 0), (1, 3)) == pytest.approx(loss((1, 0), (1, 0)) / 4 + loss((1, 0), (0, 1)) * 3 / 4, rel=1e-12)


def test_a_root_is_0_at_0_with_a_slope_and_1_at_1():
    values = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    rooted = Rooted(lambda record: values)(None)
    assert rooted.tolist() == pytest.approx([0, 1], abs=1e-12)
    assert torch.autograd.grad(rooted.sum(), values)[0].isfinite().all()


def halves(height, width):
    left = torch.zeros(height, width)
    left[:, : width // 2] = 1
    return left, 1 - left


def test_another_style_on_one_side_changes_nothing_on_the_other_beyond_what_units_see(flat, content):
    left, right = halves(32, 40)
    options = PLAIN | {"steps": 15, "style_layers": LAYERS, "content_layers": "4", "progress": False}
    regions = [(left, None), (right, None)]
    one = stylize(flat, content, [STYLE, OTHER], regions, **options).images
    other = stylize(flat, content, [STYLE, 1 - OTHER.flip(1)], regions, **options).images
    # a unit sees 3 + 2 + 2 x 2 = 8 pixels, and pictures move what 8 pixels away is judged by; each step hands that on
    assert (one != other)[..., 30:].any()
    step = 8
    one, other = (
        stylize(flat, content, styles, regions, **options | {"steps": 1}).images
        for styles in ([STYLE, OTHER], [STYLE, 1 - OTHER.flip(1)])
    )
    assert torch.equal(one[..., : 20 - step], other[..., : 20 - step])
    assert not torch.equal(one[..., 20:], other[..., 20:])


def test_what_a_style_shows_outside_its_mask_does_not_count(flat, content):
    _, right = halves(24, 24)
    changed = STYLE.clone()
    changed[:, :, :4] = 0.9  # units at column 12 and beyond see nothing left of column 4
    options = PLAIN | {"steps": 10, "style_layers": LAYERS, "progress": False}
    one = stylize(flat, content, STYLE, (None, right), style_scale=24 / 40, **options)
    other = stylize(flat, content, changed, (None, right), style_scale=24 / 40, **options)
    assert torch.equal(one.images, other.images)
    assert not torch.equal(one.images, stylize(flat, content, changed, style_scale=24 / 40, **options).images)


def test_the_same_seed_gives_the_same_bits_and_leaves_global_random_numbers_alone(flat, content):
    options = {
        "size": None,
        "steps": 6,
        "start": "noise",
        "transforms": "jitter",
        "style_layers": LAYERS,
        "progress": False,
    }
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (stylize(flat, content, STYLE, seed=seed, **options).images for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("start, expected", [("content", "content"), ("style", "style"), (OTHER, "other")])
def test_starts_at_what_is_said(flat, content, start, expected):
    frames = Frames(every=1)
    stylize(flat, content, STYLE, callbacks=[frames], start=start, steps=1, progress=False, **PLAIN)
    sized = partial(nn.functional.interpolate, size=(32, 40), mode="bicubic", antialias=True)
    wanted = {"content": content[None], "style": sized(sized(STYLE[None], size=(40, 40))), "other": sized(OTHER[None])}
    assert (frames.images[0] - wanted[expected].clamp(0, 1).float()).abs().max() < 3 / 255


def test_sizes_scales_and_the_target_that_ends_them(flat, content):
    options = {"steps": 10, "style_layers": LAYERS, "progress": False, "transforms": "none"}
    frames = Frames(every=1)
    render = stylize(flat, content, STYLE, callbacks=[frames], size=(66, 70), scales=3, **options)
    assert render.images.shape == (1, 3, 66, 70)
    assert render.history.shape == (10, 1)
    sizes = [tuple(frame.shape[2:]) for frame in render.frames]
    assert sizes == [(33, 35)] * 6 + [(66, 70)] * 6  # a quarter would be too small; first pictures are frames, too
    assert stylize(flat, content, STYLE, size=20, scales=1, **options).images.shape == (1, 3, 16, 20)
    ended = stylize(flat, content, STYLE, size=None, scales=1, target=0.9, **options | {"steps": 60})
    assert len(ended.history) < 60
    assert Below(0.5)(torch.tensor([[-0.6, -0.4]])).tolist() == [False, True]


def test_a_mask_that_is_nearly_black_is_told(tmp_path):
    images.save(torch.full((1, 24, 30), 2 / 255), tmp_path / "mask.png")
    with pytest.warns(NetLensWarning, match="nearly black, 2 of 255 at most"):
        mask_of(tmp_path / "mask.png", "the mask")


def test_a_content_of_one_color_is_told(flat, content):
    plain = torch.full((3, 32, 40), 0.4)
    with pytest.warns(NetLensWarning, match="the content has one color everywhere"):
        render = stylize(flat, plain, STYLE, progress=False, steps=2, **PLAIN)
    assert render.diagnostics["found_nothing"].tolist() == [1.0]
    assert not stylize(flat, content, STYLE, progress=False, steps=2, **PLAIN).diagnostics


def test_gray_networks_and_gray_pictures(content):
    gray = network(channels=1)
    options = PLAIN | {"steps": 4, "style_layers": LAYERS, "progress": False}
    assert stylize(gray, content, STYLE, **options).images.shape[1] == 1
    assert stylize(gray, content, STYLE, color="luminance", **options).images.shape[1] == 3
    filmed = stylize(gray, content, STYLE, color="luminance", callbacks=[Frames(2)], **options)
    assert len(filmed.frames) >= 2 and all(frame.shape[1] == 3 for frame in filmed.frames)
    assert torch.equal(filmed.frames[-1], filmed.images)
    assert stylize(network(), content[:1], STYLE, **options).images.shape[1] == 3


def test_the_network_is_as_it_was(content):
    flat = network()
    before = {name: tensor.clone() for name, tensor in flat.state_dict().items()}
    stylize(flat, content, STYLE, steps=3, style_layers=LAYERS, progress=False, **PLAIN)
    assert all(torch.equal(tensor, before[name]) for name, tensor in flat.state_dict().items())
    assert all(parameter.grad is None for parameter in flat.parameters())


@pytest.mark.parametrize(
    "options, complaint",
    [
        ({"statistic": "grams"}, "statistic is 'grams'"),
        ({"loss": "cubed"}, "loss is 'cubed'"),
        ({"color": "sepia"}, "color is 'sepia'"),
        ({"optimizer": "adamant"}, "optimizer is 'adamant'"),
        ({"param": "oil"}, "param is 'oil'"),
        ({"transforms": "wild"}, "transforms is 'wild'"),
        ({"style_weights": [1, 2]}, "1 style"),
        ({"style_weights": "a"}, "style_weights is 'a', but must be None or a list"),
        ({"style_weights": 5}, "style_weights"),
        ({"style_weights": ["x"]}, "style_weights"),
        ({"style_weights": [float("inf")]}, "style_weights"),
        ({"content_weight": -1}, "content_weight"),
        ({"content_weight": "1"}, "content_weight"),
        ({"style_weight": float("inf")}, "style_weight"),
        ({"tv_weight": float("nan")}, "tv_weight"),
        ({"content_weight": 0, "style_weight": 0}, "both 0"),
        ({"lr": -1}, "lr is"),
        ({"lr": 0}, "lr is"),
        ({"lr": float("nan")}, "lr is"),
        ({"target": float("nan")}, "target"),
        ({"seed": -1}, "seed"),
        ({"steps": 0}, "from 1 to 1,000,000"),
        ({"steps": 10**20}, "from 1 to 1,000,000"),
        ({"lr": 1e39}, "above 0 and at most 1,000,000"),
        ({"scales": 10**20}, "from 1 to 16"),
        ({"steps": 2.5}, "steps"),
        ({"scales": True}, "scales"),
        ({"style_layers": {"1": 0.0}}, "weight 0"),
        ({"style_layers": {"1": "x"}}, "style_layers is {'1': 'x'}, but must be"),
        ({"style_layers": {"1": float("inf")}}, "style_layers is {'1': inf}, but must be"),
        ({"style_layers": {"1": -1}}, "style_layers gives '1' is -1.0"),
        ({"style_layers": []}, "names no layer"),
        ({"content_layers": {}}, "content_layers names no layer"),
        ({"content_layers": 1.5}, "content_layers is 1.5, but must be a name"),
        ({"content_layers": [None]}, "content_layers is .None., but must be a name"),
        ({"content_wieght": 1}, "content_weight"),
        ({"regions": [(None, None), (None, None)]}, "1 regions"),
        ({"regions": (torch.zeros(4, 4), None)}, "above 0"),
        ({"size": 8}, "the content would be 6 × 8, but both sides"),
        ({"size": 0}, "size is 0, but must be a whole number of at least 1"),
        ({"size": 32.0}, "size is"),
        ({"size": "32"}, "size is"),
        ({"size": (1, 2, 3)}, "size is"),
        ({"size": 10**9}, "the content would have more than"),
        ({"style_scale": float("inf")}, "style_scale"),
        ({"style_scale": 1e9}, "style 0 would have more than"),
        ({"style_scale": 1e308}, "style 0 would have more than"),
        ({"style_scale": 0.1}, "style 0 would be"),
    ],
)
def test_mistakes_are_told_in_one_line(flat, content, options, complaint):
    with pytest.raises(NetLensError, match=complaint) as caught:
        stylize(flat, content, STYLE, progress=False, **PLAIN | {"steps": 1} | options)
    assert "\n" not in str(caught.value)


def test_pictures_out_of_range_and_networks_without_maps_are_refused(flat, content):
    with pytest.raises(ImageError, match=r"the content: .* not \[0, 1\]"):
        stylize(flat, content + 1, STYLE)
    vectors = FlatModel.from_nn_Module(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 40, 4)).double())
    with pytest.raises(NotApplicable, match="cannot measure a style"):
        stylize(vectors, content, STYLE, size=None)


@pytest.mark.parametrize("flat", [None, nn.ReLU()])
def test_what_is_no_flat_model_is_told(flat, content):
    with pytest.raises(NetLensError, match="must be a FlatModel"):
        stylize(flat, content, STYLE)


def test_a_seed_may_be_as_large_as_one_likes(flat, content):
    options = PLAIN | {"start": "noise", "transforms": "jitter", "steps": 1, "style_layers": LAYERS, "seed": 10**30}
    assert stylize(flat, content, STYLE, progress=False, **options).seeds == (10**30,)


def test_references_are_read_once_and_no_step_runs_beyond_the_deepest_layer(flat, content):
    task = Task.of(StyleTransfer(**PLAIN, style_layers="1", content_layers="1"), flat, content, STYLE, None)
    objective = task.stage(1.0).objective
    assert set(objective.layers) == {"1"}
    assert all(term.prepared_tensors is not None for _, term in objective.terms)


def test_the_references_are_of_pictures_as_they_are_whatever_disturbs_what_is_made(flat, content):
    def references(transforms):
        how = StyleTransfer(**PLAIN | {"transforms": transforms}, style_layers=LAYERS)
        return [
            term.prepared_tensors for _, term in Task.of(how, flat, content, STYLE, None).stage(1.0).objective.terms
        ]

    still, moving = (pytree.tree_leaves(references(transforms)) for transforms in ("none", "jitter"))
    assert still and all(torch.equal(one, other) for one, other in zip(still, moving, strict=True))


def test_a_param_with_options_is_taken_as_it_is(flat, content):
    options = PLAIN | {"param": Fourier(decay=0.5), "steps": 2, "style_layers": LAYERS}
    render = stylize(flat, content, STYLE, progress=False, **options)
    assert "'decay': 0.5" in repr(render.provenance.options["param"])


def test_by_the_usual_loss_a_root_the_style_comes_tenfold_nearer_as_well(flat, content):
    options = {name: value for name, value in PLAIN.items() if name != "loss"} | {"content_weight": 0.05}
    reached = losses(stylize(flat, content, STYLE, progress=False, steps=120, style_layers=LAYERS, **options))
    assert reached["style"]["start"] == pytest.approx(1, rel=1e-9)
    assert reached["style"]["end"] < 0.1**0.5


def test_it_is_found_beside_dream_and_invert():
    assert visualization.stylize is stylize
    with pytest.raises(AttributeError, match="style_transfer"):
        _ = visualization.style_transfer


def flat_picture(*color, side=32):
    return torch.tensor(color, dtype=torch.float64).view(3, 1, 1).expand(3, side, side).clone()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_flat_content_takes_the_style(flat, level):
    options = {"transforms": "none", "scales": 1, "size": None, "style_layers": LAYERS, "content_layers": "4"}
    with pytest.warns(NetLensWarning, match="the content has one color everywhere"):
        render = stylize(flat, flat_picture(level, level, level), STYLE, progress=False, steps=120, **options)
    assert losses(render)["style"]["end"] < 0.5
    assert render.images.std() > 0.05


@pytest.mark.parametrize(
    "style", [waves(24, 24, 0.9, 0.7).mean(0, keepdim=True), waves(16, 16, 0.9, 0.7)], ids=["gray", "tiny"]
)
def test_a_gray_or_tiny_style_is_taken(flat, content, style):
    options = {"transforms": "none", "scales": 1, "size": None, "style_layers": LAYERS, "content_layers": "4"}
    assert losses(stylize(flat, content, style, progress=False, steps=60, **options))["style"]["end"] < 0.5


def test_losses_that_do_not_fall_are_warned_of(flat, content):
    options = {"transforms": "none", "scales": 1, "size": None, "style_layers": LAYERS, "content_layers": "4"}
    with pytest.warns(NetLensWarning, match="the losses did not fall.*style"):
        stylize(flat, content, content, progress=False, steps=16, **options)


def test_the_provenance_holds_all_options(flat):
    """A scale's share of the steps is not the number that was asked for."""
    options = {
        "steps": 6,
        "scales": 2,
        "size": 64,
        "content_weight": 0.3,
        "style_weights": (2.0, 1.0),
        "color": "luminance",
    }
    styles = [torch.rand(3, 64, 64), torch.rand(3, 64, 64)]
    made_by = StyleTransfer(**options)(flat, torch.rand(3, 64, 64), styles, progress=False).provenance
    expected = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    assert {name: made_by.options[name] for name in options} == expected
