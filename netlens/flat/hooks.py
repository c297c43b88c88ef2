"""Hooks: reads activations and gradients of any layers, and edits activations in flight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from netlens.errors import NetLensError, RecordError, closest
from netlens.flat.keys import LayerKey, several
from netlens.flat.model import OUTPUT, FlatModel
from netlens.flat.modes import differentiating
from netlens.flat.taps import Tap, tapped
from netlens.flat.twin import pure_copy

Edit = Callable[[Tensor], Tensor]


@dataclass
class Reading:
    """What was read at one layer: its activation, and after a backward its gradient and its parameters'."""

    key: str
    wants_gradient: bool
    layer: nn.Module | None = None
    _activation: Any = field(default=None, repr=False)
    _gradient: Tensor | None = field(default=None, repr=False)

    @property
    def activation(self) -> Any:
        """The layer's output in the last forward, as the rest of the network saw it, edits included."""
        if self._activation is None:
            raise RecordError(f"layer {self.key!r} has not run yet inside this Hooks block; call the flat model first.")
        return self._activation.detach() if isinstance(self._activation, Tensor) else self._activation

    @property
    def gradient(self) -> Tensor:
        """The gradient at the layer's output from the last backward, of the activation's shape."""
        activation = self.activation
        if not self.wants_gradient:
            raise RecordError(f"no gradient of {self.key!r} was asked for: pass gradients=True to Hooks.")
        if not isinstance(activation, Tensor) or not activation.is_floating_point():
            raise RecordError(f"layer {self.key!r} gives no real tensor, so it has no gradient.")
        if self._gradient is None:
            raise RecordError(
                f"no gradient has reached {self.key!r} yet: call .backward() on something computed from it, "
                "such as flat(x)[0, target]."
            )
        return self._gradient

    @property
    def parameter_gradients(self) -> dict[str, Tensor]:
        """The gradients of the layer's own parameters (`weight`, `bias`) from the backwards inside the block."""
        if self.layer is None:
            raise RecordError(f"no gradients of parameters of {self.key!r} were asked for: pass parameters=True.")
        gradients = {name: p.grad for name, p in self.layer.named_parameters() if p.grad is not None}
        if not gradients:
            has = any(True for _ in self.layer.parameters())
            why = "call .backward() first" if has else "the layer has no parameters"
            raise RecordError(f"{self.key!r} has no gradients of parameters: {why}.")
        return gradients


class Hooks(Tap):
    """Reads, and edits, the activations and gradients of layers while its block is open.

    flat: the flat model to listen to, in this thread only. layers: keys, paths, globs or types; "input" too.
    gradients: also the gradients there; inside the block gradients are then computed, also under `torch.no_grad()`.
    parameters: also the gradients of these layers' weights and biases; the network's own `.grad` stays untouched.
    edit: a function from an activation to another (for all `layers`), or a mapping from layers to such functions.

    Everything is undone when the block is left, also by an exception; what was read stays readable.

    >>> import torch
    >>> flat = FlatModel.from_nn_Module(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    >>> with Hooks(flat, ["1"]) as hooks:
    ...     flat(torch.ones(1, 3))[0, 0].backward()
    >>> torch.equal(hooks["1"].gradient[0], flat.layers["2"].weight[0])
    True
    """

    def __init__(
        self,
        flat: FlatModel,
        layers: LayerKey | Sequence[LayerKey],
        gradients: bool = True,
        parameters: bool = False,
        edit: Edit | Mapping[LayerKey, Edit] | None = None,
    ) -> None:
        flat.follow()
        keys = flat.keys_of(layers)
        if OUTPUT in keys and OUTPUT not in flat.layers:
            raise NetLensError('"output" is what flat(x) returns; name a layer, such as the last one: -1.')
        self.inputs = flat.inputs
        self.gradients = gradients or parameters
        self.edits = self._edits(flat, keys, edit)
        super().__init__(flat, {*keys, *self.edits})
        self.readings = {key: self._reading(flat, key, gradients, parameters) for key in keys}
        self._names = {name: flat.key(name) for name in several(layers) if isinstance(name, str)}
        self._exit = ExitStack()
        self._open = False

    @property
    def changes(self) -> bool:
        return bool(self.edits)

    def __enter__(self) -> Hooks:
        if self._open:
            raise RecordError("these Hooks are open already; make another Hooks for a block inside.")
        with ExitStack() as stack:
            if self.gradients:
                stack.enter_context(differentiating())
            stack.enter_context(tapped(self))
            self._exit = stack.pop_all()
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._exit.close()

    def __getitem__(self, name: LayerKey) -> Reading:
        """What was read at a layer, by any name that names exactly one recorded layer."""
        key = self._names.get(name) if isinstance(name, str) else None
        if key is None:
            key = name if isinstance(name, str) and name in self.readings else self.flat_key(name)
        if key not in self.readings:
            raise RecordError(f"layer {name!r} was not recorded. Recorded: {closest(str(name), self.readings, n=5)}.")
        return self.readings[key]

    def __iter__(self) -> Any:
        return iter(self.readings)

    def __len__(self) -> int:
        return len(self.readings)

    def flat_key(self, name: LayerKey) -> str:
        assert isinstance(self.flat, FlatModel)
        return self.flat.key(name)

    def layer(self, key: str) -> nn.Module | None:
        reading = self.readings.get(key)
        return reading.layer if reading is not None else None

    def value(self, key: str, value: Any) -> Any:
        edit = self.edits.get(key)
        if edit is not None:
            value = self._edited(key, edit, value)
        reading = self.readings.get(key)
        if reading is None:
            return value
        if self.gradients and isinstance(value, Tensor) and value.is_floating_point():
            value = _differentiable(value)
            if key in self.inputs:
                value = value.view_as(value)  # so that the hook below is not left on a tensor of the user's
            reading._gradient = None
            if reading.wants_gradient:
                value.register_hook(lambda gradient: setattr(reading, "_gradient", gradient.detach()))
        reading._activation = value
        return value

    def _edited(self, key: str, edit: Edit, value: Any) -> Tensor:
        # the edit gets a tensor of its own, so that one that works in place changes nothing recorded earlier
        edited = edit(value.clone() if isinstance(value, Tensor) else value)
        if not isinstance(edited, Tensor) or edited.shape != value.shape:
            got = tuple(edited.shape) if isinstance(edited, Tensor) else type(edited).__name__
            raise NetLensError(f"the edit of {key!r} must return a tensor of shape {tuple(value.shape)}, not {got}.")
        return edited

    @staticmethod
    def _edits(flat: FlatModel, keys: list[str], edit: Edit | Mapping[LayerKey, Edit] | None) -> dict[str, Edit]:
        if edit is None:
            return {}
        if not isinstance(edit, Mapping):
            return dict.fromkeys(keys, edit)
        return {key: function for name, function in edit.items() for key in flat.keys_of(name)}

    @staticmethod
    def _reading(flat: FlatModel, key: str, gradients: bool, parameters: bool) -> Reading:
        has_layer = parameters and key in flat.layers
        return Reading(key, gradients, pure_copy(flat.layers[key], share=False) if has_layer else None)


def _differentiable(value: Tensor) -> Tensor:
    """The value as a part of the graph: itself, or the start of one where nothing before it needs gradients."""
    if value.is_inference():
        value = value.clone()
    return value if value.requires_grad else value.detach().requires_grad_()
