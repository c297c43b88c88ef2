"""Tracing: one symbolic run of a network gives its graph. A part that cannot be traced stays whole.

Such a part is as small as possible.
"""

from __future__ import annotations

import inspect
import linecache
import operator
import threading
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from netlens.errors import TraceError
from netlens.flat.layers import Piece
from netlens.flat.operations import is_added
from netlens.flat.tracing._assertions import asserts
from netlens.flat.tracing._paths import modules_of, tensors_of

_LEAVES = (Piece, torchvision.ops.StochasticDepth, torchvision.ops.FrozenBatchNorm2d, torchvision.ops.DeformConv2d)
# a trace patches nn.Module in the whole process and restores it afterwards; two traces at once would restore it wrong
_ONE_AT_A_TIME = threading.Lock()
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Trace:
    """The record of one symbolic run.

    Attributes:
        graph: The graph of calls.
        modules: The modules that the graph names, by path.
        tensors: The parameters, buffers and constants that the graph names, by path.
        inputs: The names of the arguments that are inputs.
        output: The structure of the output.
        opaque: The reason for each part that stays whole, by path.
        written: The attributes that the forward sets, each as (path of the module, name).
        literals: The paths of the tensors that the forward itself makes from numbers, such as `torch.tensor(0.5)`.
    """

    graph: fx.Graph
    modules: dict[str, nn.Module]
    tensors: dict[str, Tensor]
    inputs: tuple[str, ...]
    output: pytree.TreeSpec
    opaque: dict[str, str]
    written: frozenset[tuple[str, str]]
    literals: Collection[str] = ()


Rewrite = Callable[[nn.Module], nn.Module | None]


def trace(
    root: nn.Module,
    inputs: Sequence[str] | None = None,
    rewrite: Rewrite = lambda module: None,
    twins: Mapping[int, Any] | None = None,
) -> Trace:
    """Trace a network. A submodule that cannot be traced becomes one node, and `opaque` holds the reason.

    Args:
        root: A twin of the network, never the user's module.
        inputs: The arguments of its forward that are inputs; by default those without a default value. All others keep
            their default values.
        rewrite: A function from a module to a module of pure pieces to trace in its place, or to None.
        twins: The twins of modules and tensors by the `id` of the original. A closure in the network may still refer
            to an original.

    Raises:
        TraceError: The forward of `root` itself cannot be traced. The message names the line.
    """
    names = _input_names(root, inputs)
    tracer = _Tracer(root, names, rewrite, twins if twins is not None else {})
    attributes = _attributes(modules_of(root, ""))
    try:
        with _ONE_AT_A_TIME:
            graph = tracer.trace(root)
    except Exception as error:
        reason = _reason(error)
        raise TraceError(
            f"{type(root).__name__}.forward cannot be traced: {reason}. Move that part into a submodule of its own: "
            "it then becomes one opaque layer, and everything around it is unrolled."
        ) from error
    written = tracer.written | _changed(attributes)
    modules, tensors = tracer.modules_by_path, tracer.tensors
    return Trace(graph, modules, tensors, names, tracer.output, tracer.opaque, written, tracer.literals)


def is_leaf(module: nn.Module) -> bool:
    """Whether a trace keeps a module as one layer.

    It keeps modules of torch without children, the pieces of adapters, a few modules of torchvision, and modules of the
    types that a person added by `operations.add`.
    """
    if isinstance(module, _LEAVES) or is_added(type(module)) or parametrize.is_parametrized(module):
        return True
    if isinstance(module, _CONTAINERS):
        return False
    of_torch = type(module).__module__.startswith(("torch.nn.", "torch.ao.nn."))
    return of_torch and (isinstance(module, nn.MultiheadAttention) or not any(module.children()))


class _Value(fx.Proxy):
    """A traced tensor. Unlike a plain proxy, it records in-place operators, because functionalization needs them."""

    def __getattr__(self, name: str) -> _Attribute:
        return _Attribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("data", "grad", "requires_grad"):
            raise TypeError(f"it assigns the attribute `{name}` of a tensor")
        super().__setattr__(name, value)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})


class _Attribute(fx.proxy.Attribute, _Value):
    """An attribute of a traced tensor (`x.T`). A call shows that it is a method."""


