"""timm, whose networks have no base class in common. `pretrained_cfg` says how a network sees pictures."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from torch import nn

from netlens.classes import ClassNames
from netlens.flat.adapter import Adapter, register
from netlens.preprocessing import Preprocessing


@register(having=("pretrained_cfg",))
def timm(network: nn.Module) -> Adapter:
    config: Any = network.pretrained_cfg
    if not isinstance(config, Mapping) or "input_size" not in config:
        return Adapter()
    shape = input_shape(network, config)
    preprocessing = Preprocessing.from_transforms({**config, "input_size": shape})
    return Adapter(preprocessing=preprocessing, classes=_classes(network, config), example=(1, *shape))


def input_shape(network: Any, config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Channels, height and width of an input. The network may be made for others than its published weights."""
    channels, *size = config["input_size"]
    channels = getattr(network, "in_chans", channels)
    size = getattr(getattr(network, "patch_embed", None), "img_size", None) or size
    return channels, size[0], size[1]


def _classes(network: nn.Module, config: Mapping[str, Any]) -> ClassNames | None:
    """The names in the config, else those of the ImageNet that has as many classes."""
    count = getattr(network, "num_classes", None)
    names, texts = config.get("label_names"), config.get("label_descriptions") or {}
    if names is not None and len(names) == count:
        return ClassNames(texts.get(name, name) for name in names)
    return _imagenet(count) if isinstance(count, int) and count == config.get("num_classes") else None


@functools.cache
def _imagenet(count: int) -> ClassNames | None:
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": count})
    return None if subset is None else ClassNames(ImageNetInfo(subset).label_descriptions())
