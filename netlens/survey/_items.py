"""Items: a data set of torch or of Hugging Face, which gives one sample for each number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from netlens.classes import ClassNames
from netlens.errors import ImageError, NetLensError
from netlens.survey._labels import renumbered
from netlens.survey._samples import NO_LABEL, Data, Sample

_IMAGES = ("image", "img", "pixel_values")
_LABELS = ("label", "labels", "fine_label", "cls")


@dataclass(frozen=True)
class Items(Data):
    """A data set: anything with a length whose items are images, pairs of an image and a label, or dicts of both.

    Args:
        dataset: The data set. An item must be the same each time, and its image may be any picture or a float tensor
            (C, H, W), which counts as preprocessed.
        numbers: The class of the network for each class of the data set; None if they are the same.
    """

    dataset: Any
    numbers: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, index: int) -> str:
        return f"#{index}"

    def load(self, index: int) -> Sample:
        try:
            item = self.dataset[index]
        except (OSError, ValueError) as error:  # the data set opens files by itself
            raise ImageError(
                f"the data set cannot give item {index} ({' '.join(str(error).split())[:120]})."
            ) from error
        image, label = _parts(item, index)
        try:
            number = NO_LABEL if label is None else int(label)
            return Sample(image, number if self.numbers is None or number == NO_LABEL else self.numbers[number])
        except (TypeError, ValueError, IndexError) as error:
            raise NetLensError(
                f"item {index} of the data set has the label {label!r:.80}, which is no class."
            ) from error

    def identity(self, start: int, stop: int) -> Any:
        return [start, stop]

    @property
    def content(self) -> Any:
        return self.dataset, self.numbers


def of_items(dataset: Any, classes: ClassNames | None) -> Items:
    """The samples of a data set. Data sets of Hugging Face name their classes, which become those of the network.

    Raises:
        NetLensError: The classes are not those of the network.
    """
    features = getattr(dataset, "features", None)
    label_features = [features[name] for name in _LABELS if name in features] if isinstance(features, Mapping) else []
    names = getattr(label_features[0], "names", None) if label_features else None
    return Items(dataset, None if not isinstance(names, list | tuple) else tuple(renumbered(names, classes)))


def _parts(item: Any, index: int) -> tuple[Any, Any]:
    """The image and the label of an item; None for no label."""
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    if not isinstance(item, Mapping):
        return item, None
    image = next((name for name in _IMAGES if name in item), None)
    if image is None:
        raise NetLensError(
            f"item {index} of the data set has the entries {', '.join(map(str, item))}; name the picture 'image'."
        )
    return item[image], next((item[name] for name in _LABELS if name in item), None)
