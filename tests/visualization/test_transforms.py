"""Transforms disturb each sample by itself, resample once, and let nothing black in at the borders."""

import math

import pytest
import torch
import torch.nn.functional as F

from netlens.errors import NetLensError
from netlens.visualization.transforms import (
    Blur,
    CenterCrop,
    Chain,
    Fit,
    Flip,
    Geometric,
    Jitter,
    Noise,
    Pad,
    RandomCrop,
    Rotate,
    Scale,
    Shear,
    View,
    ZoomCrop,
    standard,
)

ALL = {
    "jitter": Jitter(8),
    "jitter by a share": Jitter(0.25),
    "scale": Scale(0.7, 1.3),
    "rotate": Rotate(20),
    "shear": Shear(10),
    "pad": Pad(3, "reflect"),
    "center": CenterCrop(2),
    "crop": RandomCrop((11, 9)),
    "zoom": ZoomCrop(0.3, 0.8),
    "fit": Fit((31, 40)),
    "noise": Noise(0.1),
    "blur": Blur(0.5, 2),
    "flip": Flip(),
    "standard": standard(),
    "chain": Chain((standard(), Noise(0.1), Rotate(30), Flip(), Blur(), Fit((20, 20)))),
}


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def pictures(n=3, height=24, width=29, channels=3):
    return torch.rand(n, channels, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Pad(-1),
        lambda: CenterCrop(-3),
        lambda: RandomCrop(0),
        lambda: RandomCrop((1, 2, 3)),
        lambda: RandomCrop(1.5),
        lambda: Noise(-1),
        lambda: Jitter("a"),
        lambda: Jitter(10**20),
        lambda: Scale("a"),
        lambda: Rotate("a"),
        lambda: Chain((None,)),
    ],
)
def test_options_that_cannot_be_are_told(make):
    with pytest.raises(NetLensError):
        make()


@pytest.mark.parametrize("name", ALL)
def test_a_sample_is_disturbed_as_if_it_were_alone(name):
    images = pictures()
    together = ALL[name](images, generators(5, 6, 7))
    for i, seed in enumerate((5, 6, 7)):
        alone = ALL[name](images[i : i + 1], generators(seed))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"pad", "center", "fit", "flip"}))
def test_samples_are_disturbed_differently_and_each_time_anew(name):
    images = pictures(1).expand(2, -1, -1, -1)
    rngs = generators(1, 2)
    first, again = ALL[name](images, rngs), ALL[name](images, rngs)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, again)


@pytest.mark.parametrize("name", ALL)
def test_the_global_generator_is_untouched(name):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    ALL[name](pictures(), generators(0, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "transform",
    [
        Chain(),
        Jitter(0),
        Rotate(0),
        Scale(1, 1),
        Shear(0),
        Flip(0),
        Fit((24, 29)),
        RandomCrop((24, 29)),
        ZoomCrop(1, 1),
        Chain((Pad(5), CenterCrop(5))),
        standard(jitter=0, scale=(1, 1), degrees=0, last_jitter=0),
    ],
    ids=repr,
)
def test_without_a_disturbance_the_picture_is_the_same_to_the_bit(transform):
    images = pictures()
    assert torch.equal(transform(images, generators(0, 1, 2)), images)


def test_jitter_shifts_by_whole_pixels_exactly_and_as_far_as_it_says():
    images, shifts = pictures(1), set()
    around = F.pad(images, (4, 4, 4, 4), value=0.5)
    windows = {(y, x): around[:, :, y : y + 24, x : x + 29] for y in range(9) for x in range(9)}
    for seed in range(300):
        shifted = Jitter(8)(images, generators(seed))
        (at,) = [place for place, window in windows.items() if torch.equal(window, shifted)]
        shifts.add(at)
    assert {y for y, _ in shifts} == {x for _, x in shifts} == set(range(9))


def test_a_share_of_the_shorter_side_is_as_many_pixels():
    images = pictures()  # of 24 by 29
    for seed in range(20):
        rngs = generators(seed, seed + 1, seed + 2), generators(seed, seed + 1, seed + 2)
        assert torch.equal(Jitter(0.25)(images, rngs[0]), Jitter(6)(images, rngs[1]))


def test_the_standard_stack_is_the_one_that_was_measured():
    assert standard() == Chain(
        (Pad(12, 0.5), Jitter(1 / 8), Scale(0.9, 1.1), Rotate(15, upright=0.2), Jitter(4), CenterCrop(12))
    )


@pytest.mark.parametrize(("outside", "mode"), [(0.25, "constant"), ("edge", "replicate")])
def test_pad_is_what_torch_pads(outside, mode):
    images = pictures()
    value = {"value": outside} if mode == "constant" else {}
    padded = F.pad(images, (3, 3, 3, 3), mode, **value)
    assert torch.equal(Pad(3, outside)(images, generators(0, 1, 2)), padded)


def test_reflect_mirrors_the_picture_at_its_edge_however_far():
    row = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64).view(1, 1, 1, 3)
    padded = Pad(4, "reflect")(row, generators(0))[0, 0, 4]
    expected = [0.9, 0.9, 0.4, 0.1, 0.1, 0.4, 0.9, 0.9, 0.4, 0.1, 0.1]
    torch.testing.assert_close(padded, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=0)


@pytest.mark.parametrize("outside", [0.5, "reflect", "edge"])
def test_whole_pixels_are_where_resampling_would_put_them(outside):
    images = pictures(1)
    matrix = torch.eye(3, dtype=torch.float64)[None]
    matrix[0, :2, 2] = torch.tensor([7.0, -5.0])
    view = View(matrix, (24, 29), outside)
    torch.testing.assert_close(view.of(images), view._resampled(images), rtol=0, atol=1e-12)


