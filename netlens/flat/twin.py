"""Twins: copies of module trees. They share the storage of the tensors. Changes of the modules stay in the copy."""

from __future__ import annotations

import copy
import sys
import types
from collections import OrderedDict, deque
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from netlens.errors import TraceError

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
)
_FORWARD_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_PLAIN = frozenset({type(None), bool, int, float, str})  # the types of the usual settings
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def twin(module: nn.Module) -> nn.Module:
    """The twin of `module`, as the first result of `twins`."""
    return twins(module)[0]


class Twins(NamedTuple):
    """A twin of a module tree.

    Attributes:
        root: The twin of the module.
        copies: The twins of all its parts and tensors by the `id` of the original.
        hooked: The originals of the parts that have forward hooks, by the `id` of the twin.
    """

    root: nn.Module
    copies: dict[int, Any]
    hooked: dict[int, nn.Module]


def twins(module: nn.Module) -> Twins:
    """A twin of `module` in eval mode, and the twins of all its modules and tensors.

    A twin has the classes and the storage of the original, but no gradients. Its parameters and buffers are detached
    views of the original ones. So an in-place change of the original's weights (an optimizer step, `load_state_dict`)
    also changes the twin. A change of the twin's modules, flags or gradients does not change the original.

    A twin does not have the hooks of the user. It has the hooks with which torch computes a weight (`weight_norm`,
    `spectral_norm`, pruning) and those with which the module's own library gathers outputs, because the output of the
    network depends on them.
    """
    copier = _Copier()
    return Twins(copier.module(unwrapped(module)), copier.copies, {id(new): old for new, old in copier.hooked})


def unwrapped(module: nn.Module) -> nn.Module:
    """The network inside `DataParallel`, `DistributedDataParallel` or `torch.compile` wrappers."""
    while True:
        if isinstance(module, _WRAPPERS):
            module = module.module
        elif isinstance(getattr(module, "_orig_mod", None), nn.Module):
            module = module._orig_mod  # type: ignore[assignment]
        else:
            return module


def pure_copy(module: nn.Module, share: bool = True) -> nn.Module:
    """A copy of one layer that shares its parameters and does no in-place operation.

    Args:
        module: The layer.
        share: Whether the copy has the same parameter objects. If not, it has new parameters on the same storage, which
            require gradients.
    """
    pure = _Copier(keep_parameters=share, trainable=not share).module(module)
    for submodule in pure.modules():
        if works_in_place(submodule):
            submodule.inplace = False  # type: ignore[assignment]
    return _differentiable(pure)


def works_in_place(module: nn.Module) -> bool:
    """Whether the `inplace` flag of a layer is set, by True or, as in `nn.ReLU(1)`, by a number."""
    flag = getattr(module, "inplace", False)
    return isinstance(flag, int) and bool(flag)


def _differentiable(module: nn.Module) -> nn.Module:
    """The same module, with recurrent layers in train mode and without dropout, so that a GPU gives their gradients.

    cuDNN gives gradients only in train mode. Without dropout, the output in train mode equals that in eval mode.
    """
    for submodule in module.modules():
        if isinstance(submodule, nn.RNNBase):
            submodule.dropout, submodule.training = 0.0, True
    return module


def throwaway(module: nn.Module, hooks: bool = False) -> nn.Module:
    """A copy of a module for a single run. It shares the parameters, and has new buffers, lists and counters.

    So if its forward changes state (`self.calls += 1`, `running.mul_(0.9)`, `norm.train()`), no other module changes.

    Args:
        module: A twin, or with `hooks` a network, which then runs in eval mode.
        hooks: Whether the copy has all forward hooks.
    """
    copied = _differentiable(_Copier(keep_parameters=not hooks, keep_state=False, keep_hooks=hooks).module(module))
    for part in copied.modules() if hooks else ():
        part.training = False  # not by `eval()`, which the network may override
    return copied


