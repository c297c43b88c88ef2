"""What the attention methods share: their values are maps on the grid of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from netlens.attribution.activations import activations_of
from netlens.attribution.attention._maps import attention_maps, by_head
from netlens.attribution.method import Method, Needs
from netlens.errors import NotApplicable
from netlens.flat import FlatModel


@dataclass(frozen=True)
class AttentionMethod(Method):
    """Abstract: a method whose `values` (N, 1, h, w) lie on the grid of tokens.

    They show the row of the class token as the query. Without a class token, they are the mean over all queries.
    """

    reduction = "cam"
    gives_maps = True
    needs: ClassVar[Needs | None] = "attention"
    in_parts = True

    def at(self, flat: FlatModel, x: Tensor, wrt: str) -> str:
        attention_maps(flat, x=x)  # a network without attention is refused before it runs
        return wrt


def attention_at(flat: FlatModel, x: Tensor, keys: list[str]) -> list[Tensor]:
    """The attention maps at these keys, each (n, windows, heads, T, T)."""
    activations = activations_of(flat, x, keys)
    return [by_head(key, activations[key], len(x)).detach() for key in keys]


def chained(flat: FlatModel, keys: list[str], maps: list[Tensor]) -> list[Tensor]:
    """Maps (n, heads, T, T) that can be multiplied, because the tokens of all maps are the same."""
    shapes = {tuple(attention.shape[i] for i in (1, 3)) for attention in maps}
    if len(shapes) > 1 or maps[0].shape[1] > 1:
        raise NotApplicable(
            f"a rollout follows tokens from attention to attention, but those of {flat.name} are regrouped between "
            f"{keys[0]!r} and {keys[-1]!r} (windows, or other tokens); choose AttentionMap or LeGrad."
        )
    return [attention[:, 0] for attention in maps]
