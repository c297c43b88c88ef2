"""Tracing: one symbolic run of a network gives its graph. The smallest part that cannot be traced stays whole."""

from __future__ import annotations

import builtins
import inspect
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from netlens.errors import TraceError
from netlens.flat.tracing._assertions import asserts, recorded_checks
from netlens.flat.tracing._autograd import plain_functions
from netlens.flat.tracing._caches import looks_up, uncached
from netlens.flat.tracing._example import Assumption, Examples, is_number, types_of_examples
from netlens.flat.tracing._inputs import as_arguments, input_names
from netlens.flat.tracing._leaves import is_leaf
from netlens.flat.tracing._lines import asking_line, reason_of
from netlens.flat.tracing._paths import modules_of, tensors_of
from netlens.flat.tracing._recorded import recorded_calls
from netlens.flat.tracing._state import attributes_of, autocasts, changed_since, containers_in, content_of, restore
from netlens.flat.tracing._traced import Trace
from netlens.flat.tracing._user_hooks import arguments_after_hooks, output_after_hooks
from netlens.flat.tracing._values import Value, ValueAttribute, Weight
from netlens.flat.tracing._wrapped import whole_if_layers
from netlens.flat.twin import Twins

# a trace patches nn.Module in the whole process and restores it afterwards; two traces at once would restore it wrong
_ONE_AT_A_TIME = threading.Lock()


Rewrite = Callable[[nn.Module], nn.Module | None]


def trace(
    root: nn.Module,
    inputs: Sequence[str] | None = None,
    rewrite: Rewrite = lambda module: None,
    twins: Twins | None = None,
    example: Mapping[str, Any] | None = None,
) -> Trace:
    """Trace a network. A submodule that cannot be traced becomes one node, and `opaque` holds the reason.

    Args:
        root: A twin of the network, never the user's module.
        inputs: The arguments of its forward that are inputs; by default those without a default value. All others keep
            their default values.
        rewrite: A function from a module to a module of pure pieces to trace in its place, or to None.
        twins: The twins of modules and tensors by the `id` of the original. A closure in the network may still refer
            to an original.
        example: The inputs of one run by name. It answers questions about shapes and types; without it, such a question
            stops the trace.

    Raises:
        TraceError: The forward of `root` itself cannot be traced. The message names the line.
    """
    names = input_names(root, inputs) if example is None else tuple(example)
    tracer = _Tracer(root, names, rewrite, twins if twins is not None else Twins(root, {}, {}), example)
    attributes = attributes_of(modules_of(root, ""))
    try:
        with _ONE_AT_A_TIME, tracer.exemplified():
            graph = tracer.trace(root)
    except Exception as error:
        reason = reason_of(error)
        example_may_answer = example is None and isinstance(error, fx.proxy.TraceError)
        hint = " Or give an example=x, which answers questions about shapes and types." if example_may_answer else ""
        raise TraceError(
            f"{type(root).__name__}.forward cannot be traced: {reason}. Move that part into a submodule of its own: "
            f"it then becomes one opaque layer, and everything around it is unrolled.{hint}"
        ) from error
    written = tracer.written | changed_since(attributes)
    modules, tensors = tracer.modules_by_path, tracer.tensors
    return Trace(graph, modules, tensors, names, tracer.output, tracer.opaque, written, tracer.literals)


