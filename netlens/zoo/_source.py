"""What a source of networks is."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn

from netlens.classes import ClassNames
from netlens.preprocessing import Preprocessing
from netlens.weights import PRETRAINED, RANDOM

Weights = str | os.PathLike[str]
WORDS = (PRETRAINED, RANDOM)
"""The words for weights that each source knows."""


@dataclass(frozen=True)
class Opened:
    """A network in eval mode, with what its source knows of its weights. What is None, its adapter may know.

    Args:
        network: The network.
        preprocessing: How an image becomes its input.
        classes: The names of its classes.
        head: The number of classes, if the file of the weights has changed it.
    """

    network: nn.Module
    preprocessing: Preprocessing | None = None
    classes: ClassNames | None = None
    head: int | None = None


class Source(ABC):
    """A place where networks come from. Names tell which source has a network."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether a name is one of this source."""

    @abstractmethod
    def open(self, name: str, weights: Weights) -> Opened:
        """The network of a name with its weights: "pretrained", "random" or a file.

        Raises:
            WeightsError: There is no such network, or its weights cannot be had or do not fit.
        """

    @abstractmethod
    def check(self, name: str, weights: Weights) -> None:
        """Raise `WeightsError` for what can be known to be wrong before the network is built."""


def one_line(error: BaseException) -> str:
    """The first sentence of an error of another library, in one line."""
    return " ".join(str(error).split())[:300].rstrip(".")
