"""What pictures that start from noise have in common: how they are made, their size, steps and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from netlens.options import check, option, options_of
from netlens.visualization._optvis import MOST_STEPS, check_options
from netlens.visualization.params import Fourier, Sized

H = TypeVar("H", bound="FromNoise")


@dataclass(frozen=True)
class FromNoise:
    """Abstract: the options of a picture that starts from noise."""

    param: type[Sized] | Sized = option(Fourier, help="What makes the picture.")
    size: int | None = option(None, least=1, help="The longer side in pixels; none for the image's own.")
    steps: int = option(256, least=1, most=MOST_STEPS, help="Steps of the optimization.")
    seed: int = option(0, least=0, help="Seed of the noise that it starts from.")

    def __post_init__(self) -> None:
        check(self)


def split_options(cls: type[H], options: Mapping[str, Any]) -> tuple[H, dict[str, Any]]:
    """Make an instance of a class from its options; return it with the options of the renderer."""
    own_names = [one.name for one in options_of(cls)]
    rest = {name: value for name, value in options.items() if name not in own_names}
    check_options(rest)
    return cls(**{name: value for name, value in options.items() if name in own_names}), rest
