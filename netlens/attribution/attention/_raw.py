"""The raw attention of one layer."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor

from netlens.attribution.attention._maps import attention_maps
from netlens.attribution.attention._method import AttentionMethod, attention_at
from netlens.attribution.attention._tokens import Tokens
from netlens.attribution.method import register
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.bundle import is_input
from netlens.objectives import Objective
from netlens.options import option


@register
@dataclass(frozen=True)
class AttentionMap(AttentionMethod):
    """How much attention each token gets in one layer, whatever the objective.

    `values` (N, 1, h, w) are the attention of the class token to each token. Without a class token, they are the mean
    over all queries; with windows, over the queries of the same window. An attention lies in [0, 1], and the attention
    of one query to all tokens sums to 1.

    `layer` is the index of an attention map among all (by default the last), or its key, glob or path (of several
    matches, the last). `head` is one head; None means the mean over heads. The maps themselves, (N, heads, T, T), are
    layers: `flat.record(x, layers="*softmax*")`.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
    """

    layer: int | str = option(-1, help="The attention map: its index among all, or its key, glob or path.")
    head: int | None = option(None, least=0, help="One head; none for the mean over heads.")
    reads_objective = False

    def at(self, flat: FlatModel, x: Tensor, wrt: str) -> str:
        maps = attention_maps(flat, x=x)
        if not is_input(flat, wrt):
            if wrt not in maps:
                raise NotApplicable(f"{wrt!r} is no attention map; those of {flat.name} are {', '.join(maps)}.")
            return wrt
        if isinstance(self.layer, int):
            if not -len(maps) <= self.layer < len(maps):
                raise NetLensError(f"{flat.name} has {len(maps)} attention maps, and no layer {self.layer} of them.")
            return maps[self.layer]
        path = self.layer
        matching = [key for key in maps if fnmatchcase(key, path) or key.startswith(f"{path}.")]
        if not matching:
            raise NetLensError(f"{self.layer!r} names no attention map; those of {flat.name} are {', '.join(maps)}.")
        return matching[-1]

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        key = self.at(flat, x, wrt)
        (attention,) = attention_at(flat, x, [key])
        heads = attention.shape[2]
        if self.head is not None and not 0 <= self.head < heads:
            raise NetLensError(f"{key!r} has no head {self.head}; its heads are 0 to {heads - 1}.")
        fused = attention.mean(2) if self.head is None else attention[:, :, self.head]
        tokens = Tokens.of(flat, x, key, fused.shape[1], fused.shape[-1])
        return tokens.laid_out(tokens.queried(fused))