class _Weight(_Value):
    """A traced parameter or buffer. Its shape consists of numbers, so control flow may depend on the shape."""

    def __init__(self, node: fx.Node, tracer: fx.Tracer, tensor: Tensor) -> None:
        super().__init__(node, tracer)
        self.shape = tensor.shape
        self.ndim = tensor.ndim
        self.dim = tensor.dim
        self.size = tensor.size
        self.numel = tensor.numel


def _in_place(name: str) -> Callable[[_Value, Any], Any]:
    function = getattr(operator, name)
    return lambda self, other: self.tracer.create_proxy("call_function", function, (self, other), {})


for _name in ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior", "ixor", "imatmul"):
    setattr(_Value, f"__{_name}__", _in_place(_name))


class _Tracer(fx.Tracer):
    def __init__(self, root: nn.Module, inputs: tuple[str, ...], rewrite: Rewrite, twins: Mapping[int, Any]) -> None:
        super().__init__()
        self.inputs = inputs
        self.thread = threading.get_ident()
        self.rewrite = rewrite
        self.twins = twins
        self.pieces: dict[str, nn.Module] = {}
        self.modules_by_path: dict[str, nn.Module] = {}
        self.paths: dict[int, str] = {}
        self.tensors: dict[str, Tensor] = {}
        self.tensor_paths: dict[int, str] = {}
        self.in_eval_mode: set[int] = set()  # the ids of the modules that were in eval mode before the trace
        self.literals: set[str] = set()
        self.register(root, "")
        self.scopes = [""]
        self.opaque: dict[str, str] = {}
        self.written: frozenset[tuple[str, str]] = frozenset()
        self.output: pytree.TreeSpec

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        arguments = [self.create_proxy("placeholder", name, (), {}) for name in self.inputs]

        def forward(*values: Any) -> Any:
            named = dict(zip(self.inputs, values, strict=True))
            pieces = self.pieces.get("")
            output = root_fn(self.root, **named) if pieces is None else pieces.forward(**named)
            leaves, self.output = pytree.tree_flatten(output)
            return leaves

        return forward, arguments

    def to_bool(self, obj: fx.Proxy) -> bool:
        """An assertion becomes a node of the graph; any other control flow on a traced value stops the trace."""
        frame = inspect.currentframe()
        while frame is not None and frame.f_globals.get("__name__") in (__name__, fx.proxy.__name__):
            frame = frame.f_back
        if frame is None or not asserts(frame):
            return super().to_bool(obj)
        self.create_proxy("call_function", torch._assert, (obj, f"assertion in line {frame.f_lineno}"), {})
        return True

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Value(node, self)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["scope"] = self.scopes[-1]
        return node

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self.thread or not isinstance(attr_val, Tensor):
            return attr_val
        attr_val = self.twins.get(id(attr_val), attr_val)
        path = self.tensor_paths.get(id(attr_val))
        if path is None:
            return attr_val
        if path not in parameter_proxy_cache:
            self.tensors[path] = attr_val
            parameter_proxy_cache[path] = self.create_proxy(
                "get_attr",
                path,
                (),
                {},
                proxy_factory_fn=lambda node: _Weight(node, self, attr_val),
            )
        return parameter_proxy_cache[path]

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor) and not isinstance(a, fx.Proxy):
            a = self.twins.get(id(a), a)
            a = a.detach() if a.requires_grad else a  # never the user's own parameter
            registered = id(a) in self.tensor_paths
            path = self.tensor_paths.setdefault(id(a), f"{self.scopes[-1]}.constant".lstrip("."))
            if path in self.tensors and self.tensors[path] is not a:
                path = self.tensor_paths[id(a)] = f"{path}_{len(self.tensors)}"
            self.tensors[path] = a
            if not registered:
                self.literals.add(path)
            return self.create_node("get_attr", path, (), {})
        return super().create_arg(a)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self.thread:  # tracing patches nn.Module.__call__ for every thread
            return forward(*args, **kwargs)
        if id(m) in self.twins and self.twins[id(m)] is not m:
            m = self.twins[id(m)]
            forward = m.forward
        path = self.path_of_module(m)
        if path in self.opaque:
            return self.create_proxy("call_module", path, args, kwargs)
        pieces = self.pieces.get(path)
        if pieces is not None:
            forward = pieces.forward
        elif is_leaf(m):
            if m.training and id(m) in self.in_eval_mode:
                self.opaque[path] = "the forward around it puts it into train mode"
            return self.create_proxy("call_module", path, args, kwargs)
        elif isinstance(m, torch.jit.ScriptModule):
            self.opaque[path] = "it is compiled by TorchScript"
            return self.create_proxy("call_module", path, args, kwargs)
        attributes = _attributes(
            {self.paths[id(submodule)]: submodule for submodule in m.modules() if id(submodule) in self.paths}
        )
        backup = {submodule: dict(submodule.__dict__) for submodule in m.modules()}
        for argument in pytree.tree_leaves((args, kwargs)):
            if isinstance(argument, _Attribute):
                argument.node  # noqa: B018 - creates the node now: nodes made in the forward may be erased below
        last_node = next(iter(reversed(self.graph.nodes)))
        self.scopes.append(path)
        try:
            return forward(*args, **kwargs)
        except Exception as error:
            for node in list(reversed(self.graph.nodes)):
                if node is last_node:
                    break
                self.graph.erase_node(node)
            self.written |= _changed(attributes)
            for submodule, values in backup.items():  # the forward may have stored traced values in attributes
                submodule.__dict__.clear()
                submodule.__dict__.update(values)
            self.opaque[path] = _reason(error)
            return self.create_proxy("call_module", path, args, kwargs)
        finally:
            self.scopes.pop()

    def register(self, module: nn.Module, prefix: str) -> None:
        """Store the paths of the modules and tensors of a tree, and the pieces that replace its submodules."""
        modules = modules_of(module, prefix)
        self.modules_by_path = {**modules, **self.modules_by_path}
        for name, tensor in tensors_of(modules):
            self.tensor_paths.setdefault(id(tensor), name)
        for path, submodule in modules.items():
            if id(submodule) in self.paths:
                continue
            self.paths[id(submodule)] = path
            if not submodule.training:
                self.in_eval_mode.add(id(submodule))
            pieces = self.rewrite(submodule)  # done before the trace, because no module can be made during a trace
            if pieces is not None:
                self.pieces[path] = pieces
                self.register(pieces, path)

    def path_of_module(self, mod: nn.Module) -> str:
        """The path of a module. A module that the forward itself makes is named after its class."""
        if id(mod) not in self.paths:
            stem = path = f"{self.scopes[-1]}.{type(mod).__name__.lower()}".lstrip(".")
            count = 0
            while path in self.modules_by_path:
                count += 1
                path = f"{stem}_{count}"
            self.modules_by_path[path] = mod
            self.paths[id(mod)] = path
        return self.paths[id(mod)]


