"""The layers of a network by key, and the names by which a person selects layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from numbers import Integral

from torch import nn

from netlens.errors import LayerNotFound, closest
from netlens.flat.layers import Opaque
from netlens.flat.operations import innermost, is_kind

LayerKey = str | int | type[nn.Module]
OUTPUT = "output"
"""The key of the output of a network, beside the keys of its inputs and layers."""
SCORES = "class scores"
"""The name of the value that holds the scores of classes: the output, or the layer before its last activation."""
EMBEDDING = "output embedding"
"""The name of the value that holds an embedding: the output, or one entry of it."""

ITEM = "item "
"""What stands before the index of a head, which counts only if the output is a tuple."""


def part(name: str, head: str | int | None) -> str:
    """The name of the scores or of the embedding in one head of a network; None for the head that netlens chooses.

    Example:
        >>> part(SCORES, "age"), part(SCORES, None)
        ('class scores of age', 'class scores')
    """
    return name if head is None else f"{name} of {head}"


def block_of(key: str) -> str:
    """The block of a layer, which groups the layers of a network for people.

    >>> block_of("features.3.conv.0.0"), block_of("stem.0"), block_of("relu")
    ('features.3', 'stem', 'relu')
    """
    parts = key.split(".")
    return ".".join(parts[:2]) if len(parts) > 2 else parts[0]


_WHOLE = "which could not be unrolled (flat.opaque says why), so its parts have no keys"


def several(names: LayerKey | Iterable[LayerKey]) -> list[LayerKey]:
    """A list of names, even if only one name is given.

    Example:
        >>> several("conv1"), several(-1), several([0, nn.ReLU])
        (['conv1'], [-1], [0, <class 'torch.nn.modules.activation.ReLU'>])
    """
    return [names] if isinstance(names, (str, Integral, type)) else list(names)  # type: ignore[arg-type]


class Layers(Mapping[str, nn.Module]):
    """Layers by key, in the order in which they run.

    A name of a layer is its exact key, a path (`"layer3"`: the last layer whose key starts with `layer3.`), a glob
    (`"layer3.*.relu*"`), a type (`nn.Conv2d`) or an index (`-1`: the last layer).

    Args:
        layers: The layers by key, in their order.
        network: The name of the network in messages.

    Example:
        >>> layers = Layers({"stem.conv": nn.Conv2d(3, 4, 3), "stem.relu": nn.ReLU(), "fc": nn.Linear(4, 2)}, "net")
        >>> layers.key("stem"), layers.key(nn.Conv2d), layers.key(-1)
        ('stem.relu', 'stem.conv', 'fc')
        >>> layers.find("stem.*")
        ['stem.conv', 'stem.relu']
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

    def __contains__(self, name: object) -> bool:
        """Whether `layers[name]` gives a layer."""
        try:
            self.find(name)  # type: ignore[arg-type]
        except LayerNotFound:
            return False
        return True

    def has(self, key: str) -> bool:
        """Whether `key` is the exact key of a layer."""
        return key in self._layers

    def key(self, name: LayerKey) -> str:
        """The key of the layer that `name` names; if several layers match, the key of the last one.

        Raises:
            LayerNotFound: No layer matches.
        """
        if isinstance(name, str) and name in self._layers:
            return name
        return self.find(name)[-1]

    def find(self, name: LayerKey) -> list[str]:
        """The keys of all layers that `name` names, in their order. A path names only the last layer under it.

        Raises:
            LayerNotFound: No layer matches.
        """
        keys = list(self._layers)
        if isinstance(name, bool) or not isinstance(name, (str, Integral, type)):
            raise LayerNotFound(f"a layer is named by a string, an index or a module class, not by {name!r}.")
        if isinstance(name, Integral):  # an int, or an integer of NumPy
            if not -len(keys) <= name < len(keys):
                raise LayerNotFound(f"{self._network} has {len(keys)} layers; there is no layer {name}.")
            return [keys[int(name)]]
        if isinstance(name, type):
            matches = [key for key, layer in self._layers.items() if is_kind(layer, name)]
            if not matches:
                kinds = sorted({type(layer).__name__ for layer in self._layers.values()})
                inside = [key for key, part in self._opaque() if any(isinstance(m, name) for m in part.modules())]
                hint = f" There are some inside {inside[0]!r}, {_WHOLE}." if inside else ""
                raise LayerNotFound(
                    f"{self._network} has no layer of type {name.__name__}; its types: {', '.join(kinds)}.{hint}"
                )
            return matches
        if name in self._layers:
            return [name]
        if any(wildcard in name for wildcard in "*?["):
            matches = [key for key in keys if fnmatchcase(key, name)]
        else:
            matches = [key for key in keys if key.startswith(f"{name}.")][-1:]
        if not matches:
            parts = [key for key, part in self._opaque() if name.startswith(f"{key}.")]
            hint = f" {parts[0]!r} is one layer, {_WHOLE}." if parts else ""
            raise LayerNotFound(
                f"{self._network} has no layer {name!r}. Closest: {closest(name, self._paths())}.{hint}"
            )
        return matches

    def find_all(self, names: LayerKey | Iterable[LayerKey]) -> list[str]:
        """The keys of the layers that any of `names` names, each once, in the order in which they run."""
        matches = {key for name in several(names) for key in self.find(name)}
        return [key for key in self._layers if key in matches]

    def _opaque(self) -> list[tuple[str, Opaque]]:
        layers = ((key, innermost(layer)) for key, layer in self._layers.items())
        return [(key, layer) for key, layer in layers if isinstance(layer, Opaque)]

    def _paths(self) -> list[str]:
        """Every key, and every path above a key."""
        names = (key.split(".") for key in self._layers)
        return list(dict.fromkeys(".".join(p[: i + 1]) for p in names for i in range(len(p))))

    def __repr__(self) -> str:
        return "\n".join(f"{key}: {layer}" for key, layer in self._layers.items())