class _Tracer(fx.Tracer):
    def __init__(
        self,
        root: nn.Module,
        inputs: tuple[str, ...],
        rewrite: Rewrite,
        twins: Twins,
        example: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.autocasts = autocasts()
        self.examples = None if example is None else Examples(example, self.module_at, lambda path: self.tensors[path])
        self.assumptions: dict[fx.Node, set[Any]] = {}
        self.inputs = inputs
        self.thread = threading.get_ident()
        self.rewrite = rewrite
        self.twins, self.hooked = twins.copies, twins.hooked
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
            pieces = self.pieces.get("")
            module = self.root if pieces is None else pieces
            args, kwargs = as_arguments(module, dict(zip(self.inputs, values, strict=True)))
            output = root_fn(module, *args, **kwargs) if pieces is None else pieces.forward(*args, **kwargs)
            leaves, self.output = pytree.tree_flatten(output)
            return leaves

        return forward, arguments

    @contextmanager
    def exemplified(self) -> Iterator[None]:
        """The context in which a network may be traced along an example."""
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())  # a forward that switches gradients off is then seen to do so
            stack.enter_context(plain_functions())
            stack.enter_context(recorded_checks(self.silent))
            if self.examples is not None:
                stack.enter_context(torch.random.fork_rng(devices=[]))
                stack.enter_context(uncached(self.modules_by_path.values()))
                stack.enter_context(types_of_examples(self.example_of, self.length, self.depends_on_data))
                stack.enter_context(recorded_calls(self.silent, self.content))
                stack.enter_context(whole_if_layers(self.examples.is_no_layer))
            yield

    def silent(self) -> bool:
        """Whether calls are not recorded: while the example runs, or in another thread."""
        return threading.get_ident() != self.thread or (self.examples is not None and self.examples.running)

    def module_at(self, path: str) -> tuple[nn.Module, bool]:
        """The module that a node names, and whether it is opaque."""
        return self.modules_by_path[path], path in self.opaque

    def example_of(self, value: fx.Proxy) -> tuple[bool, Any]:
        """Whether a traced value has an example, and the example."""
        if self.examples is None or value.tracer is not self:
            return False, None
        return True, self.examples.values[value.node]

    def depends_on_data(self, value: fx.Proxy) -> bool:
        """Whether the example does not answer what a traced value is."""
        return self.examples is None or value.node in self.examples.on_data

    def content(self, value: fx.Proxy, read: Callable[[Any], Any] = lambda example: example) -> Any:
        """The number or truth value that a traced value is on the example, as an assumption of the program.

        Raises:
            fx.proxy.TraceError: It depends on data.
        """
        if self.depends_on_data(value):
            raise fx.proxy.TraceError("its control flow depends on the data")
        return self.assumed(value, read)

    def count(self, value: fx.Proxy) -> int:
        """The length of a traced value on the example, as an assumption of the program.

        Raises:
            fx.proxy.TraceError: It depends on data.
        """
        if self.examples is None or value.node in self.examples.sized_by_data:
            raise fx.proxy.TraceError("its control flow depends on the data")
        length: int = self.assumed(value, len)
        return length

    def assumed(self, value: fx.Proxy, read: Callable[[Any], Any]) -> Any:
        assert self.examples is not None
        answer = read(self.examples.values[value.node])
        # 1 equals True, but a check of the one is no check of the other; and some answers have no hash
        keys = self.assumptions.setdefault(value.node, set())
        key = (read, type(answer), repr(answer))
        if key not in keys:
            keys.add(key)
            self.create_proxy("call_function", Assumption(answer, read, asking_line()), (value,), {})
        return answer

    def length(self, value: fx.Proxy) -> Any:
        """What `len` gives: the traced size of a tensor, so that any batch may follow; a number for other values."""
        exists, example = self.example_of(value)
        return cast("Any", value).shape[0] if exists and isinstance(example, Tensor) else self.count(value)

    def hashed(self, value: fx.Proxy) -> int:
        """The hash of a traced number: that of the number on the example, so that the network finds it in a dict."""
        exists, example = self.example_of(value)
        if not exists or isinstance(example, Tensor):
            return object.__hash__(value)
        if isinstance(example, (tuple, list, dict)) or not looks_up(sys._getframe(2)):
            raise TypeError("it uses a traced shape as a key")  # a cache of the network would keep it
        return hash(self.content(value))

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        exists, example = self.example_of(obj)
        if not exists:
            return super().iter(obj)
        if isinstance(example, dict):
            return iter(list(example))
        return iter([cast("Any", obj)[index] for index in range(self.count(obj))])

    def keys(self, obj: fx.Proxy) -> Any:
        exists, example = self.example_of(obj)
        return list(example) if exists and isinstance(example, Mapping) else super().keys(obj)

    def create_proxy(self, *args: Any, **kwargs: Any) -> Any:
        """Record a call, and give its traced value. None stays None, because code asks whether a value is None."""
        proxy = super().create_proxy(*args, **kwargs)
        if self.examples is not None:
            self.examples.run(proxy.node)
            example = self.examples.values[proxy.node]
            if example is None and proxy.node.op.startswith("call") and proxy.node.target is not builtins.getattr:
                return None
            proxy.node.meta["number"] = is_number(example)
            if isinstance(example, Tensor):
                proxy.node.meta["ndim"] = example.ndim
        return self.in_modes(proxy) if proxy.node.op.startswith("call") and not self.silent() else proxy

    def in_modes(self, value: fx.Proxy) -> fx.Proxy:
        """A value as autocast and `no_grad`, which the forward may switch, make it.

        The layer runs under the same autocast, and a value without a gradient is detached.
        """
        if autocasts() != self.autocasts:
            value.node.meta["autocasts"] = autocasts()
        if torch.is_grad_enabled() or (self.examples is not None and value.node not in self.examples.on_data):
            return value
        if self.examples is None or not isinstance(self.examples.values[value.node], Tensor):
            raise TypeError("its forward switches gradients off")
        with torch.enable_grad():
            detached: fx.Proxy = self.create_proxy("call_method", "detach", (value,), {})
        return detached

    def to_bool(self, obj: fx.Proxy) -> bool:
        """An assertion becomes a node of the graph; any other control flow on a traced value stops the trace.

        Along an example, control flow on shapes and types goes on as on the example.
        """
        frame = inspect.currentframe()
        while frame is not None and frame.f_globals.get("__name__") in (__name__, fx.proxy.__name__):
            frame = frame.f_back
        if frame is None or not asserts(frame):
            return super().to_bool(obj) if self.examples is None else bool(self.content(obj, bool))
        self.create_proxy("call_function", torch._assert, (obj, f"assertion in line {frame.f_lineno}"), {})
        return True

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Value(node, self)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["scope"] = self.scopes[-1]
        return node

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self.silent() or threading.get_ident() != self.thread or not isinstance(attr_val, Tensor):
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
                proxy_factory_fn=lambda node: Weight(node, self, attr_val),
            )
        return parameter_proxy_cache[path]

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor) and not isinstance(a, fx.Proxy):
            a = self.twins.get(id(a), a)
            a = a.detach() if a.requires_grad else a  # never the user's own parameter
            registered = id(a) in self.tensor_paths  # else the forward itself makes the tensor
            path = self.tensor_paths.setdefault(id(a), f"{self.scopes[-1]}.constant".lstrip("."))
            if path in self.tensors and self.tensors[path] is not a:
                path = self.tensor_paths[id(a)] = f"{path}_{len(self.tensors)}"
            self.tensors[path] = a
            if not registered:
                self.literals.add(path)
            node = self.create_node("get_attr", path, (), {})
            if self.examples is not None:
                self.examples.run(node)
            return node
        return super().create_arg(a.item() if isinstance(a, np.generic) else a)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self.silent():  # tracing patches nn.Module.__call__ for every thread
            return forward(*args, **kwargs)
        if id(m) in self.twins and self.twins[id(m)] is not m:
            m = self.twins[id(m)]
            forward = m.forward
        original = self.hooked.get(id(m))
        if original is None or self.examples is None:
            return self.call_without_hooks(m, forward, args, kwargs)
        args, kwargs = arguments_after_hooks(self.examples, original, args, kwargs)
        return output_after_hooks(
            self.examples, original, args, kwargs, self.call_without_hooks(m, forward, args, kwargs)
        )

    def call_without_hooks(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """The output of a module, which becomes one layer, or the layers of its parts."""
        path = self.path_of_module(m)
        if path in self.opaque:
            return self.create_proxy("call_module", path, args, kwargs)
        pieces = self.pieces.get(path)
        if pieces is not None:
            forward = pieces.forward
        elif is_leaf(m):
            if m.training and id(m) in self.in_eval_mode:
                self.opaque[path] = "the forward around it puts it into train mode"
            output = self.create_proxy("call_module", path, args, kwargs)
            for hook in m._forward_hooks.values():  # hooks by which the module's own library gathers outputs
                changed = hook(m, args, output)
                output = output if changed is None else changed
            return output
        elif isinstance(m, torch.jit.ScriptModule):
            self.opaque[path] = "it is compiled by TorchScript"
            return self.create_proxy("call_module", path, args, kwargs)
        parts = list(m.modules())
        attributes = attributes_of({self.paths[id(part)]: part for part in parts if id(part) in self.paths})
        backup = [content_of(part) for part in parts]
        containers = containers_in((args, kwargs))
        for argument in pytree.tree_leaves((args, kwargs)):
            if isinstance(argument, ValueAttribute):
                argument.node  # noqa: B018 - creates the node now: nodes made in the forward may be erased below
        last_node = next(iter(reversed(self.graph.nodes)))
        self.scopes.append(path)
        try:
            return forward(*args, **kwargs)
        except Exception as error:
            erased = list(itertools.takewhile(lambda node: node is not last_node, reversed(self.graph.nodes)))
            for node in erased:
                self.graph.erase_node(node)
            if self.examples is not None:
                self.examples.forget(erased)
                for node in erased:
                    self.assumptions.pop(node, None)
            restore(containers)
            self.written |= changed_since(attributes)
            for content in backup:  # the forward may have stored traced values in attributes and buffers
                restore(content)
            self.opaque[path] = reason_of(error)
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
            pieces = self.rewrite(submodule)  # before the trace, because a trace allows no new modules
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
