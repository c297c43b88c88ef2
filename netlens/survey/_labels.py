"""Labels: names and numbers in the data become indices of the network's classes."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from netlens.classes import ClassNames
from netlens.errors import NetLensError
from netlens.survey._samples import NO_LABEL


def indices_of(labels: Sequence[Any], classes: ClassNames | None) -> tuple[int, ...]:
    """The class of each label: None, an index, or a text.

    Raises:
        NetLensError: A label is no whole number, or no class of the network.
    """
    try:
        values = [NO_LABEL if label is None else label if isinstance(label, str) else index(label) for label in labels]
    except TypeError as error:
        raise NetLensError(f"a label of a file is the name or the index of a class ({error}).") from error
    named = _indices(sorted({label for label in values if isinstance(label, str)}), classes)
    return tuple(named[label] if isinstance(label, str) else label for label in values)


def renumbered(names: Sequence[str], classes: ClassNames | None) -> list[int]:
    """The class of the network for each class of a data set, by the names of the data set's classes.

    If the names differ, but there are as many as the network has classes, they are its classes in the same order.

    Raises:
        NetLensError: The data set has other classes than the network.
    """
    if classes is None:
        return list(range(len(names)))
    indices_by_name = _by_name(classes)
    matches = [indices_by_name.get(plain(name), []) for name in names]
    if len(names) == len(classes) and all(i in places for i, places in enumerate(matches) if places):
        return list(range(len(names)))
    if all(len(places) == 1 for places in matches):
        return [places[0] for places in matches]
    missing = next(name for name, places in zip(names, matches, strict=True) if len(places) != 1)
    raise NetLensError(
        f"the data has {len(names)} classes, of which {missing!r} is no class of the network, whose {len(classes)} "
        f"classes have names such as {classes[0]!r}; give a data set with the classes of the network."
    )


def _indices(labels: Sequence[str], classes: ClassNames | None) -> dict[str, int]:
    """The class of each label, which is the whole name of a class or its index.

    If the network has no names of classes, labels that are no indices are classes in the order in which they are given.
    """
    named = {} if classes is None else _by_name(classes)
    matches = {label: named.get(plain(label), []) for label in labels}
    if all(matches.values()):
        several = [label for label, places in matches.items() if len(places) > 1]
        if several:
            places = " and ".join(map(str, matches[several[0]]))
            raise NetLensError(
                f"the label {several[0]!r} is the name of the classes {places} of the network; give indices, in a CSV "
                "or a list of (file, label)."
            )
        return {label: places[0] for label, places in matches.items()}
    if all(label.isascii() and label.isdecimal() for label in labels):
        return {label: int(label) for label in labels}
    if classes is None:
        return {label: i for i, label in enumerate(labels)}
    missing = [label for label, places in matches.items() if not places]
    raise NetLensError(
        f"{len(missing)} of {len(labels)} labels are no class of the network, such as {missing[0]!r}; give whole names "
        f"such as {classes[0]!r}, or indices, in a CSV or a list of (file, label)."
    )


def _by_name(classes: ClassNames) -> dict[str, list[int]]:
    """The indices of the classes with each name. A name may have several: ImageNet has two cranes."""
    indices: dict[str, list[int]] = {}
    for i, name in enumerate(classes):
        indices.setdefault(plain(name), []).append(i)
    return indices


def plain(name: str) -> str:
    """A name as it is compared: without case, underscores, and more than one space."""
    return " ".join(name.lower().replace("_", " ").split())
