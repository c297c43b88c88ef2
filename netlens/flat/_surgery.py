"""Surgery on programs. Each function returns a new program that shares layers and weights with the old program.

The program holds a copy of a new layer. The copy shares the weights, is in eval mode and does no in-place operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn
from torch.utils import _pytree as pytree

from netlens.errors import NetLensError
from netlens.flat.running import Program, Step
from netlens.flat.twin import pure_copy


def insert_after(program: Program, key: str, name: str, layer: nn.Module) -> Program:
    """Insert `layer`, with the key `name`, after `key` (a layer or an input). All readers of `key` read `layer`."""
    _check_name(program, name)
    rewired = [_rewired(step, {key: name}) for step in program.steps]
    position = next((i + 1 for i, step in enumerate(program.steps) if step.key == key), 0)
    steps = (*rewired[:position], Step(name, pure_copy(layer), (key,)), *rewired[position:])
    return replace(program, steps=steps, outputs=_renamed(program.outputs, {key: name}))


def insert_before(program: Program, key: str, name: str, layer: nn.Module) -> Program:
    """Insert `layer` between the layer `key` and the first value that it reads. All other layers stay unchanged."""
    _check_name(program, name)
    step = _step(program, key)
    if not step.reads:
        raise NetLensError(f"layer {key!r} reads nothing, so no layer can stand before it; use insert_after.")
    position = program.steps.index(step)
    rewired = replace(step, reads=(name, *step.reads[1:]))
    steps = (
        *program.steps[:position],
        Step(name, pure_copy(layer), step.reads[:1]),
        rewired,
        *program.steps[position + 1 :],
    )
    return replace(program, steps=steps)


def substitute(program: Program, key: str, layer: nn.Module) -> Program:
    """Replace the layer `key` by `layer`, which has the same key, inputs and readers."""
    step = _step(program, key)
    pure = pure_copy(layer)
    steps = tuple(replace(s, layer=pure) if s is step else s for s in program.steps)
    return replace(program, steps=steps)


def remove(program: Program, key: str) -> Program:
    """Remove the layer `key`, which must have one input. Its readers read this input instead."""
    step = _step(program, key)
    if len(step.reads) != 1:
        raise NetLensError(
            f"layer {key!r} reads {len(step.reads)} values ({', '.join(step.reads)}), so it cannot be removed; "
            "replace it instead."
        )
    names = {key: step.reads[0]}
    steps = tuple(_rewired(s, names) for s in program.steps if s is not step)
    return replace(program, steps=steps, outputs=_renamed(program.outputs, names))


def cut(program: Program, key: str) -> Program:
    """Keep only the steps that the layer `key` needs. Its activation becomes the output."""
    steps = tuple(step for step, _ in program.schedule(program.inputs, (key,)))
    one_tensor = pytree.tree_flatten(0)[1]
    return replace(program, steps=steps, outputs=(key,), structure=one_tensor)


def _step(program: Program, key: str) -> Step:
    return next(step for step in program.steps if step.key == key)


def _check_name(program: Program, name: str) -> None:
    if name in (*program.inputs, "output") or any(step.key == name for step in program.steps):
        raise NetLensError(f"the name {name!r} is taken already; give the new layer another name.")


def _rewired(step: Step, names: Mapping[str, str]) -> Step:
    return replace(step, reads=_renamed(step.reads, names))


def _renamed(keys: tuple[str, ...], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(names.get(key, key) for key in keys)
