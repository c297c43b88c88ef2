"""Pages: the templates, filled. All texts are escaped by Jinja: names of files and classes may hold anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from netlens import files, pages
from netlens.report._channels import PAGE, Layer
from netlens.report._choice import ChosenClass, ChosenLoss, ChosenPair
from netlens.report._explained import Explained
from netlens.report._sections import (
    ClassRow,
    ClassSection,
    Matrix,
    PairSection,
    Sections,
    Sight,
    last_part,
    reason_without_folder,
)
from netlens.report._svg import number, reliability
from netlens.survey import SurveyResult

GENERATOR = "netlens report"
"""What the pages say of who made them."""
_TEMPLATES = Path(__file__).with_name("pages")
_LISTED = 500  # unreadable files that are named


class Facts:
    """Everything that the pages say.

    Args:
        title: What the survey is about.
        survey: The survey.
    """

    def __init__(self, title: str, survey: SurveyResult) -> None:
        self.title = title
        self.network = Path(survey.network).name if Path(survey.network).is_absolute() else survey.network
        self.samples = len(survey)
        self.unreadable = [
            (one.name, reason_without_folder(one.name, one.reason)) for one in survey.unreadable[:_LISTED]
        ]
        self.unreadable_count = len(survey.unreadable)
        self.layers: list[Layer] = []
        self.labeled = 0
        self.has_predictions = False
        self.top1 = self.top5 = 0
        self.per_class: list[ClassRow] = []
        self.predicted_counts: list[tuple[str, int]] = []
        self.matrix: Matrix | None = None
        self.calibration: Any = None
        self.calibration_error = 0.0
        self.losses: list[Sight] = []
        self.pairs: list[PairSection] = []
        self.classes: list[ClassSection] = []
        self.class_count = 0

    def add_predictions(
        self,
        sections: Sections,
        losses: Sequence[ChosenLoss],
        pairs: Sequence[ChosenPair],
        classes: Sequence[ChosenClass],
    ) -> None:
        """Add what follows from the predictions."""
        predicted = sections.predicted
        self.has_predictions = True
        self.class_count = predicted.classes
        self.labeled = int(predicted.labeled.sum())
        if self.labeled:
            self.top1, self.top5 = (round(share * self.labeled) for share in (predicted.top1, predicted.top5))
            self.per_class = sections.per_class()
            self.matrix = sections.matrix()
            calibration = predicted.calibration()
            self.calibration, self.calibration_error = reliability(calibration), calibration.error
        self.losses = sections.losses(losses)
        self.pairs = sections.pairs(pairs)
        self.classes = sections.classes(classes)


def write_pages(root: Path, facts: Facts, explained: Explained, options: Mapping[str, Any]) -> None:
    """Write the first page, and pages with the channels of each layer.

    Args:
        root: The folder.
        facts: What the pages say.
        explained: What is known of the heat maps.
        options: The options of the report.
    """
    environment = pages.environment(_TEMPLATES, GENERATOR)
    environment.filters |= {"last_part": last_part, "number": number, "page": page_of}
    common = {
        "facts": facts,
        "options": options,
        "refused": explained.refused,
        "per_page": PAGE,
    }
    _write(root / "index.html", environment.get_template("index.html").render(common))
    template = environment.get_template("layer.html")
    for layer in facts.layers:
        count = max(1, -(-len(layer.channels) // PAGE)) if layer.channels else 0
        for page in range(count):
            channels = layer.channels[page * PAGE : (page + 1) * PAGE]
            details = {"layer": layer, "channels": channels, "page": page, "pages": count}
            _write(root / page_of(layer, page), template.render(common, **details))


def page_of(layer: Layer, page: int) -> str:
    """The file of one page of a layer; `page` counts from 0."""
    return f"layer-{layer.number}.html" if page == 0 else f"layer-{layer.number}-{page + 1}.html"


def _write(path: Path, text: str) -> None:
    files.write(path, text.encode("utf-8", "replace"))  # the name of a file may hold bytes that are no UTF-8
