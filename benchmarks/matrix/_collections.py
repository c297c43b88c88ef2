"""The collections of networks that have a table each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.matrix._subject import Subject


@dataclass(frozen=True)
class Collection:
    """A collection of networks.

    Attributes:
        mark: The mark of its table.
        title: What its networks are, for the README.
        sources: The functions that list them, as "file:function". Each file imports a library.
        methods: Whether methods of attribution run, too.
        page: The page of its table.
        rows_file: The file that keeps its rows for later runs, if it takes hours.
    """

    mark: str
    title: str
    sources: tuple[str, ...]
    methods: bool = True
    page: str = "docs/networks.md"
    rows_file: str = ""

    @property
    def modules(self) -> list[str]:
        return [_module(source) for source in self.sources]

    def subjects(self) -> list[Subject]:
        return [subject for source in self.sources for subject in subjects_of(source)]


def subjects_of(source: str) -> list[Subject]:
    """The networks that a function of one file lists; `source` is "file:function"."""
    listed: Callable[[], Iterable[Subject]]
    listed = getattr(importlib.import_module(_module(source)), source.partition(":")[2])
    return list(listed())


def _module(source: str) -> str:
    return f"benchmarks.matrix._{source.partition(':')[0]}"


_OTHERS = ("segmentation_models", "monai", "torchvision_tasks", "open_clip", "wrappers")
COLLECTIONS = {
    "torchvision": Collection("matrix", "torchvision's classifiers", ("torchvision:subjects",), methods=False),
    "timm-families": Collection("timm", "timm, the smallest of each module", ("timm:smallest",)),
    "timm-all": Collection(
        *("timm-all", "timm, entry points measured so far", ("timm:everything",), False),
        *("docs/timm.md", "docs/timm.jsonl"),
    ),
    "huggingface": Collection("huggingface", "Hugging Face, tiny configurations", ("huggingface:subjects",)),
    "others": Collection("others", "other libraries and wrappers", tuple(f"{name}:subjects" for name in _OTHERS)),
}
