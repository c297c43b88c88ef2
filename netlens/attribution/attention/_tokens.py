"""The positions of the tokens of an attention map in the image, and the class token."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from netlens.attribution.activations import activations_of
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.grid import followed_for


@dataclass(frozen=True)
class Tokens:
    """The positions of tokens in the image, and the class token if a token has no position."""

    places: Tensor  # (h, w): the token at each position; with several windows, tokens are counted through all windows
    summary: int | None

    @classmethod
    def of(cls, flat: FlatModel, x: Tensor, key: str, windows: int, tokens: int) -> Tokens:
        """The tokens of the attention map at `key`, which has `windows` windows per sample of `tokens` tokens each.

        The adapter says where they lie. Without an adapter, the layers tell which part of the image each token comes
        from. Tokens of no part (class token, distillation token, registers) have no position.
        """
        cut = flat.adapter.windows(flat, key) if flat.adapter.windows is not None else None
        laid_out = _in_windows(flat, x, cut) if cut is not None else _by_adapter(flat, key, tokens)
        places = _by_layers(flat, x, key, windows * tokens) if laid_out is None else laid_out
        if places is None:
            within = f" in {windows} windows" if windows > 1 else ""
            raise NotApplicable(
                f"the {tokens} tokens{within} of {key!r} of {flat.name} do not form a grid over the input "
                f"{tuple(x.shape)}; give an Adapter(grid=...) that lays tokens (N, T, C) out as maps (N, C, h, w)."
            )
        # a window that reaches past the map has tokens that come from no part, but they are no summary
        placeless = sorted(set(range(windows * tokens)) - set(places.flatten().tolist())) if windows == 1 else []
        return cls(places.to(x.device), placeless[0] if placeless else None)

    def queried(self, relevance: Tensor) -> Tensor:
        """(n, windows, T): the row of the class token in (n, windows, T, T), or the mean over all queries."""
        return relevance.mean(-2) if self.summary is None else relevance[..., self.summary, :]

    def laid_out(self, values: Tensor) -> Tensor:
        """(n, windows, T) as maps (n, 1, h, w)."""
        return values.flatten(1)[:, self.places][:, None]


def _by_adapter(flat: FlatModel, key: str, tokens: int) -> Tensor | None:
    """The positions of tokens, by an adapter that lays out the numbers of the tokens. None if the adapter cannot."""
    if flat.adapter.grid is None:
        return None
    numbers = torch.arange(tokens, dtype=torch.float64).view(1, tokens, 1)
    maps = flat.adapter.grid(flat, key, numbers)
    return None if maps is None or maps.ndim != 4 else maps[0, 0].long()


def _by_layers(flat: FlatModel, x: Tensor, key: str, tokens: int) -> Tensor | None:
    """The positions of tokens, counted through all windows, as the layers tell them. None if they tell no grid."""
    layout = followed_for(flat, x).grid(key)
    if layout is None or prod(layout.shape[dim] for dim in layout.dims) != tokens:
        return None
    order = torch.arange(tokens) if layout.order is None else layout.order
    return order.view(layout.sizes)


def _in_windows(flat: FlatModel, x: Tensor, cut: str) -> Tensor:
    """(h, w): the index of each position in the windows, from a run of the layer `cut` on a map of position numbers."""
    step = next(step for step in flat.program.steps if step.key == cut)
    _, height, width, _ = activations_of(flat, x, [step.reads[0]])[step.reads[0]].shape
    # numbers start at 1, because a window that reaches past the map is padded with 0
    numbers = torch.arange(1, height * width + 1, dtype=torch.float64).view(1, height, width, 1)
    source = step.layer(numbers).flatten().long()
    places = torch.empty(height * width + 1, dtype=torch.long)
    places[source] = torch.arange(len(source))
    return places[1:].view(height, width)
