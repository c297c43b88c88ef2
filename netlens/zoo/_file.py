"""A network that a function of a person's own makes. The code of its file is run."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from torch import nn

from netlens.checkpoints import check_weights_exist, load_weights
from netlens.errors import WeightsError, closest
from netlens.zoo._source import WORDS, Opened, Source, Weights


class PythonFile(Source):
    """Names such as "folder/models.py:make". The function takes no arguments; a class of a network is a function, too.

    With the weights "pretrained" and "random", the network is as the function makes it.
    """

    def has(self, name: str) -> bool:
        return _split(name)[0].endswith(".py")

    def open(self, name: str, weights: Weights) -> Opened:
        self.check(name, weights)
        path, function = _split(name)
        network = _network_from(Path(path), function)
        head = None if weights in WORDS else load_weights(network, weights)
        return Opened(network.eval(), head=head)

    def check(self, name: str, weights: Weights) -> None:
        path, function = _split(name)
        if not Path(path).is_file():
            raise WeightsError(f"{path} does not exist; give FILE.py:FUNCTION.")
        if not function:
            raise WeightsError(f"{name} names no function; give {path}:FUNCTION, which takes no arguments.")
        check_weights_exist(name, weights, WORDS)


def _split(name: str) -> tuple[str, str]:
    if name.endswith(".py"):
        return name, ""
    path, _, function = name.rpartition(":")
    return path, function


def _network_from(path: Path, function: str) -> nn.Module:
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise WeightsError(f"{path} cannot be run as Python; give FILE.py:FUNCTION.")
    module = module_from_spec(spec)
    # as with `python file.py`, the file finds its neighbors; and its classes find their module
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent.resolve()))
    make: Any = getattr(module, function, None)
    if not callable(make):
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise WeightsError(f"{path} has no function {function!r}. Closest: {closest(function, names)}.")
    network = make()
    if not isinstance(network, nn.Module):
        raise WeightsError(f"{function} of {path} returns a {type(network).__name__}, not a torch.nn.Module.")
    return network
