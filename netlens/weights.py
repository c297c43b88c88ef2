"""Networks of torchvision, with weights from a file or from torchvision. No pickled code is ever run."""

from __future__ import annotations

import copy
import inspect
import itertools
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from netlens.classes import ClassNames
from netlens.errors import WeightsError, closest
from netlens.preprocessing import Preprocessing
from netlens.silence import silenced

_TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
_NESTED = ("state_dict", "model_state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
_AUXILIARY = ("aux1", "aux2", "AuxLogits", "aux_classifier")  # heads that only training runs
_SLOW_INIT = ("googlenet", "inception_v3")
_SHOWN = 3


def build(name: str, weights: str | os.PathLike[str] | None = None, **options: Any) -> nn.Module:
    """A network of torchvision in eval mode.

    The networks googlenet and inception_v3 have no auxiliary heads. With weights, they adapt their input to the
    published weights, as in torchvision.

    Args:
        name: A name in `torchvision.models.list_models()`.
        weights: None for random weights; "default" or another name of torchvision's, which is downloaded if it is not
            cached; or the path of a file for `load_weights`.
        options: The options of torchvision's builder, such as `num_classes=10` for a fine-tuned network.

    Raises:
        WeightsError: Torchvision has no such network, or the weights cannot be read or do not fit.

    Example:
        >>> build("mobilenet_v2").training
        False
    """
    name = _checked(name)
    if weights is None:
        return _construct(name, options).eval()
    published = _published(name, weights)
    if published is not None:
        return _with_published(name, published, options).eval()
    path = _existing(weights, name)
    if name.removeprefix("quantized_") in _SLOW_INIT:
        options = {"transform_input": True, **options}
    with _SkipInit():
        module = _construct(name, options)
    load_weights(module, path)
    return module.eval()


def metadata(
    name: str, weights: str | os.PathLike[str] | None = None
) -> tuple[Preprocessing | None, ClassNames | None]:
    """The preprocessing and the class names of a network of torchvision; None for what is unknown.

    Torchvision's own `weights` ("default", ...) come with both. For a file and for random weights, this takes
    torchvision's first recipe, which most files follow: for classifiers usually a resize to 256 and a crop of 224.

    Args:
        name: A name in `torchvision.models.list_models()`.
        weights: As for `build`.
    """
    name = _checked(name)
    chosen = _published(name, weights) if weights is not None else None
    if chosen is None:
        chosen = next(iter(_members(name).values()))
    transforms = chosen.transforms()
    # the presets of video and detection do not make batches of equal images
    pictures = type(transforms).__name__ in ("ImageClassification", "SemanticSegmentation")
    preprocessing = Preprocessing.from_transforms(transforms) if pictures else None
    categories = chosen.meta.get("categories")
    return preprocessing, ClassNames(categories) if categories else None


def load_weights(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load a state dict from a file into a module, cast to the module's types.

    A dict may be nested under "state_dict" or "model", and its keys may have the prefixes of DataParallel and
    torch.compile. Auxiliary heads may be missing or extra.

    Args:
        module: The network. After an error it is as it was before.
        path: A `.safetensors` file, or a `.pth` or `.pt` file that holds tensors only.

    Raises:
        WeightsError: The file cannot be read, holds more than tensors, or does not fit the module.
    """
    path = _existing(path, type(module).__name__)
    state = _fitted(_state_dict(_read(path), path), module)
    if problems := _misfits(module, state):
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        listed = "; ".join(problems[:_SHOWN])
        raise WeightsError(
            f"{path} does not fit {type(module).__name__}: {listed}{more}. Give the architecture of the file."
        )
    module.load_state_dict(state, strict=False)  # strict would want the auxiliary heads


class _SkipInit(TorchFunctionMode):
    """Leaves new parameters uninitialized: random numbers take seconds, and a file replaces them all."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


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


def _published(name: str, weights: str | os.PathLike[str]) -> Any | None:
    return _members(name).get(weights.lower()) if isinstance(weights, str) else None


def _with_published(name: str, published: Any, options: Mapping[str, Any]) -> nn.Module:
    from torchvision.models import get_model

    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name
    try:
        # torchvision would unpickle any content of the file; this check makes sure that it holds tensors only
        published.get_state_dict(check_hash=True, weights_only=True)
    except OSError as error:
        raise WeightsError(
            f"the {published.name} weights of {name} are not cached in {cached.parent} and cannot be downloaded "
            f"({error}); fetch {published.url} elsewhere and pass the path of the file as weights=."
        ) from error
    except Exception as error:  # the unpickler raises errors of any kind on damaged bytes
        raise WeightsError(f"{cached} is damaged; delete it to download it again.") from error
    module: Any = get_model(name, weights=published, **options)
    if name.removeprefix("quantized_") == "inception_v3" and not options.get("aux_logits", False):
        # torchvision refuses aux_logits=False with weights
        module.aux_logits, module.AuxLogits = False, None
    network: nn.Module = module
    return network


def _existing(path: str | os.PathLike[str], name: str) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise WeightsError(f"weights are 'default' or the path of a file, not {path!r}.")
    path = Path(path)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(f"{path} {problem}; give the path of a weights file for {name}.")
    return path


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return OrderedDict(load_file(path))
        if path.suffix in _TORCH_SUFFIXES:
            with silenced(UserWarning):  # torch warns about a bad file; the error below says more
                return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error}); check its permissions.") from error
    except Exception as error:  # torch raises errors of any kind on damaged bytes
        if isinstance(error, pickle.UnpicklingError) or "TorchScript" in str(error):
            raise WeightsError(
                f"{path} is damaged or holds more than tensors; Python objects could run any code and are refused: "
                "save model.state_dict() instead."
            ) from error
        raise WeightsError(f"{path} is damaged or no weights file; download or save it again.") from error
    raise WeightsError(
        f"{path} has none of the suffixes .safetensors, {', '.join(_TORCH_SUFFIXES)}; rename or convert it."
    )


