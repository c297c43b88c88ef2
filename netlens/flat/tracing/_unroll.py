"""Unrolling: from a traced graph to a program of pure, named layers, each called exactly once."""

from __future__ import annotations

import builtins
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from netlens.errors import TraceError
from netlens.flat.keys import OUTPUT
from netlens.flat.layers import Apply, Autocast, Call, Constant, Function, Opaque, Slot
from netlens.flat.running import Program, Step
from netlens.flat.tracing._aliases import Aliases
from netlens.flat.tracing._assertions import ASSERTIONS, Check
from netlens.flat.tracing._attention import Part, parts_of_attention
from netlens.flat.tracing._canonical import canonical
from netlens.flat.tracing._example import Assumption
from netlens.flat.tracing._exported import usual
from netlens.flat.tracing._functional import is_functional, with_modules
from netlens.flat.tracing._leaves import is_leaf
from netlens.flat.tracing._lift import lift, pure, reshapes, values_alone, without_inplace
from netlens.flat.tracing._trace import Rewrite, trace
from netlens.flat.tracing._traced import Trace
from netlens.flat.twin import Twins, pure_copy, works_in_place

_SIZE_ATTRIBUTES = {"shape", "ndim", "dtype", "device", "is_cuda", "layout", "requires_grad", "itemsize", "nbytes"}
_SIZE_METHODS = {"size", "dim", "ndimension", "numel", "nelement", "stride", "get_device", "is_floating_point", "item"}
_NDIMS = {nn.BatchNorm2d: 4, nn.BatchNorm3d: 5}
_GRADIENT_METHODS = {"requires_grad_", "retain_grad"}


class Unrolling(NamedTuple):
    """The result of unrolling a network.

    Attributes:
        program: The steps of the network.
        opaque: The reason for each layer that could not be unrolled, by key.
        written: The attributes that the network's own forward sets, each as (path of the module, name).
    """

    program: Program
    opaque: dict[str, str]
    written: frozenset[tuple[str, str]]


def unroll(
    root: nn.Module,
    inputs: Sequence[str] | None,
    rewrite: Rewrite,
    twins: Twins | None = None,
    example: Mapping[str, Any] | None = None,
) -> Unrolling:
    """Trace a network and unroll it; see `trace` for the arguments.

    Raises:
        TraceError: The forward of `root` itself cannot be traced.
    """
    traced = trace(root, inputs, rewrite, twins, example)
    program, opaque = _Unroll(traced).program()
    return Unrolling(program, opaque, traced.written)


