"""The ordered mapping of layers, and the ways in which a person names one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from numbers import Integral

from torch import nn

from netlens.errors import LayerNotFound, closest
from netlens.flat.operations import is_kind

LayerKey = str | int | type[nn.Module]


def several(names: LayerKey | Iterable[LayerKey]) -> list[LayerKey]:
    """One name of layers, or many of them, as a list.

    >>> several("conv1"), several(-1), several([0, nn.ReLU])
    (['conv1'], [-1], [0, <class 'torch.nn.modules.activation.ReLU'>])
    """
    return [names] if isinstance(names, (str, Integral, type)) else list(names)  # type: ignore[arg-type]


class Layers(Mapping[str, nn.Module]):
    """Layers by key, in the order in which they run.

    A layer is named by its exact key, by a path (`"layer3"`: the last layer under it), by a glob (`"layer3.*.relu*"`),
    by its type (`nn.Conv2d`) or by its index (`-1`: the last one).
    """

    def __init__(self, layers: Mapping[str, nn.Module], network: str) -> None:
        self._layers = dict(layers)
        self._network = network

    def __getitem__(self, key: LayerKey) -> nn.Module:
        return self._layers[self.key(key)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __contains__(self, key: object) -> bool:
        return key in self._layers

    def key(self, name: LayerKey) -> str:
        """The one layer that `name` names; of several that a path, glob or type matches, the last one."""
        if isinstance(name, str) and name in self._layers:
            return name
        return self.find(name)[-1]

    def find(self, name: LayerKey) -> list[str]:
        """All layers that `name` names, in order; a path names the last layer under it. Raises `LayerNotFound`."""
        keys = list(self._layers)
        if isinstance(name, bool) or not isinstance(name, (str, Integral, type)):
            raise LayerNotFound(f"a layer is named by a string, an index or a module class, not by {name!r}.")
        if isinstance(name, Integral):  # numpy's whole numbers too
            if not -len(keys) <= name < len(keys):
                raise LayerNotFound(f"{self._network} has {len(keys)} layers; there is no layer {name}.")
            return [keys[int(name)]]
        if isinstance(name, type):
            found = [key for key, layer in self._layers.items() if is_kind(layer, name)]
            if not found:
                kinds = sorted({type(layer).__name__ for layer in self._layers.values()})
                raise LayerNotFound(
                    f"{self._network} has no layer of type {name.__name__}; its types: {', '.join(kinds)}."
                )
            return found
        if name in self._layers:
            return [name]
        if any(sign in name for sign in "*?["):
            found = [key for key in keys if fnmatchcase(key, name)]
        else:
            found = [key for key in keys if key.startswith(f"{name}.")][-1:]
        if not found:
            raise LayerNotFound(f"{self._network} has no layer {name!r}. Closest: {closest(name, self._paths())}.")
        return found

    def find_all(self, names: LayerKey | Iterable[LayerKey]) -> list[str]:
        """The layers that any of `names` names, each once, in the order in which they run."""
        found = {key for name in several(names) for key in self.find(name)}
        return [key for key in self._layers if key in found]

    def _paths(self) -> list[str]:
        """Every key and every path above one."""
        parts = (key.split(".") for key in self._layers)
        return list(dict.fromkeys(".".join(p[: i + 1]) for p in parts for i in range(len(p))))

    def __repr__(self) -> str:
        return "\n".join(f"{key}: {layer}" for key, layer in self._layers.items())
