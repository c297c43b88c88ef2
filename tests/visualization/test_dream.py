"""Dreams: octaves, tiles that add up to the whole, and more of the layer in the end."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from netlens.errors import ImageError, LayerNotFound, NetLensError, NetLensWarning, NonFiniteError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter
from netlens.objectives import Record, channel, content, guide, layer, logit
from netlens.preprocessing import Preprocessing
from netlens.results import Render
from netlens.visualization import Callback, dream, invert, zoom
from netlens.visualization._octaves import (
    octave_sizes,
)
from netlens.visualization._tiles import (
    Tiled,
    spans,
)
from netlens.zoo import open_network

COLORS = Preprocessing(None, None, (0.4, 0.5, 0.45), (0.2, 0.25, 0.3))
GRAY = Preprocessing(None, None, (0.5,), (0.25,))


class InADict(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return {"logits": self.body(x), "seen": x}


def network(channels=3, preprocessing=COLORS, wrapped=None):
    torch.manual_seed(0)
    trunk = [nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU()]
    trunk += [nn.MaxPool2d(2), nn.Conv2d(8, 5, 3, padding=1), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)]
    module = nn.Sequential(*trunk, *head).double()
    whole = module if wrapped is None else wrapped(module)
    return FlatModel.from_nn_Module(whole, adapter=Adapter(preprocessing=preprocessing))


@pytest.fixture(scope="module")
def flat():
    return network()


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, 72, 90, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def strength(flat, key, images):
    with torch.no_grad():
        x = flat.adapter.preprocessing.normalize(images.double())
        return layer(key)(Record(flat, flat.record(x, layers=key)))


# octaves and spans


def test_octaves_grow_by_their_scale_up_to_the_picture():
    assert octave_sizes((448, 333), 4, 1.4) == [(163, 121), (229, 170), (320, 238), (448, 333)]
    assert octave_sizes((50, 400), 4, 1.4) == [(36, 286), (50, 400)]  # shorter sides would be under 32
    assert octave_sizes((8, 8)) == [(8, 8)]


@pytest.mark.parametrize("length", [1, 31, 64, 65, 97, 200, 511])
@pytest.mark.parametrize(("tile", "overlap", "stride"), [(64, 0, 1), (64, 9, 1), (64, 15, 4), (50, 10, 8)])
def test_spans_cover_a_side_once_and_keep_away_from_cut_ends(length, tile, overlap, stride):
    intervals = spans(length, tile, overlap, stride)
    assert [first for _, _, first, _ in intervals[1:]] == [last for _, _, _, last in intervals[:-1]]
    assert intervals[0][2] == 0 and intervals[-1][3] == length
    for start, end, first, last in intervals:
        assert start % stride == 0 and 0 <= start <= first < last <= end <= length and end - start < tile + stride
        assert start == 0 or first - start >= overlap
        assert end == length or end - last >= overlap


# tiles


@pytest.mark.parametrize("size", [(72, 90), (131, 64), (97, 101)])
@pytest.mark.parametrize(
    "goal", [layer("6"), channel("6", 0), channel("3", 2), layer("0"), guide("6", torch.rand(1, 3, 40, 40))]
)
def test_the_gradient_of_tiles_is_that_of_the_whole(flat, size, goal):
    picture = torch.rand(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    goal = goal.settled(flat, picture)
    _, whole = Tiled(flat, goal, tile=None)(picture)
    _, tiled = Tiled(flat, goal, tile=64, overlap=24)(picture)
    assert whole.abs().max() > 0
    torch.testing.assert_close(tiled, whole, rtol=1e-9, atol=1e-12)


def test_without_overlap_tiles_do_not_add_up(flat):
    picture = torch.rand(1, 3, 100, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    _, whole = Tiled(flat, layer("6"), tile=None)(picture)
    _, tiled = Tiled(flat, layer("6"), tile=64, overlap=0)(picture)
    assert not torch.allclose(tiled, whole, rtol=1e-3)


def test_the_overlap_is_the_receptive_field_where_tiles_are_large_enough(flat):
    assert Tiled(flat, layer("6"), tile=512)._overlap(512) == flat_reach(flat, "6")
    assert Tiled(flat, layer("6"), tile=64)._overlap(64) == 8
    assert Tiled(flat, logit(0), tile=512)._overlap(512) == 64


def flat_reach(flat, key):
    from netlens.flat.receptive import receptive_fields

    return receptive_fields(flat.program)[key].size[0]


def test_a_network_of_one_size_gets_tiles_of_that_size():
    torch.manual_seed(0)

    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 4, stride=4)
            self.place = nn.Parameter(torch.randn(4, 8, 8))

        def forward(self, x):
            return (self.conv(x) + self.place).flatten(1).tanh()

    module = Fixed().double()
    preprocessing = Preprocessing((32, 32), 32, (0.5, 0.5, 0.5), (1, 1, 1))
    flat = FlatModel.from_nn_Module(module, adapter=Adapter(preprocessing=preprocessing))
    tiled = Tiled(flat, layer("conv"), tile=512)
    assert tiled._fixed is None  # the convolution by itself takes any size
    tiled = Tiled(flat, layer("add"), tile=512)
    assert tiled._fixed == (32, 32)
    _, gradient = tiled(torch.rand(1, 3, 50, 70, dtype=torch.float64))
    assert set(tiled._judges) == {(32, 32)}
    assert (gradient != 0).all(1).all()


# dreams


@pytest.mark.parametrize("key", ["1", "3", "6"])
@pytest.mark.parametrize("tile", [None, 64])
def test_a_dream_raises_its_layer(flat, image, key, tile):
    dreamed = dream(flat, image, key, octaves=2, steps=8, jitter=6, tile=tile, progress=False)
    assert dreamed.images.shape == (1, 3, 72, 90) and dreamed.images.min() >= 0 and dreamed.images.max() <= 1
    assert strength(flat, key, dreamed.images) > 1.5 * strength(flat, key, image[None])
    assert dreamed.history.shape == (16, 1)
    assert (dreamed.history[7] > dreamed.history[0]).all() and (dreamed.history[15] > dreamed.history[8]).all()
    assert [tuple(frame.shape[2:]) for frame in dreamed.frames] == [(51, 64), (72, 90)]


def test_a_step_moves_pixels_by_gray_levels_on_average(flat):
    gray = torch.full((3, 48, 48), 0.5, dtype=torch.float64)
    gray += 0.01 * torch.rand(gray.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one = dream(flat, gray, "6", octaves=1, steps=1, jitter=0, step=2.0, progress=False)
    moved = (one.images[0].double() - gray).abs().mean() * 255
    assert moved == pytest.approx(2.0, rel=1e-3)


def test_detail_is_carried_between_octaves(flat, image):
    # with a step too small to change anything at the last size, what is left was dreamed at the first
    smooth = torch.nn.functional.interpolate(image[None, :, ::8, ::8], (72, 90), mode="bicubic").clamp(0.2, 0.8)[0]
    first = dream(flat, smooth, "6", octaves=2, steps=6, jitter=0, progress=False)
    small, large = first.frames
    from netlens.visualization.params import (
        resampled,
    )

    detail = small - resampled(smooth[None], (51, 64)).float()
    carried = torch.nn.functional.interpolate(detail, (72, 90), mode="bilinear")
    change = large - smooth[None].float()
    alike = torch.nn.functional.cosine_similarity(carried.flatten(), change.flatten(), dim=0)
    assert alike > 0.4


def test_jitter_leaves_the_picture_in_its_place(flat, image):
    still = dream(flat, image, "6", octaves=1, steps=4, jitter=0, progress=False)
    moved = dream(flat, image, "6", octaves=1, steps=4, jitter=20, progress=False)
    assert not torch.equal(still.images, moved.images)
    for one in (still, moved):
        assert (one.images[0] - image).abs().max() < 0.5 and (one.images[0] - image).abs().mean() < 4 * 1.6 / 255


def test_same_seed_same_bits_and_nothing_else_is_touched(flat, image):
    before, state = image.clone(), torch.get_rng_state()
    np_state = np.random.get_state()[1].copy()
    one, again, other = (dream(flat, image, "3", octaves=2, steps=2, seed=seed, progress=False) for seed in (5, 5, 6))
    assert torch.equal(one.images, again.images) and not torch.equal(one.images, other.images)
    assert torch.equal(image, before) and torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == np_state).all()
    assert all(p.grad is None for p in flat.parameters())
    with torch.inference_mode():
        assert torch.equal(dream(flat, image, "3", octaves=2, steps=2, seed=5, progress=False).images, one.images)


def test_a_guided_dream_comes_nearer_to_its_guide(flat, image):
    towards = torch.zeros(3, 40, 40)
    towards[0] = 1  # plain red
    render = dream(flat, image, "6", towards=towards, octaves=1, steps=10, jitter=0, progress=False)
    goal = guide("6", flat.adapter.preprocessing.normalize(towards.double())[None])

    def value(pictures):
        x = flat.adapter.preprocessing.normalize(pictures.double())
        return float(goal(Record(flat, flat.record(x, layers="6"))))

    assert value(render.images) > value(image[None])


def test_the_guide_is_the_best_match_of_each_position_by_hand():
    plain = FlatModel.from_nn_Module(nn.Sequential(nn.Identity()), adapter=Adapter(preprocessing=GRAY))
    mine = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])  # (1, 2, 1, 2): positions (1, 0) and (0, 2)
    theirs = torch.tensor([[[[3.0, 0.0, 1.0]], [[0.0, 5.0, 1.0]]]])  # (3, 0), (0, 5), (1, 1)
    value = guide("0", theirs)(Record(plain, {"0": mine}))
    assert value.tolist() == [(3 + 10) / 2]


def test_any_objective_and_a_gray_network(image):
    gray = network(1, GRAY)
    render = dream(gray, image, logit(2), octaves=1, steps=2, progress=False)
    assert render.images.shape == (1, 1, 72, 90)
    colored = dream(network(), image, content("3", image[None]), octaves=1, steps=1, progress=False)
    assert colored.images.shape == (1, 3, 72, 90)


@pytest.mark.parametrize("key", ["conv_proj.3.add", "encoder.layers.encoder_layer_0"])
def test_tokens_and_the_stem_of_a_transformer(key):
    vit = open_network("shapes_vit")  # which takes one size only
    image = torch.rand(3, 100, 150, generator=torch.Generator().manual_seed(0))
    render = dream(vit, image, key, octaves=1, steps=4, jitter=0, progress=False)
    assert render.images.shape == (1, 3, 100, 150) and render.history[-1] > render.history[0]
    guided = dream(vit, image, key, towards=image.flip(2), octaves=1, steps=4, jitter=0, progress=False)
    assert guided.history[-1] > guided.history[0]


def test_a_film_starts_with_a_dream_and_comes_nearer(flat, image, tmp_path):
    film = zoom(flat, image, "3", n_frames=3, factor=1.2, steps=2, progress=False)
    first = dream(flat, image, "3", octaves=2, steps=2, progress=False)
    assert len(film.frames) == 3 and torch.equal(film.frames[0], first.images)
    assert film.save_gif(tmp_path / "film.gif").stat().st_size > 0
    nearer = torch.nn.functional.interpolate(film.frames[0], scale_factor=1.2, mode="bilinear")
    top, left = (nearer.shape[2] - 72) // 2, (nearer.shape[3] - 90) // 2
    expected = nearer[:, :, top : top + 72, left : left + 90]
    change = (film.frames[1] - expected).abs().mean()
    assert change < (film.frames[1] - film.frames[0]).abs().mean() / 2


def test_errors(flat, image):
    with pytest.raises(LayerNotFound):
        dream(flat, image, "77", progress=False)
    with pytest.raises(NetLensError, match="octave"):
        dream(flat, image, "3", octaves=0, progress=False)
    with pytest.raises(NetLensError, match="scale"):
        dream(flat, image, "3", scale=1, progress=False)
    with pytest.raises(NetLensError, match="no option 'octave'"):
        dream(flat, image, "3", octave=2, progress=False)
    with pytest.raises(NetLensError, match="tile is 8, but must be a whole number from 32"):
        dream(flat, image, "3", tile=8, progress=False)
    with pytest.raises(NetLensError, match="has no inner part"):
        dream(flat, image, "3", tile=64, overlap=32, octaves=1, progress=False)
    with pytest.raises(NetLensError, match="one image"):
        dream(flat, image.expand(2, -1, -1, -1), "3", progress=False)
    with pytest.raises(NetLensError, match="key"):
        dream(flat, image, channel("3", 0), towards=image, progress=False)
    with pytest.raises(NetLensError, match="factor"):
        zoom(flat, image, "3", factor=0.5, progress=False)
    with pytest.raises(ImageError):
        dream(flat, "missing.jpg", "3", progress=False)


@pytest.mark.parametrize(
    "options",
    [
        {"octaves": 1.5},
        {"scale": "a"},
        {"steps": "3"},
        {"steps": 10**20},
        {"octaves": 10**20},
        {"jitter": 10**20},
        {"step": 1e300},
        {"tile": 10**10},
        {"jitter": 1.5},
        {"step": float("inf")},
        {"tile": 64.5},
        {"overlap": 0.5},
        {"seed": 1.5},
        {"seed": -1},
        {"size": (32, 32)},
        {"n_frames": 1.5},
        {"factor": "a"},
        {"degrees": float("nan")},
    ],
    ids=str,
)
def test_options_of_another_type_are_named(flat, image, options):
    (name,) = options
    with pytest.raises(NetLensError, match=name.replace("n_", "")):
        zoom(flat, image, "3", **{"n_frames": 1, "progress": False, **options})


@pytest.mark.parametrize("objective", [None, 3, layer])
def test_what_is_no_objective_is_refused(flat, image, objective):
    with pytest.raises(NetLensError, match="the objective of a dream"):
        dream(flat, image, objective, progress=False)
    with pytest.raises(NetLensError, match="FlatModel"):
        dream(nn.Conv2d(3, 3, 1), image, "3", progress=False)


@pytest.mark.parametrize("shape", [(72, 90, 3), (2, 40, 40), (5, 40, 40)])
def test_tensors_of_other_channels_are_refused(flat, shape):
    with pytest.raises(ImageError, match="1, 3 or 4 channels"):
        dream(flat, torch.rand(shape), "3", progress=False)
    with pytest.raises(ImageError, match="1, 3 or 4 channels"):
        dream(flat, torch.rand(3, 40, 40), "3", towards=torch.rand(shape), progress=False)


def test_gray_and_transparent_tensors_are_dreamed_on_as_files_are(flat, image, tmp_path):
    options = {"octaves": 1, "steps": 2, "progress": False}
    rgba = (torch.cat([image, image.mean(0, keepdim=True)]) * 255).round().byte()
    Image.fromarray(rgba.permute(1, 2, 0).numpy()).save(tmp_path / "rgba.png")
    by_file = dream(flat, tmp_path / "rgba.png", "3", **options)
    torch.testing.assert_close(dream(flat, rgba, "3", **options).images, by_file.images, rtol=0, atol=0.02)
    gray = image[:1]
    assert torch.equal(
        dream(flat, gray, "3", **options).images, dream(flat, gray.expand(3, -1, -1), "3", **options).images
    )


def test_a_picture_of_other_channels_than_the_network_takes_is_refused():
    units = Preprocessing(None, None, (0.5,), (0.25,))
    five = network(5, units)
    with pytest.raises(ImageError, match="takes pictures of 5 channels, not of 3"):
        dream(five, torch.rand(3, 40, 40), "3", progress=False)
    assert dream(five, torch.rand(5, 40, 40), "3", octaves=1, steps=1, progress=False).images.shape[1] == 5


def test_a_class_of_a_network_that_gives_a_dict(flat, image):
    options = {"octaves": 1, "steps": 2, "progress": False}
    wanted = dream(flat, image, logit(1), **options)
    assert torch.equal(dream(network(wrapped=InADict), image, logit(1), **options).images, wanted.images)


def test_a_dead_layer_is_said(image):
    dead = network()
    with torch.no_grad():
        dead.layers["0"].weight.zero_()
        dead.layers["0"].bias.fill_(-1)
    with pytest.warns(NetLensWarning, match=r"gradient of layer\('1'\).*is 0"):
        render = dream(dead, image, "1", octaves=1, steps=2, progress=False)
    torch.testing.assert_close(render.images[0], image.float())


def test_a_network_of_one_unknown_size_dreams_on_pictures_of_it():
    flat = FlatModel.from_nn_Module(
        nn.Sequential(nn.Flatten(), nn.Linear(3072, 4)), adapter=Adapter(preprocessing=COLORS)
    )
    render = dream(flat, torch.rand(3, 32, 32), logit(0), steps=4, jitter=0, progress=False)
    assert render.images.shape == (1, 3, 32, 32) and render.history[-1] > render.history[0]
    with pytest.raises(NotApplicable, match="448 by 448 or 50 by 40 pixels"):
        dream(flat, torch.rand(3, 50, 40), logit(0), progress=False)


def test_octaves_that_are_too_small_for_a_network_are_seen_enlarged(image):
    torch.manual_seed(0)
    narrowing = nn.Sequential(nn.Conv2d(3, 4, 11, stride=4), nn.ReLU(), nn.MaxPool2d(9))  # at least 43 pixels
    sized = Adapter(preprocessing=Preprocessing((64, 64), (64, 64), (0.5,) * 3, (0.25,) * 3))
    flat = FlatModel.from_nn_Module(narrowing, adapter=sized)
    picture = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    render = dream(flat, picture, "2", octaves=2, scale=1.9, steps=1, progress=False)
    assert [frame.shape[2] for frame in render.frames] == [34, 64]
    assert (render.frames[0] != nn.functional.interpolate(picture[None], 34, mode="bilinear", antialias=True)).any()


def test_nan_is_named(image):
    broken = network()
    with torch.no_grad():
        next(broken.parameters())[0] = float("nan")
    with pytest.raises(NonFiniteError, match="layer"):
        dream(broken, image, "3", octaves=1, progress=False)


def test_a_network_of_several_inputs_is_refused(image):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x, mask):
            return self.conv(x * mask)

    with pytest.raises(NotApplicable, match="x, mask"):
        dream(FlatModel.from_nn_Module(Two().double()), image, "conv", octaves=1)


def test_half_precision_holds_what_a_sum_over_a_picture_is():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()).half()
    half = FlatModel.from_nn_Module(module, adapter=Adapter(preprocessing=COLORS))
    photo = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(1))
    dreamed = dream(half, photo, "1", octaves=1, steps=2, progress=False)
    assert dreamed.images.isfinite().all() and (dreamed.images[0] - photo).abs().max() > 0.01
    assert torch.finfo(torch.float16).max < 16 * 96 * 96
    render = invert(half, photo, "1", steps=2, progress=False)
    assert render.images.isfinite().all()


def test_an_octave_that_is_too_small_is_enlarged_to_what_the_network_expects_no_further():
    torch.manual_seed(0)
    trunk = nn.Conv2d(3, 4, 11, stride=4), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(4, 4, 5), nn.ReLU()
    expected = Preprocessing((64, 64), 64, (0.5,), (0.25,))
    flat = FlatModel.from_nn_Module(nn.Sequential(*trunk).double(), adapter=Adapter(preprocessing=expected))
    tiled = Tiled(flat, layer("3"), tile=96, picture=(400, 400))
    tiled(torch.rand(1, 3, 30, 30, dtype=torch.float64))
    assert [judge.size for judge in tiled._judges.values()] == [(64, 64)]


# watching, stopping and going on

CLIMB = {"octaves": 3, "steps": 4, "jitter": 5, "progress": False}


class Notes(Callback):
    """Notes what a dream tells."""

    def __init__(self):
        self.steps, self.sizes, self.values, self.states = [], [], [], []

    def on_step(self, moment):
        self.steps.append((moment.step, moment.steps))
        self.sizes.append(tuple(moment.images.shape[2:]))
        self.values.append(float(moment.values[0]))
        self.states.append(moment.state)


def test_callbacks_see_every_step_of_a_dream(flat, image):
    callback = Notes()
    render = dream(flat, image, "3", callbacks=[callback], **CLIMB)
    assert callback.steps == [(i + 1, 12) for i in range(12)]
    assert callback.sizes == [size for size in octave_sizes((72, 90), 3) for _ in range(4)]
    assert callback.values == render.history[:, 0].tolist()
    assert torch.equal(callback.states[-1].parameters[0].float(), render.images)
    assert torch.equal(dream(flat, image, "3", **CLIMB).images, render.images)  # who watches changes nothing


@pytest.mark.parametrize("until", range(1, 13))
def test_a_dream_that_ended_early_goes_on_as_if_it_had_not(flat, image, until, tmp_path):
    whole = dream(flat, image, "3", **CLIMB)
    part = dream(flat, image, "3", until=until, **CLIMB)
    assert len(part.history) == until
    assert part.provenance.options.get("until") == (until if until < 12 else None)
    same = dream(flat, image, "3", until=until, resume=part, **CLIMB)  # no step
    assert torch.equal(same.images, part.images) and torch.equal(same.history, part.history)
    rest = dream(flat, image, "3", resume=Render.load(part.save(tmp_path / "part.safetensors")), **CLIMB)
    assert torch.equal(rest.images, whole.images) and torch.equal(rest.history, whole.history)


def test_a_state_of_another_dream_is_refused(flat, image):
    part = dream(flat, image, "3", until=5, **CLIMB)
    with pytest.raises(NetLensError, match="belongs to another dream"):
        dream(flat, image[:, :60], "3", resume=part, **CLIMB)
    with pytest.raises(NetLensError, match="is 5 steps old already"):
        dream(flat, image, "3", resume=part, until=3, **CLIMB)
    with pytest.raises(NetLensError, match="no state to resume from"):
        dream(flat, image, "3", resume=part[0], **CLIMB)
    with pytest.raises(NetLensError, match="until is 0"):
        dream(flat, image, "3", until=0, **CLIMB)
