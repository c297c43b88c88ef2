"""See: what the tab Look inside is about, as a text that an address can hold."""

from __future__ import annotations

from dataclasses import dataclass

from netlens.errors import NetLensError


@dataclass(frozen=True)
class See:
    """A layer, one of its channels, or what it sees at a place of the picture.

    Args:
        layer: The key of the layer.
        channel: The channel.
        at: The place, as shares of the width and the height.

    Example:
        >>> str(See("stem.0")), str(See("stem.0", channel=3)), str(See("stem.0", at=(0.25, 0.5)))
        ('stem.0', 'stem.0:3', 'stem.0@0.25,0.5')
        >>> See.of("stem.0:3")
        See(layer='stem.0', channel=3, at=None)
    """

    layer: str
    channel: int | None = None
    at: tuple[float, float] | None = None

    @classmethod
    def of(cls, text: str) -> See:
        """The inverse of `str`.

        Raises:
            NetLensError: The text names no channel or place.
        """
        layer, mark, rest = text.partition("@")
        if mark:
            try:
                across, down = (min(max(float(share), 0.0), 1.0) for share in rest.split(","))
            except ValueError:
                raise NetLensError(f"{rest[:40]!r} is no place; write it as shares, such as 0.25,0.5.") from None
            return cls(layer, at=(across, down))
        layer, mark, rest = text.partition(":")
        if mark and not (rest.isdecimal() and rest.isascii()):
            raise NetLensError(f"{rest[:40]!r} is no channel; write its number.")
        return cls(layer, channel=int(rest[:9]) if mark else None)

    def __str__(self) -> str:
        if self.at is not None:
            return f"{self.layer}@{self.at[0]:.4g},{self.at[1]:.4g}"
        return self.layer if self.channel is None else f"{self.layer}:{self.channel}"
