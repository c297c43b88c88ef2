"""A report: the pages of a survey, made in a folder of their own that appears when it is complete."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from netlens.attribution import method_from
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.heatmaps import ResultError
from netlens.options import check, checked, option
from netlens.pages import is_page
from netlens.report import _choice as choice
from netlens.report._album import Album
from netlens.report._channels import Channels, layers_of
from netlens.report._explained import Explained
from netlens.report._pages import GENERATOR, Facts, write_pages
from netlens.report._sections import Sections
from netlens.survey import Predictions, SurveyResult

INDEX = "index.html"


@dataclass(frozen=True)
class Report:
    """What a report shows, and how much of it.

    Example:
        >>> report = Report(losses=12, steps=0)
        >>> report.losses, report.steps
        (12, 0)
    """

    losses: int = option(24, least=0, most=10_000, help="Pictures with the largest losses.")
    pairs: int = option(8, least=0, most=10_000, help="Pairs of classes that are confused most often.")
    examples: int = option(4, least=1, most=100, help="Pictures of each pair and of each class.")
    explained_classes: int = option(
        20, least=0, most=10_000, help="Classes that are looked at; first those that are predicted right least often."
    )
    averaged: int = option(16, least=1, most=1000, help="Pictures of a class whose heat maps are averaged.")
    channels: int = option(12, least=0, most=100_000, help="Channels of each layer; those with the largest variance.")
    steps: int = option(128, least=0, most=10_000, help="Steps of the drawing of a channel; 0 for no drawings.")
    method: str = option("grad_cam", help="The method of the heat maps, with its options; see `netlens methods`.")

    def __post_init__(self) -> None:
        check(self)

    def write(
        self, survey: SurveyResult, flat: FlatModel, folder: str | Path, title: str = "", progress: bool = True
    ) -> Path:
        """Write the pages, and return the first one. The folder appears when all of it is there.

        Args:
            survey: The survey, with its pictures.
            flat: Its network.
            folder: The folder. An earlier report in it is replaced.
            title: What the survey is about; by default the name of the network.
            progress: Whether a terminal shows progress bars.

        Raises:
            NetLensError: The pictures are not known, or the network is not that of the survey.
            ResultError: The folder holds something else, or cannot be written.
        """
        checked("the survey", survey, SurveyResult)
        checked("the network", flat, FlatModel, hint="make it by FlatModel.from_nn_Module")
        if survey.pictures is None:
            raise NetLensError("a survey that was loaded has no pictures; write survey.with_pictures(folder) first.")
        method_from(self.method)  # a wrong name raises here
        with appearing(Path(folder)) as root:
            self._write(survey, flat, root, title if title else survey.network, progress)
        return Path(folder) / INDEX

    def _write(self, survey: SurveyResult, flat: FlatModel, root: Path, title: str, progress: bool) -> None:
        assert survey.pictures is not None
        head = next((question.head for question in survey.questions if isinstance(question, Predictions)), None)
        explained = Explained(flat, survey.pictures, method_from(self.method), head, Album(root))
        silent = None if progress else True
        facts = Facts(title, survey)
        if survey.has_predictions:
            predicted = survey.predictions
            losses = choice.losses_of(survey, predicted, self.losses)
            pairs = choice.pairs_of(predicted, self.pairs, self.examples)
            several = min(self.examples, self.averaged)
            classes = choice.classes_of(predicted, self.explained_classes, self.averaged, several)
            explained.check(predicted, [one.loss.sample for one in losses] or predicted.samples.tolist(), survey.names)
            questions = [(one.loss.sample, target) for one in losses for target in one.targets]
            questions += [(sample, one.pair.predicted) for one in pairs for sample in one.samples]
            shown = {*questions, *((sample, one.index) for one in classes for sample in one.shown)}
            questions = list(
                dict.fromkeys([*questions, *((sample, one.index) for one in classes for sample in one.averaged)])
            )
            with tqdm(total=len(questions), desc="heat maps", unit="map", delay=1, disable=silent, leave=False) as bar:
                explained.prepare(questions, shown, bar.update)
            sections = Sections(survey, predicted, explained)
            facts.add_predictions(sections, losses, pairs, classes)
        names = layers_of(survey)
        with tqdm(desc="channels", unit="channel", delay=1, disable=silent, leave=False) as bar:
            channels = Channels(survey, flat, explained, self.channels, 2 * self.examples, self.steps, bar.update)
            bar.total = sum(len(channels.chosen(name)) for name in names) if self.steps else 0
            facts.layers = [channels.layer(number, name) for number, name in enumerate(names, 1)]
        write_pages(root, facts, explained, asdict(self))


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A new folder, which takes the place of an earlier report after the block, and is deleted if the block fails.

    Raises:
        ResultError: The folder holds something that is no report, or cannot be written.
    """
    target = folder.absolute()
    _check_is_report(folder)
    fresh, old = (target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}.{end}") for end in ("tmp", "old"))
    try:
        fresh.mkdir()
        yield fresh
        if os.path.lexists(target):
            target.rename(old)
        fresh.rename(target)
    except OSError as error:
        raise ResultError(f"{folder} cannot be written ({error.strerror}); choose another folder.") from error
    finally:
        if old.is_dir() and not os.path.lexists(target):
            old.rename(target)  # there is no new report, so the old one stays
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)


def _check_is_report(folder: Path) -> None:
    """Raise if a folder holds something that is no report."""
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    if is_page(folder / INDEX, GENERATOR):
        return
    raise ResultError(f"{folder} holds something else than a report of netlens; move it, or choose another folder.")