class _Copier:
    """Copies a module tree; each module and tensor has one copy.

    Args:
        keep_parameters: Whether the copy has the same parameter objects.
        trainable: Whether new parameters require gradients.
        keep_state: Whether buffers share their storage, and all modules are in eval mode.
        keep_hooks: Whether the copy has all forward hooks.
    """

    def __init__(
        self,
        keep_parameters: bool = False,
        trainable: bool = False,
        keep_state: bool = True,
        keep_hooks: bool = False,
    ) -> None:
        self.keep_hooks = keep_hooks
        self.keep_parameters = keep_parameters
        self.trainable = trainable
        self.keep_state = keep_state
        self.copies: dict[int, Any] = {}
        self.hooked: list[tuple[nn.Module, nn.Module]] = []
        self.originals: list[Any] = []  # keeps the originals alive, because ids are unique only among living objects

    def module(self, module: nn.Module) -> nn.Module:
        module = unwrapped(module)
        if id(module) in self.copies:
            copy: nn.Module = self.copies[id(module)]
            return copy
        if isinstance(module, torch.jit.ScriptModule):
            scripted = _scripted(module, self.keep_state)
            self.store(module, scripted)
            return scripted
        new = object.__new__(type(module))
        if module._forward_hooks or module._forward_pre_hooks:
            self.hooked.append((new, module))
        self.store(module, new)
        for name, value in module.__dict__.items():
            if name in _HOOKS:
                new.__dict__[name] = self.hooks(module, name, value)
            elif name == "_compiled_call_impl":  # of `module.compile()`; it runs the original
                new.__dict__[name] = None
            elif name == "training" and self.keep_state:
                new.__dict__[name] = False
            else:
                new.__dict__[name] = self.value(value)
        return new

    def value(self, value: Any) -> Any:
        if type(value) in _PLAIN:
            return value
        if id(value) in self.copies:
            return self.copies[id(value)]
        if isinstance(value, nn.Module):
            return self.module(value)
        if isinstance(value, Tensor):
            return self.store(value, self.tensor(value))
        if type(value) in (list, tuple, set, deque):
            return type(value)(self.value(item) for item in value)
        if type(value) in (dict, OrderedDict):
            return type(value)((key, self.value(item)) for key, item in value.items())
        if isinstance(value, types.MethodType) and isinstance(value.__self__, nn.Module):
            return types.MethodType(value.__func__, self.module(value.__self__))
        return value

    def tensor(self, tensor: Tensor) -> Tensor:
        if is_lazy(tensor):
            raise TraceError("the network has lazy parameters without a shape; run it once on an input first.")
        if not self.keep_state and not isinstance(tensor, nn.Parameter):
            return tensor.detach().clone()
        # a forward may set `weight.data = ...`; in a throwaway copy, this must not change the parameter of the original
        if self.keep_parameters and (self.keep_state or tensor.requires_grad):
            return tensor
        shared = tensor.detach()
        if isinstance(tensor, nn.Parameter):
            trainable = tensor.requires_grad if self.keep_hooks else self.trainable
            return nn.Parameter(shared, requires_grad=trainable and shared.is_floating_point())
        return shared

    def hooks(self, module: nn.Module, name: str, hooks: Any) -> Any:
        """The hooks that are part of what the module computes: those of torch and those of the module's own library."""
        says_how = name not in _FORWARD_HOOKS and name.startswith(_FORWARD_HOOKS)  # how hooks are called, by their id
        if not hooks or says_how or (self.keep_hooks and name in _FORWARD_HOOKS):
            return hooks.copy()
        computing = (
            (key, hook) for key, hook in hooks.items() if name in _FORWARD_HOOKS and is_of_network(hook, module)
        )
        return type(hooks)(computing)

    def store(self, original: Any, new: Any) -> Any:
        self.copies[id(original)] = new
        self.originals.append(original)
        return new


def is_of_network(hook: Any, module: nn.Module) -> bool:
    """Whether a hook is part of what a module computes: of torch, or of the installed library that defines the module.

    Torch computes weights in hooks (`weight_norm`), and a library may gather the outputs of its layers in hooks.
    """
    if type(hook).__module__.startswith("torch.nn.utils"):
        return True
    name = getattr(hook, "__module__", None) or type(hook).__module__
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return "-packages" in file and name.split(".")[0] == type(module).__module__.split(".")[0]


def _scripted(module: torch.jit.ScriptModule, keep_state: bool) -> nn.Module:
    """A copy of a scripted module, with flags of its own and the original tensors."""
    new = copy.deepcopy(module)
    for submodule, original in zip(new.modules(), module.modules(), strict=True):
        for name, tensor in (*original._parameters.items(), *(original._buffers.items() if keep_state else ())):
            if tensor is not None:
                submodule._c.setattr(name, tensor.detach())  # type: ignore[union-attr, operator]
    return new.eval()
