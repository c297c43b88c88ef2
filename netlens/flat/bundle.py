"""A bundle: a network of several inputs as one of a single input, which holds the inputs of each sample side by side.

So whatever selects, repeats or perturbs samples takes all inputs of a sample along. Each input is a layer of the bundle
with the name of the input, and methods explain that layer while the others keep their values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.flat._model import FlatModel
from netlens.flat.intake import weight_of
from netlens.flat.keys import LayerKey
from netlens.flat.layers import Part
from netlens.flat.layout import Layout, layout_of
from netlens.flat.operations import innermost
from netlens.flat.running import Step

PACKED = "inputs"
"""The key of the input of a bundle."""


def bundled(flat: FlatModel, inputs: Mapping[str, Tensor]) -> tuple[FlatModel, Tensor]:
    """The network as a function of one tensor (N, columns), and this tensor with the given inputs.

    Args:
        flat: A network of several inputs.
        inputs: Each input (N, ...) by its name. An input of one row serves all samples.

    Raises:
        NetLensError: An input is missing or is no tensor, the numbers of samples differ, or integers are so large that
            the type of the weights does not hold them.

    Example:
        >>> from torch import nn
        >>> class Sum(nn.Module):
        ...     def forward(self, image, offset):
        ...         return image.flatten(1).sum(1, keepdim=True) + offset
        >>> flat = FlatModel.from_nn_Module(Sum())
        >>> bundle, x = bundled(flat, {"image": torch.ones(2, 1, 2, 2), "offset": torch.tensor([[0.0], [5.0]])})
        >>> bundle(x).flatten().tolist()
        [4.0, 9.0]
    """
    values = {name: _checked(flat, name, inputs) for name in flat.inputs}
    count = max(len(value) for value in values.values())
    wrong = next((name for name, value in values.items() if len(value) not in (1, count)), None)
    if wrong is not None:
        sizes = ", ".join(f"{name} {len(value)}" for name, value in values.items())
        raise NetLensError(
            f"the inputs of {flat.name} have different numbers of samples ({sizes}); give one per sample."
        )
    dtype = weight_of(flat, torch.zeros(())).dtype
    columns, start, parts = [], 0, []
    for name, value in values.items():
        flattened = value.detach().flatten(1) if value.ndim > 1 else value.detach()[:, None]
        column = flattened.to(dtype)
        if not value.is_floating_point() and not torch.equal(column.round().to(value.dtype), flattened):
            raise NetLensError(
                f"{name!r} of {flat.name} holds numbers that {dtype} does not; call the network's .double()."
            )
        columns.append(column.expand(count, -1))
        layout = layout_of(flat, values, name) if value.ndim > 1 else Layout(())
        kind = dtype if value.is_floating_point() else value.dtype
        parts.append(Step(name, Part(start, value.shape[1:], kind, layout), (_key(flat),)))
        start += column.shape[1]
    program = replace(flat.program, steps=(*parts, *flat.program.steps), inputs=(_key(flat),))
    return flat.edited(program), torch.cat(columns, 1)


def parts_of(flat: FlatModel) -> dict[str, Part]:
    """The inputs of a bundle by name; empty for a network that is no bundle."""
    parts = {}
    for step in flat.program.steps:
        layer = innermost(step.layer)
        if not isinstance(layer, Part):
            break
        parts[step.key] = layer
    return parts


def is_input(flat: FlatModel, key: str) -> bool:
    """Whether a key is that of an input, which may be one of a bundle."""
    return key in flat.inputs or key in parts_of(flat)


def key_of(flat: FlatModel, name: LayerKey) -> str:
    """The exact key of a layer or an input; "input" names the first input of a bundle."""
    if name == "input" and not flat.layers.has("input"):
        return first_input(flat)
    return flat.key(name)


def first_input(flat: FlatModel) -> str:
    """The key of the first input: that of a bundle, or of the network."""
    return next(iter(parts_of(flat)), flat.inputs[0])


def explained_input(flat: FlatModel, wrt: str) -> str:
    """The key of the input that a method explains or changes if it is called with `wrt`: that input, else the first."""
    parts = parts_of(flat)
    return wrt if wrt in parts else next(iter(parts), flat.inputs[0])


def input_of(flat: FlatModel, x: Tensor, wrt: str) -> Tensor:
    """The values (N, ...) of the explained input, from the batch x (N, ...) that the network takes."""
    part = parts_of(flat).get(explained_input(flat, wrt))
    return x if part is None else part(x)


def with_input(flat: FlatModel, x: Tensor, wrt: str, values: Tensor) -> Tensor:
    """The batch x in which these values (N, ...) replace those of the explained input. Other inputs stay."""
    part = parts_of(flat).get(explained_input(flat, wrt))
    if part is None:
        return values
    batch = x.clone(memory_format=torch.contiguous_format)
    batch[:, part.columns] = values.flatten(1).to(x)
    return batch


def layout_at(flat: FlatModel, key: str, value: Tensor) -> Layout:
    """The layout of an input (N, ...), which may be one of a bundle."""
    part = parts_of(flat).get(key)
    return layout_of(flat, {key: value}, key) if part is None else part.layout


def _key(flat: FlatModel) -> str:
    return PACKED if PACKED not in (*flat.inputs, *flat.layers) else f"{PACKED}_"


def _checked(flat: FlatModel, name: str, inputs: Mapping[str, Tensor]) -> Tensor:
    if name not in inputs:
        raise NetLensError(f"{flat.name} takes {', '.join(flat.inputs)}, but {name!r} is missing; give it, too.")
    value = inputs[name]
    if not isinstance(value, Tensor) or value.ndim < 1 or len(value) < 1 or value.is_complex():
        kind = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise NetLensError(f"{name!r} of {flat.name} must be a tensor with one row per sample, not {kind}.")
    return value
