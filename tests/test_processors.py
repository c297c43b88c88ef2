"""What other libraries do to a picture is read, and done the same: timm bit for bit, Hugging Face to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import v2

from netlens.errors import ImageError
from netlens.preprocessing import Preprocessing, as_batch

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth picture, on which no kind of resizing equals another."""
    noise = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


PICTURES = [picture(301, 233), picture(112, 349, 1), picture(64, 64, 2), picture(37, 61, 3)]


# timm


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.95, 1.0])
@pytest.mark.parametrize(
    ("size", "interpolation"), [((96, 96), "bicubic"), ((99, 99), "bilinear"), ((64, 96), "bicubic")]
)
def test_timm_bit_for_bit(mode: str, crop_pct: float, size: tuple[int, int], interpolation: str) -> None:
    data = pytest.importorskip("timm.data", reason="timm is not installed: pip install netlens[timm]")
    config = {"input_size": (3, *size), "crop_pct": crop_pct, "crop_mode": mode, "interpolation": interpolation}
    config |= {"mean": MEAN, "std": STD}
    transform = data.create_transform(**config)
    for source in (config, transform):
        preprocessing = Preprocessing.from_transforms(source)
        for image in PICTURES:
            assert torch.equal(preprocessing(image)[0], transform(image))


def test_the_usual_values_of_timm() -> None:
    data = pytest.importorskip("timm.data", reason="timm is not installed: pip install netlens[timm]")
    transform = data.create_transform(**data.resolve_data_config(pretrained_cfg={"input_size": (3, 80, 80)}))
    assert torch.equal(
        Preprocessing.from_transforms({"input_size": (3, 80, 80)})(PICTURES[0])[0], transform(PICTURES[0])
    )


def test_training_transforms_are_refused() -> None:
    data = pytest.importorskip("timm.data", reason="timm is not installed: pip install netlens[timm]")
    with pytest.raises(ImageError, match="the step RandomResizedCropAndInterpolation is not resizing"):
        Preprocessing.from_transforms(data.create_transform(96, is_training=True))


# torchvision


FLOATS = v2.ToDtype(torch.float32, scale=True)
NORMAL, NORMAL2 = transforms.Normalize(MEAN, STD), v2.Normalize(MEAN, STD)


@pytest.mark.parametrize(
    "steps",
    [
        [transforms.Resize(80), transforms.CenterCrop(64), transforms.ToTensor(), NORMAL],
        [transforms.Resize((60, 70)), transforms.ToTensor()],
        [
            transforms.Resize(80),
            transforms.CenterCrop((96, 90)),
            transforms.ToTensor(),
            NORMAL,
        ],
        [
            v2.Resize(80),
            v2.CenterCrop(64),
            v2.ToImage(),
            FLOATS,
            NORMAL2,
        ],
        [
            v2.ToImage(),
            v2.Resize(80),
            v2.CenterCrop(64),
            FLOATS,
            NORMAL2,
        ],
        [
            v2.ToImage(),
            FLOATS,
            v2.Resize(80),
            v2.CenterCrop(96),
            NORMAL2,
        ],
        [transforms.ToTensor(), transforms.Resize((64, 64), transforms.InterpolationMode.BICUBIC)],
    ],
)
def test_a_compose_of_torchvision(steps: list[Any]) -> None:
    compose = (v2 if any("v2" in type(step).__module__ for step in steps) else transforms).Compose(steps)
    preprocessing = Preprocessing.from_transforms(compose)
    for image in PICTURES:
        torch.testing.assert_close(preprocessing(image)[0], torch.Tensor(compose(image)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([transforms.Resize(80), transforms.RandomCrop(64), transforms.ToTensor()], "the step RandomCrop is not"),
        ([transforms.CenterCrop(64), transforms.Resize(80), transforms.ToTensor()], "does more than resizing"),
        ([transforms.Resize(80, max_size=90), transforms.ToTensor()], "max_size"),
        ([transforms.Resize(80)], "makes no batch"),
    ],
)
def test_what_no_preprocessing_does_is_refused(steps: list[Any], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Preprocessing.from_transforms(transforms.Compose(steps))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.uint8])
def test_a_compose_of_any_dtype(dtype: torch.dtype) -> None:
    """Ours gives float32: the same numbers in float64 are fine, and rounded ones are refused."""
    compose = transforms.Compose([transforms.Resize((60, 70)), transforms.ToTensor(), v2.ToDtype(dtype, scale=True)])
    if dtype == torch.float64:
        assert Preprocessing.from_transforms(compose)(PICTURES[0]).shape == (1, 3, 60, 70)
    else:
        with pytest.raises(ImageError, match="does more than resizing"):
            Preprocessing.from_transforms(compose)


