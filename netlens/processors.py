"""What a preprocessing of another library does, as options of a `Preprocessing`: torchvision, timm, Hugging Face.

These objects are known by their attributes and by the names of their classes, so that no library is imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from netlens.errors import ImageError

_WRITE = "write Preprocessing(size=..., ...)"
_TO_IMAGE = ("ToImage", "PILToTensor", "MaybePILToTensor")  # from here on, tensors of uint8 are resized
_TO_FLOATS = ("ToTensor", "MaybeToTensor", "ToDtype", "ConvertImageDtype")  # from here on, floats are resized
_NO_CHANGE = ("ToPureTensor", "RGB")
_RESIZES_FLOATS = "DINOv3"  # it rescales before it resizes
_SMALL_CONVNEXT = 384  # from this size on, ConvNeXt pictures are stretched, not cropped


def options_of_processor(processor: Any) -> dict[str, Any]:
    """The options of the `Preprocessing` that does what a preprocessing of another library does.

    Args:
        processor: One of these: a preset of torchvision (`weights.transforms()`); a `Compose` of torchvision or timm;
            timm's data config or `pretrained_cfg`; an image processor of Hugging Face, or a processor that has one.

    Raises:
        ImageError: The object is none of these, or has a step that is not resizing, cropping or normalizing.

    Example:
        >>> options_of_processor({"input_size": (3, 224, 224), "crop_pct": 0.875})["resize"]
        256
    """
    if isinstance(processor, Mapping) and "input_size" in processor:
        return _timm_options(processor)
    if hasattr(processor, "image_processor"):
        return options_of_processor(processor.image_processor)
    if hasattr(processor, "val_transforms"):  # the wrapper of timm in transformers
        return options_of_processor(processor.val_transforms)
    try:
        if hasattr(processor, "resize_size"):
            return _preset_options(processor)
        if hasattr(processor, "do_resize") or hasattr(processor, "do_normalize"):
            return _with_size(_hugging_face_options(processor))
        if isinstance(getattr(processor, "transforms", None), Sequence):
            return _with_size(_compose_options(processor.transforms))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _unknown(processor) from error
    raise _unknown(processor)


def _with_size(options: dict[str, Any]) -> dict[str, Any]:
    """The same options. If a picture is stretched to a size and not cropped, this is the size of the input."""
    stretched = isinstance(options["resize"], tuple) and options.get("fit", "stretch") == "stretch"
    return {**options, "size": options["resize"]} if stretched and options["size"] is None else options


def probes() -> list[Image.Image]:
    """Two pictures on which a processor and a `Preprocessing` are compared. The sides are odd, so roundings show."""
    noise = np.random.default_rng(0)
    shapes = (101, 243), (901, 657)
    coarse = [Image.fromarray(noise.integers(0, 256, (9, 9, 3), dtype=np.uint8)) for _ in shapes]
    return [small.resize(shape, Image.Resampling.BICUBIC) for small, shape in zip(coarse, shapes, strict=True)]


def run_processor(processor: Any, picture: Image.Image) -> Any:
    """The batch that a `Compose` or an image processor makes of one picture; None for what is only a description."""
    if isinstance(processor, Mapping) or hasattr(processor, "resize_size"):
        return None
    processor = getattr(processor, "image_processor", processor)
    if isinstance(getattr(processor, "transforms", None), Sequence):
        return processor(picture)[None]
    return processor(images=picture, return_tensors="pt")["pixel_values"]


def _unknown(processor: Any) -> ImageError:
    return ImageError(
        f"{type(processor).__name__} is no preset with resize_size, mean and std, no Compose, no config of timm and no "
        f"image processor of Hugging Face; {_WRITE}."
    )


def _preset_options(preset: Any) -> dict[str, Any]:
    resize = tuple(preset.resize_size)
    crop = tuple(getattr(preset, "crop_size", resize))
    return {
        "size": crop * 2 if len(crop) == 1 else crop,
        "resize": resize[0] if len(resize) == 1 else resize,
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
        "interpolation": _interpolation(preset.interpolation),
    }


def _timm_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `timm.data.create_transform` makes of a config. The usual values are those of timm."""
    channels, *size = config["input_size"]
    crop_pct, mode = config.get("crop_pct") or 0.875, config.get("crop_mode") or "center"
    default = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    mean, std = (tuple(config.get(key) or usual) for key, usual in zip(("mean", "std"), default, strict=True))
    if len(mean) == 1:
        mean, std = mean * channels, std * channels
    height, width = (math.floor(side / crop_pct) for side in size)
    options = {
        "size": tuple(size),
        "resize": (height, width),
        "mean": mean,
        "std": std,
        "interpolation": config.get("interpolation") or "bicubic",
    }
    if mode == "border":
        return {**options, "fit": "contain", "fill": tuple(round(255 * value) for value in mean)}
    if mode == "squash":
        return options
    return {**options, "resize": height} if height == width else {**options, "fit": "cover"}