class _Unroll:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.steps: dict[str, Step] = {}
        self.aliases = Aliases(self.append)
        self.sizes: set[fx.Node] = set()  # nodes that compute shapes and other numbers
        self.extremes: set[fx.Node] = set()  # calls of `max` and `min` that give their values without indices
        self.literals: set[str] = set()  # keys of the constants that the forward itself makes
        self.opaque: dict[str, str] = {}
        self.ndims: dict[str, int | None] = {}  # the number of dimensions of outputs by key, where they are known
        self.inputs = ("input",) if len(trace.inputs) == 1 else trace.inputs
        # the key of a module is its path, so the call of a function must not take that key first
        self.reserved = {path for path, module in trace.modules.items() if is_leaf(module)} | set(self.inputs)
        # these keys mean the input and output of the network; a layer of such a name gets a number: "output_1"
        self.used: set[str] = {*self.inputs, OUTPUT}

    def program(self) -> tuple[Program, dict[str, str]]:
        names = iter(self.inputs)
        outputs: tuple[str, ...] = ()
        for node in self.trace.graph.nodes:
            if node.op == "placeholder":
                self.aliases.define(node, next(names))
            elif node.op == "get_attr":
                self.constant(node)
            elif node.op == "call_module":
                self.module(node)
            elif node.op == "output":
                outputs = tuple(self.output(leaf) for leaf in node.args[0])
            else:
                self.call(node)
        steps = with_modules(tuple(_needed(self.steps.values(), outputs)), self.inputs, self.ndims)
        steps = canonical(tuple(_needed(steps, outputs)), outputs, self.literals)
        steps = tuple(_needed(steps, outputs))
        opaque = {step.key: self.opaque[step.key] for step in steps if step.key in self.opaque}
        return Program(steps, self.inputs, outputs, self.trace.output), opaque

    def constant(self, node: fx.Node) -> None:
        assert isinstance(node.target, str)
        if node.target not in self.trace.tensors:
            raise TraceError(
                f"the tensor {node.target!r} is packed, for example by quantization; give the network before packing."
            )
        key = self.name(node.target)
        self.append(Step(key, Constant(self.trace.tensors[node.target]), ()))
        if node.target in self.trace.literals:
            self.literals.add(key)
        self.aliases.define(node, key)

    def module(self, node: fx.Node) -> None:
        path = str(node.target)
        module = self.trace.modules[path]
        nodes, args, kwargs = _slots(*_positional(module, node.args, node.kwargs))
        layer: nn.Module
        if path in self.trace.opaque:
            # an opaque layer needs no pure copy, because it works on clones of its inputs
            layer = Opaque(module, args, kwargs, self.trace.opaque[path], self.read_later(node, nodes))
        elif not kwargs and args == tuple(Slot(i) for i in range(len(nodes))):
            layer = pure_copy(module)
        else:
            layer = Call(pure_copy(module), args, kwargs)
        key = self.name(path, module=True)
        if isinstance(layer, Opaque):
            self.opaque[key] = layer.reason
        self.append_layer(node, key, layer, nodes, in_place=works_in_place(module))

    def read_later(self, node: fx.Node, reads: list[fx.Node]) -> list[int]:
        """The indices of the `reads` whose memory the network reads again after `node`, perhaps through a view."""
        later = {
            source for user in _later_nodes(node) for source in user.all_input_nodes if source in self.aliases.values
        }
        return [
            i
            for i, source in enumerate(reads)
            if any(self.aliases.share(source, later_source) for later_source in later)
        ]

    def call(self, node: fx.Node) -> None:
        function: Any = node.target
        if isinstance(function, torch._ops.OpOverload):
            function, node.args = usual(function, node.args)
        if node.op == "call_method":
            # a number may have a method of the same name as tensors, such as `x.shape.numel()`
            of_tensor = None if node.args[0] in self.sizes else getattr(Tensor, str(node.target), None)
            function = of_tensor or _Method(str(node.target))
        if node.kwargs.get("out") is not None:
            raise TraceError(
                f"`{_label(function)}(out=...)` in {self.scope(node)} writes into another tensor; use the result."
            )
        if node.op == "call_method" and node.target in _GRADIENT_METHODS and isinstance(node.args[0], fx.Node):
            self.aliases.alias(node, node.args[0])
            return
        source = node.args[0] if node.args else None
        if isinstance(source, fx.Node) and source in self.extremes:  # the source returns the values alone
            self.aliases.alias(node, source)
            return
        parts = parts_of_attention(node.args, node.kwargs) if function is F.scaled_dot_product_attention else None
        if parts is not None:
            self.parts(node, parts)
            return
        in_place, (args, kwargs) = without_inplace(function, node.args, node.kwargs)
        counterpart = pure(function)
        if self.is_size(node, function):
            self.size(node, counterpart or function)
            return
        nodes, args, kwargs = _slots(args, kwargs)
        values = values_alone(node, function)
        if values is not None:
            self.extremes.add(node)
        layer, indices = lift(values or counterpart or function, args, kwargs, len(nodes))
        key = self.name(f"{node.meta['scope']}.{_label(counterpart or function, args)}".lstrip("."))
        reads = [nodes[i] for i in indices]
        if reshapes(function):
            self.append(Step(key, layer, tuple(self.aliases.key(read_node) for read_node in reads)))
            self.aliases.reshape(node, key, layer, reads)
            return
        if counterpart is not None and isinstance(layer, Function):
            layer.keeps_type = True
        self.append_layer(node, key, layer, reads, in_place=in_place or counterpart is not None)

    def parts(self, node: fx.Node, parts: Sequence[Part]) -> None:
        """Append the steps of the pieces of a call. The last one gives the value of the node."""
        keys: dict[str, str] = {}
        for part in parts:
            reads = tuple(keys[read] if isinstance(read, str) else self.aliases.key(read) for read in part.reads)
            key = f"{node.meta['scope']}.{part.name}".lstrip(".")
            keys[part.name] = f"~{node.name}.{part.name}" if part.hidden else self.name(key)
            self.append(Step(keys[part.name], part.layer, reads, hidden=part.hidden))
        self.aliases.define(node, keys[parts[-1].name])

    def append_layer(self, node: fx.Node, key: str, layer: nn.Module, reads: list[fx.Node], in_place: bool) -> None:
        """Append the step of a layer. Record the key of the node's value, and which other values it overwrites."""
        if is_functional(layer):
            norm = type(self.trace.modules.get(node.meta["scope"]))
            of_norm = next((ndim for kind, ndim in _NDIMS.items() if issubclass(norm, kind)), None)
            self.ndims[key] = node.meta.get("ndim", of_norm)
        if "autocasts" in node.meta:
            layer = Autocast(layer, node.meta["autocasts"])
        self.append(Step(key, layer, tuple(self.aliases.key(source) for source in reads)))
        target = node.args[0] if node.args else node.kwargs.get("input")
        if in_place and reads and reads[0] is target:
            self.aliases.overwrite(reads[0], key)
            self.aliases.alias(node, reads[0])
        else:
            self.aliases.define(node, key, layer, reads)

    def size(self, node: fx.Node, function: Callable[..., Any]) -> None:
        nodes, args, kwargs = _slots(node.args, node.kwargs)
        key = f"~{node.name}"
        reads = tuple(self.aliases.key(source) for source in nodes)
        guard = function in ASSERTIONS or isinstance(function, (Assumption, Check))
        self.append(Step(key, Apply(function, args, kwargs), reads, hidden=True, guard=guard))
        self.sizes.add(node)
        self.aliases.define(node, key)

    def is_size(self, node: fx.Node, function: Callable[..., Any]) -> bool:
        """Whether a call gives no activation, but a shape, a number, a type or a device, or checks an assertion."""
        if (node.op == "call_method" and node.target in _SIZE_METHODS) or function in (*ASSERTIONS, Tensor.size):
            return True
        if isinstance(function, (Assumption, Check)) or node.meta.get("number", False):
            return True
        if function is builtins.getattr and node.args[1] in _SIZE_ATTRIBUTES:
            return True
        inputs = node.all_input_nodes
        if not inputs or any(node not in self.sizes for node in inputs):
            return False
        return not _makes_tensors(function)

    def output(self, leaf: Any) -> str:
        if isinstance(leaf, fx.Node):
            return self.aliases.key(leaf)
        key = self.name("constant")
        self.append(Step(key, Apply(_Returns(leaf), (), {}), (), hidden=True))
        return key

    def append(self, step: Step) -> None:
        self.steps[step.key] = step

    def name(self, stem: str, module: bool = False) -> str:
        """A key that no step has yet: `stem`, or `stem` with a number."""
        key = stem
        count = 0
        while key in self.used or ((count or not module) and key in self.reserved):
            count += 1
            key = f"{stem}_{count}"
        self.used.add(key)
        return key

    def scope(self, node: fx.Node) -> str:
        return node.meta["scope"] or "the network's forward"


