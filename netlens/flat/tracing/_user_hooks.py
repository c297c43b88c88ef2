"""Hooks of the user on parts of a network. A hook that changes a value is traced; one that only looks on is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat.tracing._example import Examples
from netlens.flat.twin import is_of_network


def arguments_after_hooks(examples: Examples, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments of a call after the user's hooks that change them."""
    for key, hook in module._forward_pre_hooks.items():
        if is_of_network(hook, module):
            continue
        if key in module._forward_pre_hooks_with_kwargs:
            if _changes(examples, hook, module, args, kwargs):
                args, kwargs = hook(module, args, kwargs) or (args, kwargs)
        elif _changes(examples, hook, module, args):
            changed = hook(module, args)
            args = args if changed is None else changed if isinstance(changed, tuple) else (changed,)
    return args, kwargs


def output_after_hooks(examples: Examples, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
    """The output of a call after the user's hooks that change it."""
    for key, hook in module._forward_hooks.items():
        named = (kwargs,) if key in module._forward_hooks_with_kwargs else ()
        if not is_of_network(hook, module) and _changes(examples, hook, module, args, *named, output):
            changed = hook(module, args, *named, output)
            output = output if changed is None else changed
    return output


def _changes(examples: Examples, hook: Callable[..., Any], module: nn.Module, *arguments: Any) -> bool:
    """Whether a hook of the user gives another value, or writes into its arguments, on the example.

    A hook that only looks on is not traced: it would get traced values instead of tensors.
    """
    copies = examples.copies(arguments)
    before = [(leaf, leaf._version) for leaf in pytree.tree_leaves(copies) if isinstance(leaf, Tensor)]
    with examples.quiet():
        changed = hook(module, *copies)
    return changed is not None or any(leaf._version != version for leaf, version in before)