def _compose_options(steps: Sequence[Any]) -> dict[str, Any]:
    options: dict[str, Any] = {"size": None, "resize": None, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    for step in steps:
        name = getattr(step, "__name__", type(step).__name__)
        if name in _TO_FLOATS and options["resize"] is None:
            options["engine"] = "torch_float"
        elif name in _TO_IMAGE and options["resize"] is None:
            options["engine"] = "torch"
        elif name == "Resize":
            side = step.size if isinstance(step.size, int) else tuple(step.size)
            options["resize"] = side[0] if isinstance(side, tuple) and len(side) == 1 else side
            options["interpolation"] = _interpolation(step.interpolation)
            if step.max_size is not None:
                raise ImageError(f"Resize with max_size is nothing that a Preprocessing does; {_WRITE}.")
        elif name == "ResizeKeepRatio" and step.longest in (0, 1):
            options["resize"], options["fit"] = tuple(step.size), ("cover", "contain")[int(step.longest)]
            options["interpolation"] = _interpolation(step.interpolation)
        elif name in ("CenterCrop", "CenterCropOrPad"):
            options["size"] = (step.size,) * 2 if isinstance(step.size, int) else tuple(step.size)
            fill = getattr(step, "fill", 0)
            options["fill"] = tuple(fill) if isinstance(fill, Sequence) else (fill,) * 3
        elif name == "Normalize":
            options["mean"], options["std"] = _decimals(step.mean), _decimals(step.std)
        elif name not in (*_TO_IMAGE, *_TO_FLOATS, *_NO_CHANGE) and "rgb" not in name:
            raise ImageError(f"the step {name} is not resizing, a central crop or normalizing; {_WRITE}.")
    return options


def _interpolation(value: Any) -> str:
    """The name of an interpolation, which is given by name, by a number of Pillow or by an enum of torchvision."""
    value = Image.Resampling.BILINEAR if value is None else getattr(value, "value", value)
    return value if isinstance(value, str) else Image.Resampling(value).name.lower()


def _decimals(values: Any) -> tuple[float, ...]:
    """Numbers in their shortest decimals; those of a tensor have only the digits of float32."""
    return tuple(float(str(np.float32(value))) for value in values)


def _hugging_face_options(processor: Any) -> dict[str, Any]:
    name = type(processor).__name__
    on_tensors = getattr(processor, "backend", "torchvision" if name.endswith("Fast") else "pil") == "torchvision"
    options: dict[str, Any] = {"size": None, "resize": None, "rounding": "zero" if on_tensors else "down"}
    options["engine"] = "torch" if on_tensors else "pillow"
    if name.startswith(_RESIZES_FLOATS):
        options["engine"] = "torch_float"
    if getattr(processor, "do_resize", False):
        options |= _hugging_face_resize(processor, name)
    if getattr(processor, "do_center_crop", False):
        options["size"] = _sides(processor.crop_size)
    factor = processor.rescale_factor if getattr(processor, "do_rescale", True) else 1.0
    mean: tuple[float, ...] = (0.0,) * 3
    std: tuple[float, ...] = (1.0,) * 3
    if getattr(processor, "do_normalize", False):
        mean, std = tuple(processor.image_mean), tuple(processor.image_std)
        if getattr(processor, "include_top", False):  # EfficientNet divides by the deviation twice
            std = tuple(value**2 for value in std)
    offset = 1.0 if getattr(processor, "rescale_offset", False) else 0.0
    # (255 factor x - offset - mean) / std, of a color x in [0, 1]
    scale = 1.0 if math.isclose(255 * factor, 1) else 255 * factor
    options["mean"] = tuple((value + offset) / scale for value in mean)
    options["std"] = tuple(value / scale for value in std)
    return options


def _hugging_face_resize(processor: Any, name: str) -> dict[str, Any]:
    size = _named(processor.size)
    options: dict[str, Any] = {"interpolation": _interpolation(getattr(processor, "resample", None))}
    shortest, crop_pct = size.get("shortest_edge"), getattr(processor, "crop_pct", None)
    if shortest is not None and crop_pct:
        if shortest >= _SMALL_CONVNEXT:
            return {**options, "resize": (shortest, shortest)}
        return {**options, "resize": int(shortest / crop_pct), "size": (shortest, shortest)}
    if shortest is not None and name.startswith("Levit"):
        return {**options, "resize": int(256 / 224 * shortest)}
    if shortest is not None:
        return {**options, "resize": shortest, "longest": size.get("longest_edge")}
    if "height" in size:
        return {**options, "resize": (size["height"], size["width"])}
    raise ImageError(f"{name} resizes by {', '.join(size)}, which a Preprocessing cannot say; {_WRITE}.")


def _named(size: Any) -> dict[str, int]:
    if isinstance(size, int):
        return {"shortest_edge": size}
    return {key: value for key, value in dict(size).items() if value is not None}


def _sides(size: Any) -> tuple[int, int]:
    sides = {"height": size, "width": size} if isinstance(size, int) else _named(size)
    return sides["height"], sides["width"]
