"""Networks of torchvision, with weights from a file or from torchvision. No pickled code is ever run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from netlens.checkpoints import SkipInit, check_weights_exist, existing_file, load_weights
from netlens.classes import ClassNames
from netlens.errors import WeightsError, closest
from netlens.preprocessing import Preprocessing

PRETRAINED, RANDOM = "pretrained", "random"
_SLOW_INIT = ("googlenet", "inception_v3")


def build(name: str, weights: str | os.PathLike[str] = RANDOM, **options: Any) -> nn.Module:
    """A network of torchvision in eval mode.

    The networks googlenet and inception_v3 have no auxiliary heads. With weights, they adapt their input to the
    published weights, as in torchvision.

    Args:
        name: A name in `torchvision.models.list_models()`.
        weights: "random"; "pretrained" for torchvision's best, or the name of others of torchvision's ("default",
            "imagenet1k_v1"), which are downloaded if they are not cached; or the path of a file for `load_weights`.
        options: The options of torchvision's builder, such as `num_classes=10` for a fine-tuned network.

    Raises:
        WeightsError: Torchvision has no such network, or the weights cannot be read or do not fit.

    Example:
        >>> build("mobilenet_v2").training
        False
    """
    return built(name, weights, **options)[0]


def built(name: str, weights: str | os.PathLike[str], **options: Any) -> tuple[nn.Module, int | None]:
    """The network of `build`; and its number of classes, if a file has changed it."""
    name = _checked(name)
    if weights == RANDOM:
        return _construct(name, options).eval(), None
    published = _published(name, weights)
    if published is not None:
        return _with_published(name, published, options).eval(), None
    path = existing_file(weights, name)
    if name.removeprefix("quantized_") in _SLOW_INIT:
        options = {"transform_input": True, **options}
    with SkipInit():
        module = _construct(name, options)
    count = load_weights(module, path)
    return module.eval(), count


def metadata(name: str, weights: str | os.PathLike[str] = RANDOM) -> tuple[Preprocessing | None, ClassNames | None]:
    """The preprocessing and the class names of a network of torchvision; None for what is unknown.

    Torchvision's own `weights` ("pretrained", ...) come with both. For a file and for random weights, this takes
    torchvision's first recipe, which most files follow: for classifiers usually a resize to 256 and a crop of 224.

    Args:
        name: A name in `torchvision.models.list_models()`.
        weights: As for `build`.
    """
    name = _checked(name)
    chosen = _published(name, weights)
    if chosen is None:
        chosen = next(iter(_members(name).values()))
    transforms = chosen.transforms()
    # the presets of video and detection do not make batches of equal images
    pictures = type(transforms).__name__ in ("ImageClassification", "SemanticSegmentation")
    preprocessing = Preprocessing.from_transforms(transforms) if pictures else None
    categories = chosen.meta.get("categories")
    return preprocessing, ClassNames(categories) if categories else None


def _checked(name: str) -> str:
    from torchvision.models import list_models

    names = list_models()
    if not isinstance(name, str):
        raise WeightsError(f"a network is opened by its name in torchvision, such as 'resnet18', not by {name!r}.")
    if name.lower() not in names:
        raise WeightsError(f"torchvision has no network {name!r}. Closest: {closest(name.lower(), names)}.")
    return name.lower()


def _construct(name: str, options: Mapping[str, Any]) -> nn.Module:
    from torchvision.models import get_model_builder

    builder = get_model_builder(name)
    defaults: dict[str, Any] = {}
    if name.removeprefix("quantized_") in _SLOW_INIT:
        defaults = {"init_weights": False, "aux_logits": False}
    if "weights_backbone" in inspect.signature(builder).parameters:
        defaults["weights_backbone"] = None  # else torchvision downloads the weights of the backbone
    network: nn.Module = builder(weights=None, **{**defaults, **options})
    return network


def _members(name: str) -> dict[str, Any]:
    """Torchvision's weights of a network by lower-case name, in order; for a quantized network, the float weights."""
    from torchvision.models import get_model_weights

    members = get_model_weights(name).__members__
    return {key.lower(): member.meta.get("unquantized", member) for key, member in members.items()}


def check_weights(name: str, weights: str | os.PathLike[str]) -> None:
    """Raise if torchvision has no such network, or if there are no such weights, without building the network.

    Raises:
        WeightsError: There is no such network, and there are no such weights.
    """
    name = _checked(name)
    if _published(name, weights) is None:
        check_weights_exist(name, weights, (RANDOM,))


def _published(name: str, weights: str | os.PathLike[str]) -> Any | None:
    if not isinstance(weights, str):
        return None
    return _members(name).get("default" if weights == PRETRAINED else weights.lower())


def _with_published(name: str, published: Any, options: Mapping[str, Any]) -> nn.Module:
    from torchvision.models import get_model

    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name
    try:
        # torchvision would unpickle any content of the file; this check makes sure that it holds tensors only
        published.get_state_dict(check_hash=True, weights_only=True)
    except OSError as error:
        raise WeightsError(
            f"the {published.name} weights of {name} are not cached in {cached.parent} and cannot be downloaded "
            f"({error}); fetch {published.url} elsewhere and pass the path of the file as weights= "
            "or --weights, or pass 'random'."
        ) from error
    except Exception as error:  # the unpickler raises errors of any kind on damaged bytes
        raise WeightsError(f"{cached} is damaged; delete it to download it again.") from error
    module: Any = get_model(name, weights=published, **options)
    if name.removeprefix("quantized_") == "inception_v3" and not options.get("aux_logits", False):
        # torchvision refuses aux_logits=False with weights
        module.aux_logits, module.AuxLogits = False, None
    network: nn.Module = module
    return network
