"""Hugging Face transformers: the config of a network says its classes and its size, its processor how it sees pictures.

A network does not hold its processor. The processor is read from the folder of the network, or from the cache of the
hub. Nothing is downloaded.
"""

from __future__ import annotations

import functools
import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from netlens.classes import ClassNames
from netlens.errors import ImageError
from netlens.flat.adapter import Adapter, register
from netlens.preprocessing import IMAGENET, Preprocessing

from .timm import timm

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""The files in which a processor may lie."""

_USUAL_SIZE = 224


@register("transformers.modeling_utils.PreTrainedModel")
def hugging_face(network: nn.Module) -> Adapter:
    config: Any = network.config
    wrapped = getattr(network, "timm_model", None)
    if wrapped is not None:  # a network of timm, which knows how it sees pictures
        return replace(timm(wrapped), classes=_classes(network, config))
    shape = input_shape(config)
    return Adapter(
        preprocessing=_preprocessing(network, config, shape),
        classes=_classes(network, config),
        example=(1, *shape) if _takes_pictures(network) else None,
    )


def input_shape(config: Any) -> tuple[int, int, int]:
    """Channels, height and width of an input, as the config of a network or of its vision part says."""
    parts = [config, *(getattr(config, name, None) for name in ("vision_config", "backbone_config"))]
    size = next((part.image_size for part in parts if getattr(part, "image_size", None)), _USUAL_SIZE)
    channels = next((part.num_channels for part in parts if getattr(part, "num_channels", None)), 3)
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    return channels, height, width


def _takes_pictures(network: nn.Module) -> bool:
    first = next(iter(inspect.signature(network.forward).parameters), None)
    return first == "pixel_values"


def _classes(network: nn.Module, config: Any) -> ClassNames | None:
    """`id2label`, if it says more than numbers and the network ends in a head."""
    names = getattr(config, "id2label", None) or {}
    if type(network).__name__.endswith(("Model", "Backbone")) or sorted(names) != list(range(len(names))):
        return None
    listed = [str(names[index]) for index in range(len(names))]
    return None if all(re.fullmatch(r"LABEL_\d+", name) for name in listed) else ClassNames(listed)


def _preprocessing(network: nn.Module, config: Any, shape: tuple[int, int, int]) -> Preprocessing:
    folder, reason = _folder_of_processor(getattr(config, "name_or_path", "")), "its processor is not at hand"
    if folder is not None:
        read = _read(
            folder, max((folder / file).stat().st_mtime_ns for file in PROCESSORS if (folder / file).is_file())
        )
        if isinstance(read, Preprocessing):
            return read
        reason = read
    return replace(
        IMAGENET,
        size=shape[1:],
        resize=shape[1:],
        doubt=f"the preprocessing of {type(network).__name__} is a guess ({reason}); give "
        "preprocessing=Preprocessing.from_transforms(processor), or the tensors that the processor makes.",
    )


@functools.lru_cache(maxsize=32)
def _read(folder: Path, modified: int) -> Preprocessing | str:
    """The preprocessing of the processor in a folder, or why it cannot be read.

    `modified` is when the file of the processor was changed last, so that the cache holds no old preprocessing.
    """
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        return Preprocessing.from_transforms(processor)
    except (ImageError, OSError, ValueError) as error:
        return " ".join(str(error).split()).rstrip(".")


def _folder_of_processor(name: str) -> Path | None:
    """The folder on this machine in which the processor of a network lies; None if there is none."""
    if not name:
        return None
    if Path(name).is_dir():
        return Path(name) if any((Path(name) / file).is_file() for file in PROCESSORS) else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        paths = [try_to_load_from_cache(name, file) for file in PROCESSORS]
    except HFValidationError:  # a path that is gone is no name on the hub
        return None
    return next((Path(file).parent for file in paths if isinstance(file, str)), None)
