"""Parameterizations that wrap another one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from netlens.visualization.params._base import Param
from netlens.visualization.params.color import Squash


class Wrapped(Param):
    """Abstract: a parameterization that wraps another one, and uses its methods where it does not override them."""

    @property
    @abstractmethod
    def inner(self) -> Param:
        """The wrapped parameterization."""

    @property
    def extent(self) -> tuple[int, int]:
        return self.inner.extent

    @property
    def batch(self) -> int:
        return self.inner.batch

    @property
    def channels(self) -> int:
        return self.inner.channels

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.inner.seeds

    @property
    def decorrelate(self) -> bool:
        return self.inner.decorrelate

    @property
    def squash(self) -> Squash:
        return self.inner.squash

    @property
    def shared(self) -> bool:
        return self.inner.shared

    def take(self, rows: range) -> Param:
        return self.inner.take(rows)

    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        return self.inner.start(device, dtype)

    def values(self, parameters: Sequence[Tensor]) -> Tensor:
        return self.inner.values(parameters)
