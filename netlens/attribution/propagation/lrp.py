"""Layer-wise relevance propagation: the gradient's way back, taken by relevance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from netlens.attribution.engine import gradients_of
from netlens.attribution.method import Method, register
from netlens.fast.folded import fast
from netlens.fast.folding import folded
from netlens.flat import FlatModel, Rules
from netlens.objectives import Objective, Record
from netlens.options import option
from netlens.rules.composites import ATTENTION, COMPOSITES, Composite


@register
@dataclass(frozen=True)
class LRP(Method):
    """Layer-wise relevance propagation: the objective's value, shared out layer by layer.

    `values` has the shape of `wrt`. At the layers that the objective reads, relevance is the activation times the
    gradient of the objective, so that it sums to a logit, or a difference of logits. Each layer then hands it on by its
    rule. Without biases, and with epsilons of 0, no rule but that of softmax (and z⁺ and α-β where a sign is missing)
    loses any. Batch norm is folded into the convolution before it.

    composite: which layer follows which rule: "epsilon", "epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box",
    "epsilon_alpha2_beta1", or one with options of its own, from `netlens.rules`. epsilon, attention: these options of
    the composite, where not None. rules: what chosen layers do instead, by type, key, path or glob:

    >>> from torch import nn
    >>> from netlens.rules import relevance
    >>> method = LRP("epsilon_plus", epsilon=0.25, rules={"features.0": relevance.flat(), nn.Linear: relevance.gamma()})

    Bach et al. 2015, https://doi.org/10.1371/journal.pone.0130140; for attention Achtibat et al. 2024,
    https://arxiv.org/abs/2402.05602
    """

    reduction = "signed"

    composite: str | Composite = option(
        "epsilon_plus", choices=COMPOSITES, help="Which layer follows which rule: by name, or one with options."
    )
    epsilon: float | None = option(None, least=0, help="Epsilon of the composite; none for its own.")
    attention: str | None = option(
        None, choices=ATTENTION, help="Where the relevance of attention goes; none for the composite's own."
    )
    rules: Any = option(None, help="What chosen layers do instead: a mapping from layers to rules, or Rules.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rules is not None and not isinstance(self.rules, Rules):
            object.__setattr__(self, "rules", Rules(self.rules, name="rules"))

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        return self.relevances(flat, x, objective, (wrt,))[wrt]

    def relevances(self, flat: FlatModel, x: Tensor, objective: Objective, layers: Sequence[str]) -> dict[str, Tensor]:
        """The relevance at each of these layers (and "input"), in one pass."""
        keys = flat.keys_of(layers)
        with torch.autocast(x.device.type, enabled=False):  # it divides by activations, which half precision rounds off
            _, found = gradients_of(self.view(flat, flat.keys_of(objective.layers)), x, _Share(objective), keys)
        return dict(zip(keys, found, strict=True))

    def view(self, flat: FlatModel, keep: Sequence[str] = ()) -> FlatModel:
        """The network with batch norm folded, in which the gradient is relevance; hooks read it as any gradient.

        keep: keys of which an objective reads the activations, which therefore stay as they are.
        """
        chosen = COMPOSITES[self.composite]() if isinstance(self.composite, str) else self.composite
        options: dict[str, Any] = {"epsilon": self.epsilon, "attention": self.attention}
        chosen = replace(chosen, **{name: value for name, value in options.items() if value is not None})
        twin = fast(flat, keep)
        if twin is flat:  # hooks listen to it, which must not change what relevance is
            twin = folded(flat, keep)
        view = twin.with_rules(chosen(twin))
        return view if self.rules is None else view.with_rules(self.rules)


@dataclass(frozen=True, repr=False)
class _Share(Objective):
    """An objective whose gradient at each layer that it reads is what that layer contributes: activation x gradient."""

    objective: Objective

    @property
    def layers(self) -> tuple[str, ...]:
        return self.objective.layers

    def __call__(self, record: Record) -> Tensor:
        read = set(record.flat.keys_of(self.layers))
        values = {
            key: pytree.tree_map_only(Tensor, _contributing, value) if key in read else value
            for key, value in record.values.items()
        }
        return self.objective(Record(record.flat, values))

    def take(self, samples: Sequence[int]) -> Objective:
        return _Share(self.objective.take(samples))

    @property
    def splits(self) -> bool:
        return self.objective.splits

    def targets(self, flat: FlatModel, n: int) -> tuple[int, ...] | None:
        return self.objective.targets(flat, n)

    def __repr__(self) -> str:
        return repr(self.objective)


def _contributing(value: Tensor) -> Tensor:
    return _Contribution.apply(value) if value.is_floating_point() else value


class _Contribution(torch.autograd.Function):
    """The value itself, whose gradient is multiplied by it on the way back."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * ctx.saved_tensors[0]
