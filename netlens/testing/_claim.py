"""A claim: a number for each image, its bound, and pictures. Settling it raises, saves and writes down."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import Literal, final

import torch
from PIL import Image
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.show import Tile, arranged
from netlens.testing._ledger import Entry, View, current

Over = Literal["each", "mean"]
"""Whether the bound is one for each image, or for the mean over all images."""

HIDDEN = methodcaller("errisinstance", AssertionError)
"""As `__tracebackhide__` of a function: pytest shows the line of the test where a claim fails, and no line in here."""

_DRAWN = 4  # images
_NAMED = 5  # images, in a message
_SIDE = 256  # the longer side of a picture on a page, in pixels


@final
@dataclass(frozen=True, eq=False)
class Claim:
    """A claim about some images.

    Args:
        name: The name of the assertion.
        sentence: What it claims, in one sentence without a period.
        quantity: What is measured.
        values: (N,), the measured number of each image; NaN, which holds nothing, where it has no meaning.
        bound: The least or the largest number that is wanted.
        sign: "≥" if the bound is the least number, "≤" if it is the largest.
        over: Whether each image must keep the bound, or their mean.
        subjects: (N,), what is explained in each image.
        notes: (N,), more about each image; may be empty.
        rows: Draws some images, one row each.
        look: What to look at in these pictures if the claim does not hold.
    """

    name: str
    sentence: str
    quantity: str
    values: Tensor
    bound: float
    sign: Literal["≥", "≤"]
    over: Over
    subjects: Sequence[str]
    notes: Sequence[str]
    rows: Callable[[Sequence[int]], list[list[Tile]]]
    look: str

    @property
    def within(self) -> Tensor:
        """(N,), bool: which images keep the bound."""
        return self._keeps(self.values)

    @property
    def holds(self) -> bool:
        """Whether the claim holds."""
        return bool(self._keeps(self.values.mean()) if self.over == "mean" else self.within.all())

    def _keeps(self, values: Tensor) -> Tensor:
        return values >= self.bound if self.sign == "≥" else values <= self.bound  # False for NaN

    @property
    def worst(self) -> list[int]:
        """All images, first those that are farthest on the wrong side of the bound."""
        margin = self.values if self.sign == "≥" else -self.values
        return [int(i) for i in margin.nan_to_num(nan=-torch.inf).argsort(stable=True)]

    def settle(self) -> None:
        """Write the claim down, and raise if it does not hold.

        Raises:
            AssertionError: The claim does not hold. The message says the numbers and where the picture is.
        """
        __tracebackhide__ = HIDDEN
        ledger, holds = current(), self.holds
        if holds and not ledger.draws:
            return
        rows, why = self._drawn()
        saved = ""
        if rows and not holds:
            try:
                saved = str(ledger.save(self.name.removeprefix("assert_"), arranged(rows).png()))
            except OSError as error:
                why = f"the picture could not be saved ({error.strerror})"
        number, wanted, detail = self._measured()
        views = tuple(tuple(_view(tile) for tile in row) for row in rows) if ledger.draws else ()
        ledger.entries.append(
            Entry(self.name, self.sentence, self.quantity, holds, number, wanted, detail, views, self.look, saved, why)
        )
        if not holds:
            raise AssertionError(self._message(number, wanted, detail, saved, why))

    def _drawn(self) -> tuple[list[list[Tile]], str]:
        """The pictures of the worst images; or none, and why."""
        try:
            return self.rows(self.worst[:_DRAWN]), ""
        except NotApplicable as error:  # an input that is no picture
            return [], f"there is no picture: {error}"

    def _measured(self) -> tuple[str, str, str]:
        """The measured number, the wanted one, and of what the measured one is."""
        worst = self.worst[0]
        number = float(self.values.mean() if self.over == "mean" else self.values[worst])
        measured, bound = told_apart(number, self.bound)
        wanted = f"{'at least' if self.sign == '≥' else 'at most'} {bound}"
        if self.over == "mean":
            least, most = float(self.values.min()), float(self.values.max())
            return measured, wanted, f"the mean over {_images(len(self.values))}, from {least:.3g} to {most:.3g}"
        if len(self.values) == 1:
            return measured, wanted, self._subject_text(0)
        return measured, wanted, f"the worst of {_images(len(self.values))}: image {worst}, {self._subject_text(worst)}"

    def _subject_text(self, image: int) -> str:
        note = self.notes[image]
        return f"{self.subjects[image]} ({note})" if note else self.subjects[image]

    def _message(self, number: str, wanted: str, detail: str, saved: str, why: str) -> str:
        lines = [
            f"{self.name}: it is not so that {self.sentence}.",
            f"  measured  {number}: {detail}",
            f"  wanted    {wanted}: {self.quantity}",
        ]
        wrong = int((~self.within).sum())
        if self.over == "each" and len(self.values) > 1:
            others = ", ".join(f"{i} ({float(self.values[i]):.3g})" for i in self.worst[:_NAMED] if not self.within[i])
            more = f", and {wrong - _NAMED} more" if wrong > _NAMED else ""
            lines.append(f"  images    {wrong} of {len(self.values)}: {others}{more}")
        lines.append(f"  look at   {saved or why}")
        lines.append(f"            {self.look}")
        return "\n".join(lines)


def told_apart(number: float, bound: float) -> tuple[str, str]:
    """Both numbers, with as many digits as it takes to tell them apart.

    Example:
        >>> told_apart(0.31, 0.5), told_apart(0.49999, 0.5)
        (('0.31', '0.5'), ('0.49999', '0.5'))
    """
    for digits in (3, 5, 8, 12, 17):
        texts = f"{number:.{digits}g}", f"{bound:.{digits}g}"
        if texts[0] != texts[1] or number == bound:
            break
    return texts


def _images(number: int) -> str:
    return f"{number} image{'' if number == 1 else 's'}"


def _view(tile: Tile) -> View:
    """A tile as a small picture whose address holds its data."""
    image = Image.fromarray(tile.pixels[..., :3])
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    src = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return View(src, image.width, image.height, tile.title, tile.subtitle)
