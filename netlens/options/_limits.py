"""Limits: which numbers and names an option accepts."""

from __future__ import annotations

from dataclasses import dataclass

Number = int | float


@dataclass(frozen=True)
class Limits:
    """The limits of a number or a name, or of each number or name in a list.

    The bounds `least` and `most` are allowed themselves; `above` and `below` are not. `choices` are all allowed names.
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
        """The bounds in words that follow "a number"."""
        text = str(self)
        if not text:
            return ""
        if self.least is not None and self.most is not None:
            return f" from {text}"
        return f" {text}" if text.startswith(("above", "below")) else f" of {text}"


ANY = Limits()
