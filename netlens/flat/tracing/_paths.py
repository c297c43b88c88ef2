"""Paths: the names of the modules and tensors of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PLAIN = frozenset({type(None), bool, int, float, str})
"""The types of the usual settings, which hold no modules and no tensors."""


def modules_of(root: nn.Module, prefix: str) -> dict[str, nn.Module]:
    """All modules of a tree by path, also the modules in plain lists, tuples and dicts of their owner.

    Args:
        root: The root of the tree.
        prefix: The path of the root.
    """
    modules: dict[str, nn.Module] = {}
    visited: set[int] = set()

    def visit(value: Any, path: str) -> None:
        if isinstance(value, nn.Module):
            if id(value) in visited:
                return
            visited.add(id(value))
            modules[path] = value
            if isinstance(value, torch.jit.ScriptModule):
                return
            attributes = value.__dict__.items()
            children = {**value._modules, **{k: v for k, v in attributes if not k.startswith("_")}}
            for name, child in children.items():
                if type(child) not in PLAIN:
                    visit(child, f"{path}.{name}".lstrip("."))
        elif type(value) in (list, tuple):
            for index, item in enumerate(value):
                visit(item, f"{path}.{index}")
        elif type(value) is dict:
            for key, item in value.items():
                visit(item, f"{path}.{key}")

    visit(root, prefix)
    return modules


def tensors_of(modules: dict[str, nn.Module]) -> list[tuple[str, Tensor]]:
    """The parameters, buffers and plain tensor attributes of modules, by path."""
    return [
        (f"{path}.{name}".lstrip("."), tensor)
        for path, module in modules.items()
        if not isinstance(module, torch.jit.ScriptModule)
        for name, tensor in {**module._parameters, **module._buffers, **module.__dict__}.items()
        if isinstance(tensor, Tensor)
    ]
