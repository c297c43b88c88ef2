"""Preprocessing equals torchvision's bit for bit; whatever stands for images becomes the batch it should."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import get_model_weights

from netlens.errors import ImageError, NonFiniteError
from netlens.preprocessing import IMAGENET, Preprocessing, as_batch

SMALL = Preprocessing(size=(6, 8), resize=(6, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def picture(width: int = 8, height: int = 6, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.mark.parametrize("size", [(500, 375), (333, 501), (64, 64), (3, 90), (1, 1)])
@pytest.mark.parametrize(
    "network",
    ["resnet50", "inception_v3", "vit_b_16", "efficientnet_b0", "efficientnet_v2_l", "swin_v2_t", "maxvit_t", "vgg16"],
)
def test_equals_torchvision_bit_for_bit(network, size):
    image = picture(*size)
    for weights in get_model_weights(network):
        preset = weights.transforms()
        assert torch.equal(Preprocessing.from_transforms(preset)(image)[0], preset(image))


def test_every_classification_preset_is_read():
    from torchvision.models import list_models

    for name in list_models():
        preset = get_model_weights(name).DEFAULT.transforms()
        if type(preset).__name__ == "ImageClassification":
            read = Preprocessing.from_transforms(preset)
            assert [*read.size, read.resize] == [*preset.crop_size * 2, *preset.resize_size]
    assert Preprocessing.from_transforms(get_model_weights("resnet18").DEFAULT.transforms()) == IMAGENET


def test_a_segmentation_preset_is_its_own_where_the_picture_is_square():
    preset = get_model_weights("fcn_resnet50").DEFAULT.transforms()
    read = Preprocessing.from_transforms(preset)
    assert read.size == (520, 520)
    assert abs(read(picture(520, 520))[0] - preset(picture(520, 520))).max() == 0


def test_what_is_no_preset_is_refused():
    for transforms in (get_model_weights("fasterrcnn_resnet50_fpn").DEFAULT.transforms(), None, torch.nn.ReLU()):
        with pytest.raises(ImageError, match=type(transforms).__name__):
            Preprocessing.from_transforms(transforms)


@pytest.mark.parametrize("size", [(9, 9), (5, 5), (10, 5), (5, 10), (4, 7)])
def test_without_resize_the_center_is_cut_or_padded_as_torchvision_does(size):
    from torchvision.transforms import functional

    prep = Preprocessing(size=(7, 8), resize=None, mean=(0.0,) * 3, std=(1.0,) * 3)
    expected = functional.to_tensor(functional.center_crop(picture(*size), [7, 8]))
    assert torch.equal(prep(picture(*size))[0], expected)


def test_one_mean_makes_a_grayscale_batch():
    prep = Preprocessing(size=(28, 28), resize=28, mean=(0.1307,), std=(0.3081,))
    batch = prep(Image.new("RGB", (50, 40), (51, 51, 51)))
    assert batch.shape == (1, 1, 28, 28)
    assert torch.allclose(batch, torch.tensor((0.2 - 0.1307) / 0.3081))


def test_a_list_is_the_batch_of_its_pictures():
    pictures = [picture(seed=seed) for seed in range(3)]
    assert torch.equal(SMALL(pictures), torch.cat([SMALL(one) for one in pictures]))
    assert torch.equal(SMALL(tuple(pictures)), SMALL(pictures))
    with pytest.raises(ImageError, match="empty"):
        SMALL([])


@pytest.mark.parametrize("shape", [(3, 6, 8), (2, 3, 6, 8)])
def test_normalize_and_denormalize_are_inverses(shape):
    x = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(SMALL.denormalize(SMALL.normalize(x)), x, atol=1e-15)
    pixels = torch.from_numpy(np.array(picture())).permute(2, 0, 1)
    assert torch.equal((SMALL.denormalize(SMALL(picture())) * 255).round().to(torch.uint8)[0], pixels)
    beyond = SMALL.denormalize(torch.full(shape, 100.0))
    assert beyond.min() == beyond.max() == 1


@pytest.mark.parametrize("x", [torch.zeros(1, 6, 8), torch.zeros(3, 6, 8, dtype=torch.uint8), torch.zeros(6, 8)])
def test_normalize_does_not_broadcast(x):
    for direction in (SMALL.normalize, SMALL.denormalize):
        with pytest.raises(ImageError, match="expected floats"):
            direction(x)


def test_a_strip_that_would_be_resized_beyond_all_memory_is_refused():
    with pytest.raises(ImageError, match="256 × 5120000"):
        IMAGENET(Image.new("L", (1, 20_000)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": (0.5,)},
        {"mean": (0.5, 0.5), "std": (1.0, 1.0)},
        {"std": (1.0, 0.0, 1.0)},
        {"interpolation": "bilinaer"},
        {"size": (0, 8)},
        {"resize": 0},
        {"resize": (6,)},
        {"resize": 6.0},
        {"size": (6.0, 8)},
    ],
)
def test_impossible_options_are_refused(wrong):
    options = {"size": (6, 8), "resize": 6, "mean": (0.5,) * 3, "std": (0.5,) * 3, **wrong}
    with pytest.raises(ImageError):
        Preprocessing(**options)


# as_batch


def test_all_that_stands_for_one_picture_is_one_batch(tmp_path):
    image, path, buffer = picture(), tmp_path / "a.png", io.BytesIO()
    image.save(path)
    image.save(buffer, "PNG")
    array = np.array(image)
    chw = array.transpose(2, 0, 1)
    expected = SMALL(image)
    one = [image, path, str(path), buffer.getvalue(), array, chw, array / 255, torch.from_numpy(chw)]
    for source in one:
        assert torch.equal(as_batch(source, SMALL), expected)
    assert torch.equal(as_batch(one, SMALL), expected.expand(len(one), -1, -1, -1))
    for batch in (np.stack([array] * 2), np.stack([chw] * 2), torch.from_numpy(np.stack([chw] * 2)), (path, image)):
        assert torch.equal(as_batch(batch, SMALL), expected.expand(2, -1, -1, -1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("preprocessing", [SMALL, None])
def test_a_float_tensor_is_taken_as_it_is(dtype, preprocessing):
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    assert as_batch(x, preprocessing) is x
    assert torch.equal(as_batch(x[1], preprocessing), x[1:])
    assert torch.equal(as_batch([x, x[0]], preprocessing), torch.cat([x, x[:1]]))


def test_tensors_and_pictures_mix():
    x = SMALL(picture(seed=1))
    assert torch.equal(as_batch([picture(), x[0]], SMALL), torch.cat([SMALL(picture()), x]))


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_hole_is_named_by_its_sample(index, value):
    x = torch.zeros(3, 3, 4, 4)
    x[index, 1, 2, 3] = value
    for source in (x, list(x)):
        with pytest.raises(NonFiniteError, match=f"sample {index}"):
            as_batch(source, SMALL)


def test_channels_are_counted():
    for source, channels, count in [
        (torch.zeros(1, 4, 4), None, 1),
        (torch.zeros(2, 3, 4, 4), 1, 3),
        (picture(), 1, 3),
    ]:
        with pytest.raises(ImageError, match=f"expected {channels or 3} channels, found {count}"):
            as_batch(source, SMALL, channels)
    with pytest.raises(ImageError, match="looks like the channels"):
        as_batch(torch.zeros(16, 16, 3), SMALL)
    assert as_batch(torch.zeros(5, 4, 4), None, 5).shape == (1, 5, 4, 4)


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(4, 4),
        torch.zeros(1, 1, 3, 4, 4),
        torch.zeros(0, 3, 4, 4),
        torch.zeros(3, 4, 4, dtype=torch.int64),
        torch.zeros(3, 4, 4, dtype=torch.bool),
        torch.zeros(3, 4, 4, dtype=torch.complex64),
        np.zeros((5, 6, 7)),
        np.zeros((0, 6, 7, 3)),
        [],
        None,
        7,
        {"image": 1},
    ],
    ids=lambda x: f"{type(x).__name__}{tuple(getattr(x, 'shape', ()))}",
)
def test_what_is_no_batch_is_refused(x):
    with pytest.raises(ImageError):
        as_batch(x, SMALL)


def test_in_a_list_the_item_is_named():
    with pytest.raises(ImageError, match=r"image 1 of 2: nowhere\.jpg does not exist"):
        as_batch([picture(), "nowhere.jpg"], SMALL)
    with pytest.raises(ImageError, match="different shapes"):
        as_batch([torch.zeros(3, 4, 4), torch.zeros(3, 5, 4)], SMALL)


def test_pictures_need_a_known_preprocessing():
    for source in (picture(), [picture()], torch.zeros(3, 4, 4, dtype=torch.uint8)):
        with pytest.raises(ImageError, match="preprocessing of this network is unknown"):
            as_batch(source, None)