Attributes = dict[str, tuple[nn.Module, dict[str, Any]]]


def _attributes(modules: Mapping[str, nn.Module]) -> Attributes:
    """The attributes and buffers of modules as they are now, by path."""
    scripted = torch.jit.ScriptModule
    return {path: (module, _ids(module)) for path, module in modules.items() if not isinstance(module, scripted)}


def _ids(module: nn.Module) -> dict[str, Any]:
    """The `id` of each attribute and buffer of a module; for a list or dict, also the ids of its items."""
    return {
        name: [id(value), *(map(id, value.values() if isinstance(value, dict) else value))]
        if type(value) in (list, dict)
        else id(value)
        for name, value in {**module.__dict__, **module._buffers}.items()
    }


def _changed(earlier: Attributes) -> frozenset[tuple[str, str]]:
    """The attributes and buffers that have changed: they are new or different, or hold different items."""
    return frozenset(
        (path, name)
        for path, (module, ids) in earlier.items()
        for name, value in _ids(module).items()
        if value != ids.get(name)
    )


def _input_names(root: nn.Module, inputs: Sequence[str] | None) -> tuple[str, ...]:
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


def _reason(error: Exception) -> str:
    """The reason why the trace stopped, and the line of the network's own code at which it stopped."""
    tracing_code = ("torch/fx/", "netlens/flat/")
    frames: list[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    frames = [f for f in frames if not any(folder in f.filename.replace("\\", "/") for folder in tracing_code)]
    reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
    if isinstance(error, fx.proxy.TraceError):
        reason = "its control flow depends on the data"
    if not frames:
        return reason
    line = linecache.getline(frames[-1].filename, frames[-1].lineno or 0).strip()
    return f"{reason} ({frames[-1].filename}:{frames[-1].lineno}: `{line}`)"
