"""Files of weights: read without running code, and fitted to a module. Their number of classes may be another one."""

from __future__ import annotations

import argparse
import copy
import itertools
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from netlens.errors import WeightsError
from netlens.silence import silenced

_TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
_NESTED = ("state_dict", "model_state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile and Lightning
_AUXILIARY = ("aux1", "aux2", "AuxLogits", "aux_classifier")  # heads that only training runs
_SHOWN = 3


def load_weights(module: nn.Module, path: str | os.PathLike[str]) -> int | None:
    """Load a state dict from a file into a module, cast to the module's types.

    A dict may be nested under "state_dict" or "model", and its keys may have the prefixes of DataParallel,
    torch.compile and Lightning. Auxiliary heads may be missing or extra. If the file knows another number of classes,
    the last layers of the module take its size.

    Args:
        module: The network. After an error it is as it was before.
        path: A `.safetensors` file, or a `.pth` or `.pt` file that holds tensors only.

    Returns:
        The number of classes of the file if the module had another one; else None.

    Raises:
        WeightsError: The file cannot be read, holds more than tensors, or does not fit the module.
    """
    path = existing_file(path, type(module).__name__)
    state = _fitted(_state_dict(_read(path), path), module)
    heads = _heads_of_other_size(module, state)
    resized = {f"{name}.{part}" for name in heads for part in ("weight", "bias")}
    if problems := _misfits(module, state, resized):
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        listed = "; ".join(problems[:_SHOWN])
        raise WeightsError(
            f"{path} does not fit {type(module).__name__}: {listed}{more}. Give the architecture of the file."
        )
    count = _resize_heads(module, state, heads)
    module.load_state_dict(state, strict=False)  # strict would want the auxiliary heads
    return count


def check_weights_exist(name: str, weights: str | os.PathLike[str], words: Collection[str]) -> None:
    """Raise if weights are neither one of the words that a source knows nor a file.

    Args:
        name: The name of the network.
        weights: Its weights.
        words: The words.

    Raises:
        WeightsError: There are no such weights.
    """
    if weights not in words and not Path(weights).is_file():
        raise WeightsError(
            f"{name} has no weights {os.fspath(weights)!r}, and there is no such file; give a file, 'pretrained' or "
            "'random'."
        )


class SkipInit(TorchFunctionMode):
    """Leaves new parameters uninitialized: random numbers take seconds, and a file replaces them all."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def existing_file(path: str | os.PathLike[str], name: str) -> Path:
    """The path of a file of weights for the network `name`, if there is such a file."""
    if not isinstance(path, (str, os.PathLike)):
        raise WeightsError(f"weights are 'pretrained', 'random' or the path of a file, not {path!r}.")
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
            # training scripts save their arguments, too: a Namespace, which holds names and values and runs no code
            with torch.serialization.safe_globals([argparse.Namespace]), silenced(UserWarning):
                # torch warns about a bad file; the error below says more
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
    while (prefix := _prefix(state, expected)) is not None:
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


def _prefix(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """A prefix of a wrapper that all keys of a file have, and no key of the network."""
    for prefix in _WRAPPERS:
        if all(key.startswith(prefix) for key in state) and not any(key.startswith(prefix) for key in expected):
            return prefix
    return None


def _heads_of_other_size(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, int]:
    """The layers whose outputs are as many as the file knows classes, by path. Empty if more than that differs.

    If any other layer had another size, the layer that reads it would have another size, too. So the layers whose
    outputs alone differ are the last ones.
    """
    heads: dict[str, int] = {}
    changes = set()
    for name, layer in module.named_modules():
        if not isinstance(layer, (nn.Linear, nn.Conv2d)) or f"{name}.weight" not in state:
            continue
        new, old = state[f"{name}.weight"], layer.weight
        if new.shape == old.shape or new.ndim != old.ndim:
            continue
        biases = (state.get(f"{name}.bias"), layer.bias)
        sized = [None if bias is None else len(bias) for bias in biases] in ([None, None], [len(new), len(old)])
        if new.shape[1:] != old.shape[1:] or not sized or getattr(layer, "groups", 1) > 1:
            return {}
        heads[name] = len(new)
        changes.add((len(old), len(new)))
    return heads if len(changes) == 1 else {}


def _resize_heads(module: nn.Module, state: Mapping[str, Tensor], heads: Mapping[str, int]) -> int | None:
    """Give the layers `heads` parameters of the sizes in the file. Return the number of classes, if it changed."""
    for name, size in heads.items():
        layer: Any = module.get_submodule(name)
        setattr(layer, "out_features" if isinstance(layer, nn.Linear) else "out_channels", size)
        for part in ("weight", "bias"):
            if (old := getattr(layer, part)) is not None:
                new = torch.empty(state[f"{name}.{part}"].shape, dtype=old.dtype, device=old.device)
                setattr(layer, part, nn.Parameter(new, requires_grad=old.requires_grad))
    count = max(heads.values(), default=None)  # all are equal
    network: Any = module
    if count is not None and hasattr(network, "num_classes"):
        network.num_classes = count
    return count


def _misfits(module: nn.Module, state: OrderedDict[str, Tensor], resized: Collection[str] = ()) -> list[str]:
    """The mismatches, in words, without those of the tensors `resized`.

    A copy without memory tries to load, since layers may rename keys on loading.
    """
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
            if key not in resized
        ],
        [f"{key!r} is missing" for key in keys.missing_keys if not key.startswith(spare)],
        [f"{key!r} is not in the network" for key in sorted(keys.unexpected_keys)],
    )
    # one of each kind in turn: a missing and an extra name together show that a layer was renamed
    return [problem for turn in itertools.zip_longest(*kinds) for problem in turn if problem is not None]
