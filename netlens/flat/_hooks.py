"""Hooks: they read the activations and gradients of any layers, and edit activations during a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from netlens.errors import NetLensError, RecordError, closest
from netlens.flat._model import FlatModel
from netlens.flat.keys import OUTPUT, LayerKey, several
from netlens.flat.running import Tap, differentiating, tapped
from netlens.flat.twin import pure_copy

Edit = Callable[[Tensor], Tensor]


@dataclass
class Reading:
    """The values that `Hooks` read at one layer: the activation and, after a backward, the gradients.

    Args:
        key: The exact key of the layer.
        wants_gradient: Whether the hooks read the gradient, too.
        layer: If the hooks read the gradients of parameters, a copy of the layer with new parameters on the same
            storage; else None.
    """

    key: str
    wants_gradient: bool
    layer: nn.Module | None = None
    _activation: Any = field(default=None, repr=False)
    _gradient: Tensor | None = field(default=None, repr=False)

    @property
    def activation(self) -> Any:
        """The output of the layer in the last forward, after edits: the value that later layers read."""
        if self._activation is None:
            raise RecordError(f"layer {self.key!r} has not run yet inside this Hooks block; call the flat model first.")
        return self._activation.detach() if isinstance(self._activation, Tensor) else self._activation

    @property
    def gradient(self) -> Tensor:
        """The gradient at the output of the layer in the last backward, in the shape of the activation."""
        activation = self.activation
        if not self.wants_gradient:
            raise RecordError(f"the gradient at layer {self.key!r} was not recorded: pass gradients=True to Hooks.")
        if not isinstance(activation, Tensor) or not activation.is_floating_point():
            raise RecordError(f"layer {self.key!r} gives no tensor of real numbers, so there is no gradient.")
        if self._gradient is None:
            raise RecordError(
                f"no gradient has reached {self.key!r} yet: call .backward() on something computed from it, "
                "such as flat(x)[0, target]."
            )
        return self._gradient

    @property
    def parameter_gradients(self) -> dict[str, Tensor]:
        """The gradients of the layer's parameters by name ("weight", "bias"), summed over all backwards."""
        if self.layer is None:
            raise RecordError(
                f"the gradients of parameters of layer {self.key!r} were not recorded: pass parameters=True to Hooks."
            )
        gradients = {name: p.grad for name, p in self.layer.named_parameters() if p.grad is not None}
        if not gradients:
            has_parameters = any(True for _ in self.layer.parameters())
            reason = "call .backward() first" if has_parameters else "the layer has no parameters"
            raise RecordError(f"layer {self.key!r} has no gradients of parameters: {reason}.")
        return gradients


class Hooks(Tap):
    """Read the activations and gradients of layers, and edit activations, within a `with` block.

    The end of the block removes the hooks, even after an exception. The values that were read stay available.

    Args:
        flat: The flat model whose runs are read. Only runs in this thread count.
        layers: Keys, paths, globs or types of layers, and "input".
        gradients: Whether to read gradients, too. Runs in the block then record gradients, even under
            `torch.no_grad()`.
        parameters: Whether to read the gradients of weights and biases, too. The `.grad` of the network's parameters
            never changes.
        edit: A function from an activation to a tensor of the same shape, for all `layers`; or a mapping from names of
            layers to such functions.

    Raises:
        LayerNotFound: The network has no layer of such a name.
        NetLensError: `layers` names "output". During a run: an edit returns a value of another shape.

    Example:
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
        if OUTPUT in keys and not flat.layers.has(OUTPUT):
            raise NetLensError('"output" is the return value of flat(x); name a layer, such as the last one: -1.')
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
            raise RecordError("these Hooks are open already; make another Hooks for the inner block.")
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
        """The reading at one layer.

        Args:
            name: A key, path, glob, type or index of the layer.

        Raises:
            LayerNotFound: The network has no layer of such a name.
            RecordError: The hooks do not read this layer.
        """
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
                value = value.view_as(value)  # otherwise, the hook below would stay on the tensor of the caller
            reading._gradient = None
            if reading.wants_gradient:
                value.register_hook(lambda gradient: setattr(reading, "_gradient", gradient.detach()))
        reading._activation = value
        return value

    def _edited(self, key: str, edit: Edit, value: Any) -> Tensor:
        # the edit gets a clone, because an edit in place must not change activations that were read earlier
        result = edit(value.clone() if isinstance(value, Tensor) else value)
        if not isinstance(result, Tensor) or result.shape != value.shape:
            actual = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise NetLensError(f"the edit of {key!r} must return a tensor of shape {tuple(value.shape)}, not {actual}.")
        return result

    @staticmethod
    def _edits(flat: FlatModel, keys: list[str], edit: Edit | Mapping[LayerKey, Edit] | None) -> dict[str, Edit]:
        if edit is None:
            return {}
        if not isinstance(edit, Mapping):
            return dict.fromkeys(keys, edit)
        return {key: function for name, function in edit.items() for key in flat.keys_of(name)}

    @staticmethod
    def _reading(flat: FlatModel, key: str, gradients: bool, parameters: bool) -> Reading:
        has_layer = parameters and flat.layers.has(key)
        return Reading(key, gradients, pure_copy(flat.layers[key], share=False) if has_layer else None)


def _differentiable(value: Tensor) -> Tensor:
    """The value with `requires_grad`. If no earlier layer requires gradients, it is the start of a new graph."""
    if value.is_inference():
        value = value.clone()
    return value if value.requires_grad else value.detach().requires_grad_()