def _state_dict(read: Any, path: Path) -> OrderedDict[str, Tensor]:
    while isinstance(read, Mapping) and (inner := [read[key] for key in _NESTED if isinstance(read.get(key), Mapping)]):
        read = inner[0]
    if not isinstance(read, Mapping) or not read or not all(isinstance(value, Tensor) for value in read.values()):
        raise WeightsError(f"{path} holds no state dict of tensors; save model.state_dict().")
    state = OrderedDict(read)
    if hasattr(read, "_metadata"):
        state._metadata = read._metadata  # type: ignore[attr-defined]
    return state


def _fitted(state: OrderedDict[str, Tensor], module: nn.Module) -> OrderedDict[str, Tensor]:
    """The state with the keys of `module`: without prefixes of wrappers, old names and unused heads."""
    expected = module.state_dict()
    versions = getattr(state, "_metadata", None)
    for prefix in _WRAPPERS:
        if all(key.startswith(prefix) for key in state) and not any(key.startswith(prefix) for key in expected):
            state = OrderedDict((key.removeprefix(prefix), value) for key, value in state.items())
            if versions is not None:
                versions = {key[len(prefix) :]: versions[key] for key in versions if f"{key}.".startswith(prefix)}
    unused = tuple(f"{head}." for head in _AUXILIARY if getattr(module, head, module) is None)
    # torchvision's densenet files still spell norm1 as norm.1
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
    fitted = OrderedDict((old.sub(r"\1\2", key), value) for key, value in state.items() if not key.startswith(unused))
    # layers rename old keys by the versions in the metadata. A safetensors file has none, and mnasnet needs them
    fitted._metadata = {"": expected._metadata[""]} if versions is None else versions  # type: ignore[attr-defined]
    return fitted


def _misfits(module: nn.Module, state: OrderedDict[str, Tensor]) -> list[str]:
    """The mismatches, in words. A copy without memory tries to load, since layers may rename keys on loading."""
    expected = module.state_dict()
    shapes = [key for key in state if key in expected and state[key].shape != expected[key].shape]
    trial = OrderedDict(state)
    trial.update((key, expected[key]) for key in shapes)
    trial._metadata = state._metadata  # type: ignore[attr-defined]
    tensors = [*module.parameters(), *module.buffers()]
    try:
        empty = copy.deepcopy(module, {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors})
        with silenced(UserWarning):  # torch warns that loading into a module without memory has no effect
            keys = empty.load_state_dict(trial, strict=False)
    except (RuntimeError, ValueError) as error:
        return [" ".join(str(error).split())]
    # auxiliary heads that the network has but never runs in eval mode
    spare = tuple(f"{head}." for head in _AUXILIARY if hasattr(module, "aux_logits"))
    kinds = (
        [
            f"{key!r} is {tuple(state[key].shape)} in the file, {tuple(expected[key].shape)} in the network"
            for key in shapes
        ],
        [f"{key!r} is missing" for key in keys.missing_keys if not key.startswith(spare)],
        [f"{key!r} is not in the network" for key in sorted(keys.unexpected_keys)],
    )
    # one of each kind in turn: a missing and an extra name together show that a layer was renamed
    return [problem for turn in itertools.zip_longest(*kinds) for problem in turn if problem is not None]
