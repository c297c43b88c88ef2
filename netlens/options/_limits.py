"""Limits: what numbers and names may be."""

from __future__ import annotations

from dataclasses import dataclass

Number = int | float


@dataclass(frozen=True)
class Limits:
    """What numbers and names may be, also those in a list.

    least, most: bounds that belong to the range. above, below: bounds that do not. choices: all names that there are.
    """

    least: Number | None = None
    most: Number | None = None
    above: Number | None = None
    below: Number | None = None
    choices: tuple[str, ...] = ()

    def hold(self, number: Number) -> bool:
        """Whether a number lies within the bounds."""
        return (
            (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        low = "" if self.least is None else f"at least {self.least:,}"
        low = low if self.above is None else f"above {self.above:,}"
        high = "" if self.most is None else f"at most {self.most:,}"
        high = high if self.below is None else f"below {self.below:,}"
        if self.least is not None and self.most is not None:
            return f"{self.least:,} to {self.most:,}"
        return " and ".join(part for part in (low, high) if part)

    @property
    def phrase(self) -> str:
        """The bounds as they follow the words "a number"."""
        text = str(self)
        if not text:
            return ""
        if self.least is not None and self.most is not None:
            return f" from {text}"
        return f" {text}" if text.startswith(("above", "below")) else f" of {text}"


ANY = Limits()