# Hugging Face


SIZES: list[dict[str, Any]] = [
    {"size": {"height": 96, "width": 80}, "do_center_crop": False},
    {"size": {"shortest_edge": 90}, "do_center_crop": True, "crop_size": {"height": 77, "width": 64}},
    {"size": {"shortest_edge": 60}, "do_center_crop": True, "crop_size": {"height": 96, "width": 75}},
    {"size": {"height": 80, "width": 80}, "do_center_crop": False, "do_normalize": False},
    {"size": {"height": 80, "width": 80}, "do_center_crop": False, "rescale_factor": 1 / 127.5},
]


@pytest.mark.parametrize("kind", ["CLIPImageProcessor", "CLIPImageProcessorPil"])
@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("options", SIZES)
def test_processors_of_both_kinds(kind: str, resample: int, options: dict[str, Any]) -> None:
    library = pytest.importorskip("transformers", reason="transformers is not installed: pip install netlens[hf]")
    processor = getattr(library, kind)(**options, resample=resample, image_mean=list(MEAN), image_std=list(STD))
    preprocessing = Preprocessing.from_transforms(processor)
    for image in PICTURES:
        expected = processor(images=image, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(preprocessing(image), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 96}}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
        ("LevitImageProcessor", {}),
        ("EfficientNetImageProcessor", {"size": {"height": 96, "width": 96}, "include_top": True}),
        ("EfficientNetImageProcessor", {"rescale_factor": 1 / 127.5, "rescale_offset": True, "include_top": False}),
        ("DINOv3ViTImageProcessor", {"size": {"height": 96, "width": 96}}),
        ("DetrImageProcessor", {"size": {"shortest_edge": 80, "longest_edge": 133}}),
        ("DetrImageProcessorPil", {"size": {"shortest_edge": 80, "longest_edge": 133}}),
    ],
)
def test_processors_with_rules_of_their_own(name: str, options: dict[str, Any]) -> None:
    library = pytest.importorskip("transformers", reason="transformers is not installed: pip install netlens[hf]")
    processor = getattr(library, name)(**options)
    preprocessing = Preprocessing.from_transforms(processor)
    for image in PICTURES:
        expected = processor(images=image, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(preprocessing(image), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MobileViTImageProcessor", {}),  # swaps red and blue
        ("YolosImageProcessor", {}),  # rounds sides to multiples of 16
        ("VitMatteImageProcessor", {}),  # takes a trimap
        ("GLPNImageProcessor", {}),
    ],
)
def test_processors_that_do_more_are_refused(name: str, options: dict[str, Any]) -> None:
    library = pytest.importorskip("transformers", reason="transformers is not installed: pip install netlens[hf]")
    with pytest.raises(ImageError, match=name):
        Preprocessing.from_transforms(getattr(library, name)(**options))


def test_what_a_processor_returns_is_a_batch() -> None:
    x = torch.rand(2, 3, 5, 5)
    assert as_batch({"pixel_values": x}, None) is x
    assert torch.equal(as_batch({"pixel_values": [one.numpy() for one in x]}, None), x)
    with pytest.raises(ImageError):
        as_batch({"input_ids": x}, None)


# the options


def test_a_border_has_its_color() -> None:
    prep = Preprocessing((4, 8), (4, 8), (0.0,) * 3, (1.0,) * 3, fit="contain", fill=(51, 102, 153))
    batch = prep(Image.new("RGB", (20, 20), "white"))
    assert (batch[..., 2:6] == 1).all()
    expected = torch.tensor([0.2, 0.4, 0.6]).view(3, 1, 1).expand(3, 4, 2)
    for side in (batch[0, ..., :2], batch[0, ..., 6:]):
        torch.testing.assert_close(side, expected)


@pytest.mark.parametrize(
    "wrong", [{"fit": "fill"}, {"engine": "cv2"}, {"rounding": "up"}, {"fill": (0, 0, 300)}, {"longest": 0}]
)
def test_impossible_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ImageError):
        Preprocessing((4, 8), 8, MEAN, STD, **wrong)
