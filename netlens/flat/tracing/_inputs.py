"""The inputs of a network: the arguments of its forward that a trace starts from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from netlens.errors import TraceError


def input_names(root: nn.Module, inputs: Sequence[str] | None) -> tuple[str, ...]:
    parameters = inspect.signature(root.forward).parameters
    network = type(root).__name__
    if inputs is not None:
        unknown = [name for name in inputs if name not in parameters]
        if unknown:
            raise TraceError(
                f"{network}.forward has no argument {unknown[0]!r}; choose inputs among {', '.join(parameters)}."
            )
        return tuple(inputs)
    variadic = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    required = [p.name for p in parameters.values() if p.default is p.empty and p.kind not in variadic]
    if required:
        return tuple(required)
    named = [p.name for p in parameters.values() if p.kind not in variadic]
    if not named:
        raise TraceError(f"{network}.forward has no named argument; give it a signature with named inputs.")
    return (named[0],)


def example_of(network: nn.Module, example: Any) -> dict[str, Any]:
    """The example by the names of the arguments of the network's forward."""
    if isinstance(example, Mapping):
        return dict(example)
    values = example if isinstance(example, tuple) else (example,)
    parameters = inspect.signature(network.forward).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind in _POSITIONAL]
    names += [f"input_{index}" for index in range(len(names), len(values))]
    return dict(zip(names, values, strict=False))


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def as_arguments(network: nn.Module, named: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call of the network, by position where possible. Other names than its own are for `*args`."""
    parameters = inspect.signature(network.forward).parameters
    if any(name not in parameters for name in named):
        return tuple(named.values()), {}
    args: list[Any] = []
    for name, parameter in parameters.items():
        if name not in named or parameter.kind not in _POSITIONAL:
            break
        args.append(named[name])
    return tuple(args), {name: value for name, value in named.items() if name not in list(parameters)[: len(args)]}
