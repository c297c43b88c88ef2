"""The state that a forward may change: attributes, lists and dicts, and autocast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def autocasts() -> tuple[tuple[str, torch.dtype | None], ...]:
    """For each type of device, the type in which autocast computes products; None where it is off."""
    return tuple(
        (device, torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None)
        for device in ("cpu", "cuda")
    )


def containers_in(value: Any) -> list[tuple[Any, Any]]:
    """The lists and dicts in the arguments of a call, each with a copy of what it holds now."""
    if type(value) in (list, dict):
        items = value.values() if isinstance(value, dict) else value
        return [(value, value.copy()), *(pair for item in items for pair in containers_in(item))]
    if isinstance(value, tuple):
        return [pair for item in value for pair in containers_in(item)]
    return []


def restore(containers: list[tuple[Any, Any]]) -> None:
    for container, content in containers:
        container.clear()
        container.extend(content) if isinstance(container, list) else container.update(content)


def content_of(module: nn.Module) -> list[tuple[Any, Any]]:
    """The tables of a module: its attributes, parameters, buffers and submodules, each with a copy."""
    names = ("_parameters", "_buffers", "_modules")
    tables = [module.__dict__, *(module.__dict__[name] for name in names if name in module.__dict__)]
    return [(table, table.copy()) for table in tables]


OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""The attributes of every module: flags, hooks, and the tables of parameters, buffers and submodules."""

Attributes = dict[str, tuple[nn.Module, dict[str, Any]]]


def attributes_of(modules: Mapping[str, nn.Module]) -> Attributes:
    """The attributes and buffers of modules as they are now, by path, without those of every module."""
    scripted = torch.jit.ScriptModule
    return {path: (module, _ids(module)) for path, module in modules.items() if not isinstance(module, scripted)}


def _ids(module: nn.Module) -> dict[str, Any]:
    """The `id` of each attribute and buffer of a module; for a list or dict, also the ids of its items."""
    return {
        name: [id(value), *(map(id, value.values() if isinstance(value, dict) else value))]
        if type(value) in (list, dict)
        else id(value)
        for name, value in {**module.__dict__, **module._buffers}.items()
        if name not in OF_EVERY_MODULE
    }


def changed_since(earlier: Attributes) -> frozenset[tuple[str, str]]:
    """The attributes and buffers that have changed: they are new or different, or hold different items."""
    return frozenset(
        (path, name)
        for path, (module, ids) in earlier.items()
        for name, value in _ids(module).items()
        if value != ids.get(name)
    )
