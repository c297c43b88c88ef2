"""Limits: which numbers and names an option accepts."""

from __future__ import annotations

from dataclasses import dataclass

Number = int | float
FAR = 1_000_000
"""Upper bounds from here on only keep mistakes out, so a help leaves them out; an error says them."""


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
        """The bounds that a person may meet, for a help or a table; "" if there are none.

        >>> str(Limits(least=0, most=1)), str(Limits(least=0, most=10**12))
        ('0 to 1', 'at least 0')
        """
        return self._words(
            None if self.most is None or self.most >= FAR else self.most,
            None if self.below is None or self.below >= FAR else self.below,
        )

    @property
    def phrase(self) -> str:
        """All bounds in words that follow "a number", for the error of a person who has met one."""
        text = self._words(self.most, self.below)
        if not text:
            return ""
        if self.least is not None and self.most is not None:
            return f" from {text}"
        return f" {text}" if text.startswith(("above", "below")) else f" of {text}"

    def _words(self, most: Number | None, below: Number | None) -> str:
        low = "" if self.least is None else f"at least {self.least:,}"
        low = low if self.above is None else f"above {self.above:,}"
        high = "" if most is None else f"at most {most:,}"
        high = high if below is None else f"below {below:,}"
        if self.least is not None and most is not None:
            return f"{self.least:,} to {most:,}"
        return " and ".join(part for part in (low, high) if part)


ANY = Limits()
