"""Parts: the scores of one method on some images, as a file under the hash of all that they depend on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.evaluation._case import Case
from netlens.evaluation.metrics import Metric
from netlens.fast import fast
from netlens.flat import FlatModel
from netlens.heatmaps import ResultError
from netlens.results import storage
from netlens.survey.fingerprint import fingerprint
from netlens.survey.settings import Settings

_FORMAT = 1
"""Another number where a score of an earlier version would be another one."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The folder of all parts of an evaluation.

    Args:
        folder: The folder, which is made.
        case: What is judged.

    Raises:
        NetLensError: The folder cannot be made.
    """

    folder: Path
    case: Case

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NetLensError(f"{self.folder} is no folder for scores ({error.strerror}); choose another.") from error

    @cached_property
    def networks(self) -> str:
        """The fingerprint of the networks with their weights and preprocessing, and of the software and the machine.

        It is that of what runs, with folded weights, so that the same weights give the same one.
        """
        networks = self.case.flat, self.case.neighbor, self.case.shuffled
        return fingerprint(
            {
                "format": _FORMAT,
                "networks": [None if flat is None else _contents(flat) for flat in networks],
                "settings": Settings.now(self.case.x.device),
            }
        )

    def of(self, name: str, source: Any, images: Case) -> Part:
        """The part of a method, or of maps, on some of the images."""
        parts = images.image_parts
        whole = fingerprint(
            (
                *(self.networks, source, images.x.contiguous(), images.explained, images.judged, images.masks),
                *(() if parts is None else (parts.masks.contiguous(), parts.without.contiguous())),
            )
        )
        title = re.sub("[^a-z0-9]+", "-", name.lower())[:40].strip("-")
        return Part(self.folder / f"{title}-{whole[:40]}.json", whole, len(images))


class Part:
    """Final: the scores of one method on some images.

    Args:
        path: The file.
        fingerprint: That of the method with its options, the network, and the images with what is explained.
        n: The number of images.

    Raises:
        ResultError: The file is damaged, or holds the scores of something else.
    """

    def __init__(self, path: Path, fingerprint: str, n: int) -> None:
        self.path, self.fingerprint, self.n = path, fingerprint, n
        self.seconds = float("nan")
        self._scores: dict[str, Mapping[str, Any]] = {}
        if path.is_file():
            self._read()

    def score(self, metric: Metric) -> Tensor | None:
        """(n,), float64: the scores by a metric with its options; None if there are none yet."""
        entry = self._scores.get(fingerprint(metric))
        if entry is None:
            return None
        values = [float("nan") if value is None else value for value in entry["values"]]
        return torch.tensor(values, dtype=torch.float64)

    def keep(self, metric: Metric, values: Tensor, seconds: float) -> None:
        """Write the scores by another metric beside the others. The file is written whole or not at all.

        Args:
            metric: The metric.
            values: (n,), its scores.
            seconds: The processor time of the explanation of one image.
        """
        self.seconds = seconds
        plain = [None if value != value else value for value in values.tolist()]
        self._scores[fingerprint(metric)] = {"metric": repr(metric), "values": plain}
        data = {
            "fingerprint": self.fingerprint,
            "seconds": None if seconds != seconds else seconds,
            "scores": self._scores,
        }
        storage.write(self.path, json.dumps(data).encode())

    def _read(self) -> None:
        with storage.readable(self.path):
            data = json.loads(self.path.read_text(encoding="utf-8"))
            if data["fingerprint"] != self.fingerprint:
                raise ResultError(f"{self.path} was renamed: it holds scores of something else; delete it.")
            scores = dict(data["scores"])
            if any(len(entry["values"]) != self.n for entry in scores.values()):
                raise ResultError(f"{self.path} is damaged; delete it.")
            self._scores = scores
            self.seconds = float("nan") if data["seconds"] is None else float(data["seconds"])


def _contents(flat: FlatModel) -> tuple[Any, ...]:
    program = fast(flat).program
    return program.steps, program.inputs, program.outputs, flat.adapter
