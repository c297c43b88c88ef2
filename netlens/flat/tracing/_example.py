"""An example that runs along with a trace. It answers questions about shapes, types and devices, but not about data.

Each traced value has the value that it takes on the example. Python code may need a number, a truth value, a length or
a type. If this depends on shapes, types and devices alone, the example gives it, and the answer becomes an assumption
of the program. If it depends on data, nothing gives it, and the part that asks stays opaque.
"""

from __future__ import annotations

import builtins
import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.immutable_collections import immutable_dict, immutable_list
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from netlens.errors import TraceError
from netlens.flat.twin import throwaway

_FACTS = {"shape", "ndim", "dtype", "device", "layout", "is_cuda", "is_mps", "is_meta", "requires_grad", "itemsize"}
_FACT_METHODS = {"size", "dim", "ndimension", "numel", "nelement", "stride", "get_device", "is_floating_point"}
_FACT_METHODS |= {"is_complex", "is_contiguous", "element_size", "type", "storage_offset"}
_SHAPED_LIKE = {"zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones", "new_empty", "new_full"}
_FACT_FUNCTIONS = {"is_floating_point", "is_complex", "numel", "result_type", "is_same_size"}
_NUMBERS: tuple[type, ...] = (
    *(int, float, complex, str, np.generic, np.ndarray),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format, torch.finfo, torch.iinfo),
)
_SIZED_BY_DATA = {
    "nonzero",
    "masked_select",
    "unique",
    "unique_consecutive",
    "argwhere",
    "repeat_interleave",
    "bincount",
}
# the code of these packages asks what kind of object it handles, not what kind of value the network computes
_MACHINERY = ("torch.fx", "torch.utils", "torch.overrides", "torch._", "torch.nn.parameter", "netlens")
_ASKS_FOR_NETWORKS = "torch._jit_internal"  # it holds torch.jit.isinstance


class AssumptionError(TraceError):
    """An input has another shape or type than the example along which a network was unrolled.

    Args:
        assumption: The assumption that does not hold, for messages.
    """

    def __init__(self, message: str, assumption: str = "") -> None:
        super().__init__(message)
        self.assumption = assumption


class Assumption:
    """A check that a fact about shapes or types is as it was on the example.

    Args:
        answer: The answer on the example.
        fact: A function from the value to the answer.
        line: The line of the network that asks.
    """

    __name__ = "assumption"

    def __init__(self, answer: Any, fact: Callable[[Any], Any], line: str) -> None:
        self.answer, self.fact, self.line = answer, fact, line

    def __call__(self, value: Any) -> None:
        if self.fact(value) != self.answer:
            raise AssumptionError(
                f"the network was unrolled for inputs of another shape or type: {self}. Take flat.fitting(x), which is "
                "unrolled for the input x.",
                str(self),
            )

    def __str__(self) -> str:
        return f"{self.answer!r} in {self.line}"