class FixedMatrix(Geometric):
    """The same matrix for all samples."""

    def __init__(self, matrix):
        self.matrix = matrix

    def view_through(self, view, generators):
        return view.moved(self.matrix.expand(len(generators), 3, 3))


def rotation(angle):
    turn = torch.eye(3, dtype=torch.float64)
    turn[:2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return turn


def test_a_chain_reads_each_pixel_where_the_product_of_its_matrices_says():
    height, width = 41, 37
    # of a linear picture, bilinear resampling gives the coordinates themselves
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    images = torch.stack([x, y])[None]
    scale = torch.tensor([0.8, 0.8, 1.0], dtype=torch.float64).diag()
    shear, shift = torch.eye(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    shear[0, 1], shift[:2, 2] = 0.1, torch.tensor([3.25, -2.5])
    matrices = [scale, rotation(0.2), shear, shift]
    got = Chain(tuple(FixedMatrix(matrix) for matrix in matrices))(images, generators(0))
    product = scale @ rotation(0.2) @ shear @ shift
    expected = torch.einsum("ij,jhw->ihw", product, torch.stack([x, y, torch.ones_like(x)]))[None, :2]
    inside = slice(12, -12)
    torch.testing.assert_close(got[..., inside, inside], expected[..., inside, inside], rtol=0, atol=1e-10)


def test_a_chain_resamples_once(monkeypatch):
    calls = []
    resample = F.grid_sample
    monkeypatch.setattr(F, "grid_sample", lambda *args, **options: calls.append(1) or resample(*args, **options))
    standard()(pictures(), generators(0, 1, 2))
    Chain((standard(), Chain((Shear(), Fit((50, 50))))))(pictures(), generators(0, 1, 2))
    assert len(calls) == 2


def test_scale_magnifies_rotate_turns_and_flip_mirrors():
    images = pictures(1, 20, 20)
    large = F.interpolate(images, (40, 40), mode="bilinear", align_corners=False)[..., 10:30, 10:30]
    torch.testing.assert_close(Scale(2, 2)(images, generators(0)), large, rtol=0, atol=1e-12)
    flipped = Flip(1)(images, generators(0))
    torch.testing.assert_close(flipped, images.flip(3), rtol=0, atol=1e-12)
    quarter = FixedMatrix(rotation(math.pi / 2))(images, generators(0))
    torch.testing.assert_close(quarter, images.rot90(1, (2, 3)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("outside", [0.5, "reflect", "edge"])
@pytest.mark.parametrize("size", [(16, 16), (33, 20)])
def test_no_border_is_filled_with_zeros(outside, size):
    gray = torch.full((4, 3, *size), 0.5, dtype=torch.float64)
    wild = Chain((standard(outside=outside, scale=(0.3, 0.5), degrees=90), Shear(20), Fit((40, 44))))
    for seed in range(20):
        output = wild(gray, generators(*range(seed, seed + 4)))
        assert output.shape == (4, 3, 40, 44)
        torch.testing.assert_close(output, torch.full_like(output, 0.5), rtol=0, atol=1e-12)


def test_values_stay_within_those_of_the_picture_and_its_surroundings():
    images = pictures(4)
    for name, transform in ALL.items():
        if "noise" not in name and name != "chain":
            output = transform(images, generators(0, 1, 2, 3))
            assert output.min() >= -1e-12 and output.max() <= 1 + 1e-12, name


def test_crops_show_windows_that_lie_within():
    images = pictures(1)
    for seed in range(50):
        window = RandomCrop((11, 9))(images, generators(seed))
        places = [
            (y, x) for y in range(14) for x in range(21) if torch.equal(images[..., y : y + 11, x : x + 9], window)
        ]
        assert len(places) == 1
    ramp = torch.arange(24, dtype=torch.float64).view(1, 1, 24, 1).expand(1, 1, 24, 24)
    for seed in range(50):
        crop = ZoomCrop(0.5, 0.5)(ramp, generators(seed))[0, 0, :, 0]
        torch.testing.assert_close(crop[2:-2].diff(), torch.full((19,), 0.5, dtype=torch.float64), rtol=0, atol=1e-9)


def test_blur_keeps_the_mean_of_an_even_picture_and_smooths_as_a_gaussian():
    spot = torch.zeros(1, 1, 31, 31, dtype=torch.float64)
    spot[0, 0, 15, 15] = 1
    blur = Blur(2, 2)(spot, generators(0))[0, 0]
    at = torch.arange(31, dtype=torch.float64) - 15
    torch.testing.assert_close(blur.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert abs(float((blur.sum(0) * at**2).sum()) - 4) < 0.15  # the variance, but for the tails beyond three deviations


def test_gradients_pass():
    images = pictures(2, 12, 12).requires_grad_()
    for name in ("jitter", "standard", "chain", "blur", "zoom"):
        assert torch.autograd.gradcheck(lambda x, t=ALL[name]: t(x, generators(0, 1)), images, fast_mode=True), name


def test_arguments_that_make_no_sense_are_refused():
    wrong = [
        lambda: Scale(0, 1),
        lambda: Rotate(upright=2),
        lambda: Shear(50),
        lambda: Pad(3, "black"),
        lambda: Blur(2, 1),
        lambda: Jitter(-1),
        lambda: Jitter(2.5),
        lambda: CenterCrop(12)(pictures(1), generators(0)),
        lambda: RandomCrop(25)(pictures(1), generators(0)),
        lambda: Jitter(1)(pictures(2), generators(0)),
    ]
    for make in wrong:
        with pytest.raises(NetLensError):
            make()
