"""Layer-wise relevance propagation: relevance takes the place of the gradient on its way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from netlens.attribution.engine import gradients_of
from netlens.attribution.method import Method, register
from netlens.fast import fast, folded
from netlens.flat import FlatModel, Rules
from netlens.objectives import Objective, Record
from netlens.options import option
from netlens.rules.composites import COMPOSITES, Attention, Composite


@register
@dataclass(frozen=True)
class LRP(Method):
    """Layer-wise relevance propagation: the value of the objective, shared among the inputs of each layer in turn.

    `values` are relevances. They have the shape of `wrt` and the unit of the objective. At the layers that the
    objective reads, relevance is the activation times the gradient of the objective, so it sums to a logit, or to a
    difference of logits. Each layer then shares it among its inputs by a rule. Without biases and with epsilons of 0,
    the sum stays the same, except for the rule of softmax, and for z⁺ and α-β if a sign is missing. Batch norm is
    folded into the convolution before it.

    `composite` says which layer follows which rule: "epsilon", "epsilon_plus", "epsilon_plus_flat",
    "epsilon_gamma_box", "epsilon_alpha2_beta1", or a composite of `netlens.rules` with its own options. `epsilon` and
    `attention` replace these options of the composite, unless they are None. `rules` replaces the rules of chosen
    layers, by type, key, path or glob:

    >>> from torch import nn
    >>> from netlens.rules import relevance
    >>> method = LRP("epsilon_plus", epsilon=0.25, rules={"features.0": relevance.flat(), nn.Linear: relevance.gamma()})

    Bach et al. 2015, https://doi.org/10.1371/journal.pone.0130140; for attention Achtibat et al. 2024,
    https://arxiv.org/abs/2402.05602
    """

    reduction = "signed"
    linear = True

    composite: str | Composite = option(
        "epsilon_plus", choices=COMPOSITES, help="Which layer follows which rule: a name, or a composite with options."
    )
    epsilon: float | None = option(None, least=0, help="Epsilon; none for that of the composite.")
    attention: Attention | None = option(
        None, help="Where the relevance of attention goes; none for that of the composite."
    )
    rules: Any = option(None, help="Rules of chosen layers instead: a mapping from layers to rules, or Rules.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rules is not None and not isinstance(self.rules, Rules):
            object.__setattr__(self, "rules", Rules(self.rules, name="rules"))

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        return self.relevances(flat, x, objective, (wrt,))[wrt]

    def relevances(self, flat: FlatModel, x: Tensor, objective: Objective, layers: Sequence[str]) -> dict[str, Tensor]:
        """The relevance at each of these layers (and "input"), in one pass."""
        keys = flat.keys_of(layers)
        with torch.autocast(x.device.type, enabled=False):  # divisions by activations need more than half precision
            _, relevances = gradients_of(self.view(flat, flat.keys_of(objective.layers)), x, _Share(objective), keys)
        return dict(zip(keys, relevances, strict=True))

    def view(self, flat: FlatModel, keep: Sequence[str] = ()) -> FlatModel:
        """The network with folded batch norm whose gradient is relevance. Hooks read it like any gradient.

        `keep` are the keys whose activations an objective reads. They stay as they are.
        """
        composite = COMPOSITES[self.composite]() if isinstance(self.composite, str) else self.composite
        options: dict[str, Any] = {"epsilon": self.epsilon, "attention": self.attention}
        composite = replace(composite, **{name: value for name, value in options.items() if value is not None})
        twin = fast(flat, keep)
        if twin is flat:  # hooks listen to the network, and must not change the relevance
            twin = folded(flat, keep)
        view = twin.with_rules(composite(twin))
        return view if self.rules is None else view.with_rules(self.rules)


@dataclass(frozen=True, repr=False)
class _Share(Objective):
    """An objective whose gradient at each layer that it reads is the layer's contribution: activation * gradient."""

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
    """The identity, which multiplies the gradient by the value on the way back."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        relevance: Tensor = gradients[0] * ctx.saved_tensors[0]
        return relevance