class Examples:
    """The value of each node of a trace on one example.

    Args:
        inputs: The input values by name.
        modules: The modules that nodes name, by path. Modules may be added later.
        tensors: The tensors that nodes name, by path, likewise.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        modules: Callable[[str], tuple[nn.Module, bool]],
        tensors: Callable[[str], Tensor],
    ) -> None:
        self.inputs = inputs
        self.module, self.tensor = modules, tensors
        self.values: dict[fx.Node, Any] = {}
        self.on_data: set[fx.Node] = set()
        self.sized_by_data: set[fx.Node] = set()
        self.running = False

    def run(self, node: fx.Node) -> None:
        """Compute the value of a node from the values of its inputs, as the network would."""
        with self.quiet():
            self.values[node] = self._value(node)
        reads = node.all_input_nodes
        if node.op == "placeholder" or (self.on_data.intersection(reads) and not _is_fact(node)):
            self.on_data.add(node)
        if _is_fact(node):
            if self.sized_by_data.intersection(reads):
                self.on_data.add(node)
        elif self.sized_by_data.intersection(reads) or self._makes_size_from_data(node, reads):
            self.sized_by_data.add(node)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Within the block nothing is recorded, so that code of the network runs on tensors."""
        self.running = True
        try:
            with torch.no_grad(), torch._C.DisableTorchFunction():
                yield
        finally:
            self.running = False

    def copies(self, values: Any) -> Any:
        """Copies of the examples of traced values, in the same structure."""
        return pytree.tree_map_only(
            fx.Proxy,
            lambda value: pytree.tree_map_only(Tensor, torch.clone, self.values[value.node]),
            values,
        )

    def is_no_layer(self, target: Any, args: Any, kwargs: Any) -> bool:
        """Whether a function of the network's own library writes into its arguments or gives more than one tensor."""
        copies = self.copies((args, kwargs))
        before = [(leaf, leaf._version) for leaf in pytree.tree_leaves(copies) if isinstance(leaf, Tensor)]
        with self.quiet():
            result = target(*copies[0], **copies[1])
        return not isinstance(result, Tensor) or any(leaf._version != version for leaf, version in before)

    def forget(self, nodes: Sequence[fx.Node]) -> None:
        for node in nodes:
            self.values.pop(node, None)
            self.on_data.discard(node)
            self.sized_by_data.discard(node)

    def _value(self, node: fx.Node) -> Any:
        target: Any = node.target
        if node.op == "placeholder":
            value = self.inputs[target]
            return pytree.tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), value)
        if node.op == "get_attr":
            tensor = self.tensor(target).detach()
            return tensor if isinstance(self.tensor(target), nn.Parameter) else tensor.clone()
        args, kwargs = (map_arg(part, self.values.__getitem__) for part in (node.args, node.kwargs))
        args, kwargs = _plain(args), _plain(kwargs)
        if node.op == "call_module":
            module, opaque = self.module(target)
            return (throwaway(module) if opaque else module)(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        return target(*args, **kwargs)

    def _makes_size_from_data(self, node: fx.Node, reads: Sequence[fx.Node]) -> bool:
        if not self.on_data.intersection(reads) or (node.target is operator.getitem and len(reads) == 1):
            return False
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        if name in _SIZED_BY_DATA or (name == "where" and len(reads) == 1):
            return True
        numbers = [read for read in reads if read in self.on_data and not isinstance(self.values[read], Tensor)]
        if any(isinstance(leaf, (int, float)) for read in numbers for leaf in pytree.tree_leaves(self.values[read])):
            return True
        masks = [read for read in reads[1:] if read in self.on_data]
        return node.target in (operator.getitem, torch.Tensor.__getitem__) and any(
            isinstance(self.values[mask], Tensor) and self.values[mask].dtype is torch.bool for mask in masks
        )


def is_number(example: Any) -> bool:
    """Whether a value holds numbers, texts, types or devices alone, and so is no activation."""
    leaves = pytree.tree_leaves(example)
    return bool(leaves) and all(isinstance(leaf, _NUMBERS) for leaf in leaves)


def _is_fact(node: fx.Node) -> bool:
    """Whether a node asks for the shape, type or device of a value, or makes a tensor of that shape alone."""
    if node.op == "call_method":
        return node.target in _FACT_METHODS or node.target in _SHAPED_LIKE
    if node.target is builtins.getattr:
        return node.args[1] in _FACTS
    name = getattr(node.target, "__name__", "")
    return node.target is builtins.len or name in _SHAPED_LIKE or name.startswith("sym_size") or name in _FACT_FUNCTIONS


def _plain(value: Any) -> Any:
    """Arguments without fx's immutable lists and dicts, which code of the network may ask for their type."""
    if type(value) in (list, immutable_list):
        return [_plain(item) for item in value]
    if type(value) in (dict, immutable_dict):
        return {key: _plain(item) for key, item in value.items()}
    if type(value) is tuple:
        return tuple(_plain(item) for item in value)
    return value


@contextmanager
def types_of_examples(
    value_of: Callable[[Any], tuple[bool, Any]],
    length_of: Callable[[Any], Any],
    depends_on_data: Callable[[Any], bool],
) -> Iterator[None]:
    """Within the block, `isinstance`, `len`, `callable` and `hasattr` treat a traced value as its example."""
    real: dict[str, Any] = {name: getattr(builtins, name) for name in ("isinstance", "len", "callable", "hasattr")}
    real_isinstance, real_len, real_callable, real_hasattr = real.values()

    def example_of(value: Any) -> Any:
        """The example of a traced value. For code of torch and netlens that handles traces: the traced value itself."""
        caller = sys._getframe(2).f_globals.get("__name__") or ""
        if caller.startswith(_MACHINERY) and caller != _ASKS_FOR_NETWORKS:
            return value
        exists, example = value_of(value)
        return example if exists else value

    # torch asks for types all the time, so the usual case comes first
    def isinstance_(value: Any, kinds: Any) -> bool:
        if not issubclass(type(value), fx.Proxy):
            return bool(real_isinstance(value, kinds))
        if kinds is Tensor and sys._getframe(1).f_globals.get("__name__") == pytree.__name__:
            return value_of(value)[0] and real_isinstance(value_of(value)[1], Tensor)  # a network maps its tensors
        example = example_of(value)
        if kinds is fx.Proxy and example is not value:
            # a network asks this to learn whether it may read the content of a value
            return depends_on_data(value)
        return bool(real_isinstance(example, kinds))

    def callable_(value: Any) -> bool:
        return bool(real_callable(example_of(value) if issubclass(type(value), fx.Proxy) else value))

    def hasattr_(value: Any, name: str) -> bool:
        return bool(real_hasattr(example_of(value) if issubclass(type(value), fx.Proxy) else value, name))

    def len_(value: Any) -> Any:
        return length_of(value) if issubclass(type(value), fx.Proxy) else real_len(value)

    replacements = {"isinstance": isinstance_, "len": len_, "callable": callable_, "hasattr": hasattr_}
    for name, function in replacements.items():
        setattr(builtins, name, function)
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(builtins, name, function)