class _Method:
    """A function that calls a method of its first argument, which is no tensor."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(value, self.__name__)(*args, **kwargs)


class _Returns:
    """A function without arguments that returns a constant."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> Any:
        return self.value


def _later_nodes(node: fx.Node) -> Iterator[fx.Node]:
    while (node := node.next).op != "root":
        yield node


def _positional(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The arguments of a module's call, by position where possible. So `conv(input=x)` gives the layer of `conv(x)`."""
    kwargs = dict(kwargs)
    for name in list(inspect.signature(module.forward).parameters)[len(args) :] if kwargs else ():
        if name not in kwargs:
            break
        args = (*args, kwargs.pop(name))
    return args, kwargs


def _slots(args: Any, kwargs: Any) -> tuple[list[fx.Node], tuple[Any, ...], dict[str, Any]]:
    """The nodes that a call reads, in order, and its arguments with a `Slot` in place of each node."""
    nodes: list[fx.Node] = []

    def walk(value: Any) -> Any:
        if isinstance(value, fx.Node):
            nodes.append(value)
            return Slot(len(nodes) - 1)
        if isinstance(value, tuple):
            return tuple(walk(item) for item in value)
        if isinstance(value, list):
            return [walk(item) for item in value]
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        if isinstance(value, slice):
            return slice(walk(value.start), walk(value.stop), walk(value.step))
        return value

    args, kwargs = walk(args), walk(kwargs)
    return nodes, args, kwargs


def _label(function: Callable[..., Any], args: tuple[Any, ...] = ()) -> str:
    if function is builtins.getattr and len(args) > 1:
        return str(args[1])
    name = getattr(function, "__name__", type(function).__name__)
    return {"truediv": "div", "concat": "cat", "concatenate": "cat"}.get(name, name.strip("_"))


def _makes_tensors(function: Callable[..., Any]) -> bool:
    """Whether a function whose arguments are numbers returns a tensor, as `torch.arange` and `torch.zeros` do.

    Functions of Python and of the user are assumed to return numbers.
    """
    if function is operator.getitem:
        return False
    name = getattr(function, "__name__", "")
    module = getattr(function, "__module__", None) or ""
    return getattr(torch, name, None) is function or module.startswith("torch.") or inspect.ismethoddescriptor(function)


def _needed(steps: Any, outputs: tuple[str, ...]) -> Iterator[Step]:
    """The steps on which an output or a guard depends. All other steps have no effect.

    Those on which guards alone depend are hidden. So a run that computes what they read computes them, too.
    """
    steps = list(steps)
    of_outputs, of_guards = set(outputs), {step.key for step in steps if step.guard}
    for step in reversed(steps):
        for needed in (of_outputs, of_guards):
            if step.key in needed:
                needed.update(step.reads)
    for step in steps:
        if step.key in of_outputs:
            yield step
        elif step.key in of_guards:
            yield replace(step, hidden=True)
