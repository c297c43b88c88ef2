"""Composites: they decide on the graph of the network which layer follows which rule of relevance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.keys import LayerKey
from netlens.flat.layers import Subtract
from netlens.flat.operations import Relevance, innermost
from netlens.flat.rules import Rule, Rules
from netlens.flat.running import Step
from netlens.flat.tracing import AssumptionError
from netlens.memo import Memo
from netlens.options import check, named, option
from netlens.rules import relevance
from netlens.rules._attention_relevance import numerator, softmax, uniform
from netlens.rules._dependence import carrying, is_stepwise
from netlens.rules._relevance_norms import centered_norm
from netlens.rules.pieces import by_pieces
from netlens.rules.relevance_layers import role_of

Attention = Literal["attn_lrp", "constant"]
Gates = Literal["constant", "uniform"]


@dataclass(frozen=True)
class Composite(ABC):
    """Abstract: a composite says which layer follows which rule of relevance.

    As `attention`, "attn_lrp" passes relevance through the softmax to queries and keys (Achtibat et al. 2024,
    https://arxiv.org/abs/2402.05602). "constant" gives all relevance to the values, which conserves it (CP-LRP, Ali et
    al. 2022, https://arxiv.org/abs/2202.07304). As `gates`, "constant" gives the relevance of gated maps to the maps
    (Arras et al. 2017, https://arxiv.org/abs/1706.07206). "uniform" gives half of it to the gate, as AttnLRP does. That
    half grows without bound if the input of the sigmoid is near 0.

    A layer that mixes activations shares relevance by contribution. A layer that only rearranges or selects them (max
    pools too) gives it back to its origin. An activation function passes it. A normalization treats its divisor as a
    constant. Each piece of each step of a recurrent layer follows the rule of its own kind. The composite chooses the
    rules of convolutions and linear layers.
    """

    epsilon: float = option(relevance.STABILIZER, least=0, help="Epsilon of the ε rule in linear layers.")
    stabilizer: float = option(relevance.STABILIZER, least=0, help="Epsilon of all other rules.")
    attention: Attention = option("attn_lrp", help="Whether relevance goes through attention's softmax, or to values.")
    gates: Gates = option("constant", help="Whether gated maps take all relevance, or the gate takes half of it.")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, flat: FlatModel) -> Rules:
        """The rules for a network, by key."""
        return self.rules(flat)

    def rules(self, flat: FlatModel, reads_input: bool = True) -> Rules:
        """The rules for a network, or for the network of a layer's pieces.

        `reads_input` says whether the network reads the input, so that it has first layers.
        """
        takers = _TAKERS.of(flat, (self.gates, self.attention), lambda: self._takers(flat))
        first = first_layers(flat) if reads_input else set()
        rules: dict[LayerKey | tuple[type[nn.Module], ...], Rule] = {}
        for step in flat.program.steps:
            rule = self._rule(flat, step, takers[step.key], step.key in first) if any(takers[step.key]) else None
            if rule is not None and not step.hidden:
                rules[step.key] = rule
        return Rules(rules, name=type(self).__name__)

    @abstractmethod
    def weights(self, flat: FlatModel, step: Step, first: bool) -> Rule:
        """The rule of a convolution or linear layer. `first` says that no other such layer comes before it."""

    def mixes(self, layer: nn.Module, takers: Sequence[bool] | None = None) -> Rule:
        """The rule of other layers that mix activations. `takers` says which of their factors take relevance."""
        return relevance.epsilon(self.stabilizer, takers)

    def sums(self, layer: nn.Module, takers: Sequence[bool]) -> Rule:
        """The rule of layers that add activations, and of unknown layers. `takers` says which inputs take relevance."""
        return self.mixes(layer)

    def attends(self, takers: Sequence[bool]) -> Rule:
        """The rule of attention in one fused call, where only the values take relevance."""
        return relevance.epsilon(self.stabilizer, takers)

    def norms(self) -> Rule:
        """The rule of normalizations that subtract a mean."""
        return centered_norm(self.stabilizer)

    def softmax(self) -> Rule:
        """The rule of a softmax that takes relevance."""
        return softmax()

    def _rule(self, flat: FlatModel, step: Step, takers: tuple[bool, ...], first: bool) -> Rule | None:
        role = role_of(step.layer)
        if role is Relevance.ARRANGES:
            return None
        if role is Relevance.COMPOSED:
            return by_pieces(lambda network: self.rules(network, first), type(self).__name__)
        if role is Relevance.WEIGHTS:
            return self.weights(flat, step, first)
        if role in (Relevance.PASSES, Relevance.SQUASHES, Relevance.COPIES):
            return relevance.passing()
        if role is Relevance.CENTERS:
            return self.norms()
        if role is Relevance.SOFTMAX:
            return self.softmax()
        if role is Relevance.DIVIDES:
            return numerator(takers)
        if role is Relevance.MULTIPLIES:
            return uniform(takers)
        if role is Relevance.ATTENDS:
            return self.attends([i == 2 for i in range(len(takers))])
        return self.mixes(step.layer, takers) if role is Relevance.CONTRACTS else self.sums(step.layer, takers)

    def _takers(self, flat: FlatModel) -> dict[str, tuple[bool, ...]]:
        """For each layer, which of the tensors that it reads take relevance.

        The graph decides this, not whether a tensor requires a gradient. So with respect to a late layer, values from
        other paths still take their share.
        """
        sizes = {step.key for step in flat.program.steps if step.hidden}
        active = carrying(flat.program, flat.inputs)
        weighing: set[str] = set()  # weights of attention and gates, in [0, 1], which multiply another activation
        level: set[str] = set()  # signs, which change only in jumps, as masks do
        takers = {}
        for step in flat.program.steps:
            role = role_of(step.layer)
            tensors = [key for key in step.reads if key not in sizes]
            if role in (Relevance.SOFTMAX, Relevance.SQUASHES) or (
                weighing.issuperset(tensors) and still_weighs(step, role)
            ):
                weighing.add(step.key)
            if is_stepwise(step.layer):
                level.add(step.key)
            chosen = active.intersection(tensors) if step.key in active else set()
            if role is Relevance.MULTIPLIES:
                chosen = chosen - level or chosen
            if (role is Relevance.MULTIPLIES and self.gates == "constant") or (
                role is Relevance.CONTRACTS and self.attention == "constant"
            ):
                chosen = chosen - weighing or chosen
            takers[step.key] = tuple(key in chosen for key in tensors)
        return takers


@dataclass(frozen=True)
class Epsilon(Composite):
    """The ε rule in all layers. With epsilon=0 (LRP-0), a network of ReLUs gives input times gradient."""

    def weights(self, flat: FlatModel, step: Step, first: bool) -> Rule:
        return relevance.epsilon(self.epsilon)

    def mixes(self, layer: nn.Module, takers: Sequence[bool] | None = None) -> Rule:
        return relevance.epsilon(self.epsilon, takers)

    def norms(self) -> Rule:
        return centered_norm(self.epsilon)


@dataclass(frozen=True)
class EpsilonPlus(Composite):
    """z⁺ in convolutions, ε in linear layers."""

    def weights(self, flat: FlatModel, step: Step, first: bool) -> Rule:
        return relevance.epsilon(self.epsilon) if is_linear(step) else relevance.z_plus(self.stabilizer)


@dataclass(frozen=True)
class EpsilonPlusFlat(Composite):
    """The flat rule in the first layer, z⁺ in the other convolutions, ε in linear layers."""

    def weights(self, flat: FlatModel, step: Step, first: bool) -> Rule:
        if first:
            return relevance.flat(self.stabilizer)
        return relevance.epsilon(self.epsilon) if is_linear(step) else relevance.z_plus(self.stabilizer)


@dataclass(frozen=True)
class EpsilonAlpha2Beta1(Composite):
    """The α-β rule with α = 2 and β = 1 in convolutions, ε in linear layers."""

    def weights(self, flat: FlatModel, step: Step, first: bool) -> Rule:
        return relevance.epsilon(self.epsilon) if is_linear(step) else relevance.alpha_beta(2, 1, self.stabilizer)


@dataclass(frozen=True)
class EpsilonGammaBox(Composite):
    """The zB rule in the first layer if it is a convolution, γ in the other convolutions, ε in linear layers.

    `low` and `high` are numbers, or one per channel. None takes those of images in [0, 1] after the preprocessing of
    the network.
    """

    gamma: float = option(0.25, least=0, help="How much more contributions with the sign of the output count.")
    low: float | tuple[float, ...] | None = option(None, help="The least value of an input; none for that of an image.")
    high: float | tuple[float, ...] | None = option(
        None, help="The greatest value of an input; none for that of an image."
    )

    def weights(self, flat: FlatModel, step: Step, first: bool) -> Rule:
        if is_linear(step):
            return relevance.epsilon(self.epsilon)
        if first:
            low, high = (_at_layer(flat, step, edge) for edge in self._box(flat))
            return relevance.z_box(low, high, self.stabilizer)
        return relevance.gamma(self.gamma, self.stabilizer)

    def _box(self, flat: FlatModel) -> list[Tensor]:
        preprocessing = flat.adapter.preprocessing
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (preprocessing.mean, preprocessing.std))
        edges = ((self.low, -mean / std), (self.high, (1 - mean) / std))
        return [default if value is None else torch.tensor(value, dtype=torch.float64) for value, default in edges]


# the answer depends on the graph alone, and each call of LRP asks for it
_TAKERS: Memo[FlatModel, dict[str, tuple[bool, ...]]] = Memo()

COMPOSITES: dict[str, type[Composite]] = {
    "epsilon": Epsilon,
    "epsilon_plus": EpsilonPlus,
    "epsilon_plus_flat": EpsilonPlusFlat,
    "epsilon_gamma_box": EpsilonGammaBox,
    "epsilon_alpha2_beta1": EpsilonAlpha2Beta1,
}
"""The composites by name."""

named(Composite, COMPOSITES)


def still_weighs(step: Step, role: Relevance) -> bool:
    """Whether a layer turns weights of attention or gates into weights: rearranged, or the complement of a gate."""
    layer = innermost(step.layer)
    if role is Relevance.MIXES and isinstance(layer, Subtract):
        return len(step.reads) == 1 and layer.args[0] in (1, 1.0)
    return role in (Relevance.ARRANGES, Relevance.COPIES)


def is_linear(step: Step) -> bool:
    """Whether a layer with weights is linear, and not a convolution."""
    return isinstance(step.layer, nn.Linear)


def first_layers(flat: FlatModel) -> set[str]:
    """The layers with weights (recurrent ones too) without another such layer between them and the input."""
    fresh = set(flat.inputs)
    first: set[str] = set()
    for step in flat.program.steps:
        if fresh.isdisjoint(step.reads):
            continue
        (first if role_of(step.layer) in (Relevance.WEIGHTS, Relevance.COMPOSED) else fresh).add(step.key)
    return first


def _at_layer(flat: FlatModel, step: Step, edge: Tensor) -> Tensor:
    """A bound of the inputs, as the first convolution reads it: after the layers before the convolution."""
    channels = getattr(step.layer, "in_channels", 1)
    if edge.numel() not in (1, channels):
        raise NotApplicable(
            f"the box of inputs has {edge.numel()} channels, but {step.key!r} of {flat.name} reads {channels}; "
            "give low and high for its inputs."
        )
    pixel = edge.view(1, -1, *[1] * (step.layer.weight.ndim - 2))  # type: ignore[operator]
    if step.reads[0] in flat.inputs:
        return pixel
    weight: Tensor = step.layer.weight  # type: ignore[assignment]
    try:
        with torch.no_grad():
            whole = pixel.to(weight).expand(1, channels, *pixel.shape[2:])
            edge_there = flat.record(whole, layers=step.reads[0])[step.reads[0]]
    except (RuntimeError, AssumptionError):  # the layers before the convolution cannot run on a single pixel
        edge_there = None
    if not isinstance(edge_there, Tensor) or edge_there.shape != whole.shape:
        raise NotApplicable(
            f"the layers before {step.key!r} of {flat.name} do not work pixel by pixel (padding, pooling, a branch), "
            "so the box of its inputs is unknown; take epsilon_plus_flat."
        )
    return edge_there
