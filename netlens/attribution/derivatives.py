"""Directional and second derivatives, which some operations of torch lack. An error names the layer that lacks one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn.attention import SDPBackend, sdpa_kernel

from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.guard import guarded
from netlens.flat.model import OUTPUT
from netlens.flat.modes import differentiating
from netlens.flat.operations import innermost, name_of

T = TypeVar("T")


def along(function: Callable[..., Tensor], primals: Sequence[Tensor], tangents: Sequence[Tensor]) -> Tensor:
    """The derivative of a function of real tensors along `tangents`, in the shape of its value.

    Forward mode computes it. If an operation has no forward mode, reverse mode computes it in two passes.

    Raises:
        RuntimeError: An operation has neither; `lacking` names it.
    """
    try:
        derivative: Tensor = with_derivatives(lambda: torch.func.jvp(function, tuple(primals), tuple(tangents))[1])
        return derivative
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return with_derivatives(lambda: _twice(function, primals, tangents))


def _twice(function: Callable[..., Tensor], primals: Sequence[Tensor], tangents: Sequence[Tensor]) -> Tensor:
    """`along` by reverse mode: the input gradient is linear in the output gradient, and this is its transpose."""
    with differentiating():
        points = [value.detach().requires_grad_() for value in primals]
        output = guarded(function, *points)
        if not output.requires_grad:
            return torch.zeros_like(output)
        weights = torch.zeros_like(output).requires_grad_()
        pulled = torch.autograd.grad(output, points, weights, create_graph=True, allow_unused=True)
        pairs = [
            (gradient, tangent) for gradient, tangent in zip(pulled, tangents, strict=True) if gradient is not None
        ]
        if not pairs:
            return torch.zeros_like(output)
        check_differentiable([gradient for gradient, _ in pairs])
        total = torch.stack([(gradient * tangent).sum() for gradient, tangent in pairs]).sum()
        return torch.autograd.grad(total, weights)[0]


def check_differentiable(gradients: Sequence[Tensor]) -> None:
    """Raise `RuntimeError` if gradients come from a function that cannot be differentiated again.

    Such a function is `once_differentiable`, or it leaves torch. Without an error, torch treats its gradient as a
    constant.
    """
    nodes = [gradient.grad_fn for gradient in gradients]
    seen: set[Any] = set()
    while nodes:
        node = nodes.pop()
        if node is None or node.name().endswith("Error"):
            raise RuntimeError("a gradient is no differentiable function of what it was computed from")
        new = {behind for behind, _ in node.next_functions if behind is not None} - seen
        seen |= new
        nodes += new


def with_derivatives(run: Callable[[], T]) -> T:
    """The result of `run`. If an operation lacks a derivative, a slower implementation of it replaces the fast one."""
    try:
        return run()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # torch has no special error for a missing derivative
        with _plain_operations():
            return run()


@contextmanager
def _plain_operations() -> Iterator[None]:
    """Within the block, attention and recurrent layers consist of operations that have all derivatives."""
    with sdpa_kernel(SDPBackend.MATH), cudnn.flags(enabled=False):
        yield


def lacking(flat: FlatModel, key: str, layer: nn.Module, purpose: str) -> NotApplicable:
    """The error for a layer that lacks the derivatives of a `purpose`."""
    return NotApplicable(
        f"{purpose}, which torch does not have for layer {key!r} of {flat.name} ({_operation(layer)}); take a method "
        "of first derivatives, such as Saliency or GradCAM."
    )


def _operation(layer: nn.Module) -> str:
    inner = innermost(layer)
    module = getattr(inner, "module", inner)  # an opaque layer holds its module
    return name_of(inner) or type(module).__name__


def without_second(flat: FlatModel, known: Mapping[str, Any], wanted: Sequence[str]) -> tuple[str, nn.Module] | None:
    """The first layer between `known` and `wanted` that has no second derivatives. None if all layers have them."""
    keys = [name for key in wanted for name in (flat.program.outputs if key == OUTPUT else (key,))]
    steps = [step for step, _ in flat.program.schedule(known, keys)]
    with torch.no_grad():
        values = {**known, **flat.run(known, [step.key for step in steps])}
    for step in steps:
        try:
            with_derivatives(partial(_second, step.layer, [values[key] for key in step.reads]))
        except RuntimeError:
            return step.key, step.layer
    return None


def _second(layer: nn.Module, reads: Sequence[Any]) -> None:
    """Compute the second derivatives of a layer at the values that it reads."""
    with differentiating():
        inputs = [
            value.detach().requires_grad_() if isinstance(value, Tensor) and value.is_floating_point() else value
            for value in reads
        ]
        points = [value for value in inputs if isinstance(value, Tensor) and value.requires_grad]
        output = layer(*inputs)
        if not points or not isinstance(output, Tensor) or not output.requires_grad:
            return
        gradients = torch.autograd.grad(output.square().sum(), points, create_graph=True, allow_unused=True)
        first = [gradient for gradient in gradients if gradient is not None]
        if first:
            check_differentiable(first)
            torch.autograd.grad(torch.stack([gradient.sum() for gradient in first]).sum(), points, allow_unused=True)
