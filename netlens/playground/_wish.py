"""Wish: what is to be drawn, as the fields of the tab Dream and draw say it."""

from __future__ import annotations

from dataclasses import dataclass

from netlens.options import checked

CHANNEL, CLASS, DREAM, INVERSION = WHATS = ("channel", "class", "dream", "inversion")
"""What can be drawn."""
EXCITE, INHIBIT = SIGNS = ("excites it", "inhibits it")


@dataclass(frozen=True)
class Wish:
    """What is to be drawn.

    Args:
        what: One of `WHATS`.
        layer: The layer of the channel, of the dream or of the inversion.
        channel: The index of the channel.
        sign: Whether the picture excites the channel or inhibits it, one of `SIGNS`.
        target: The class, such as "88: macaw".
        picture: The picture to dream on, or to invert, by its name.
        options: The options that differ from their defaults, as `netlens.playground._texts.written` writes them.
    """

    what: str
    layer: str = ""
    channel: int = 0
    sign: str = EXCITE
    target: str = ""
    picture: str = ""
    options: str = ""

    def __post_init__(self) -> None:
        checked("what is drawn", self.what, str, choices=WHATS)
        checked("the sign of the picture", self.sign, str, choices=SIGNS)

    @property
    def form(self) -> str:
        """The name of the form of its options."""
        return {CHANNEL: "draw", CLASS: "draw", DREAM: "dream", INVERSION: "invert"}[self.what]

    @property
    def title(self) -> str:
        """It in a few words."""
        negative = " negative" if self.sign == INHIBIT else ""
        return {
            CHANNEL: f"{self.layer}:{self.channel}{negative}",
            CLASS: self.target,
            DREAM: f"dream of {self.layer} on {self.picture}",
            INVERSION: f"{self.picture} from {self.layer}",
        }[self.what]
