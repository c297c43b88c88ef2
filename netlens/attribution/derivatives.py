"""Derivatives that not every operation has, along a direction and second ones: by what there is, or refused by name."""

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
    """The derivative of a function of real tensors along `tangents`, of the shape of its value.

    By forward mode, or by reverse mode twice where an operation lacks the former. Raises `RuntimeError` where it lacks
    both; `lacking` names it.
    """
    try:
        return with_derivatives(lambda: torch.func.jvp(function, tuple(primals), tuple(tangents))[1])
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return with_derivatives(lambda: _twice(function, primals, tangents))


def _twice(function: Callable[..., Tensor], primals: Sequence[Tensor], tangents: Sequence[Tensor]) -> Tensor:
    """As `along`: the gradient at the inputs is linear in the one at the output, and this is its transpose."""
    with differentiating():
        points = [value.detach().requires_grad_() for value in primals]
        output = guarded(function, *points)
        if not output.requires_grad:
            return torch.zeros_like(output)
        weights = torch.zeros_like(output).requires_grad_()
        pulled = torch.autograd.grad(output, points, weights, create_graph=True, allow_unused=True)
        pairs = [(gradient, way) for gradient, way in zip(pulled, tangents, strict=True) if gradient is not None]
        if not pairs:
            return torch.zeros_like(output)
        check_differentiable([gradient for gradient, _ in pairs])
        total = torch.stack([(gradient * way).sum() for gradient, way in pairs]).sum()
        return torch.autograd.grad(total, weights)[0]


def check_differentiable(gradients: Sequence[Tensor]) -> None:
    """Raise `RuntimeError` if gradients, whose own gradients require one, were made by what cannot be differentiated.

    torch would take such a gradient for a constant, without a word: a function of the user's that is
    `once_differentiable`, or that leaves torch.
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
    """What `run` gives; where its operations lack a derivative, by implementations that are slower, but have it."""
    try:
        return run()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # of which torch makes no kinds
        with _plain_operations():
            return run()


@contextmanager
def _plain_operations() -> Iterator[None]:
    """Within the block, attention and recurrent layers are made of operations that have all derivatives."""
    with sdpa_kernel(SDPBackend.MATH), cudnn.flags(enabled=False):
        yield


def lacking(flat: FlatModel, key: str, layer: nn.Module, purpose: str) -> NotApplicable:
    """The error of a layer that has not the derivatives that a `purpose` needs."""
    return NotApplicable(
        f"{purpose}, which torch does not have for layer {key!r} of {flat.name} ({_operation(layer)}); take a method "
        "of first derivatives, such as Saliency or GradCAM."
    )


def _operation(layer: nn.Module) -> str:
    inner = innermost(layer)
    module = getattr(inner, "module", inner)  # what an opaque layer keeps whole
    return name_of(inner) or type(module).__name__


def without_second(flat: FlatModel, known: Mapping[str, Any], wanted: Sequence[str]) -> tuple[str, nn.Module] | None:
    """The first layer on the way from `known` to `wanted` that has no second derivatives; None if all have."""
    keys = [own for key in wanted for own in (flat.program.outputs if key == OUTPUT else (key,))]
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
    """Take second derivatives of a layer at what it reads."""
    with differentiating():
        own = [
            value.detach().requires_grad_() if isinstance(value, Tensor) and value.is_floating_point() else value
            for value in reads
        ]
        points = [value for value in own if isinstance(value, Tensor) and value.requires_grad]
        output = layer(*own)
        if not points or not isinstance(output, Tensor) or not output.requires_grad:
            return
        found = torch.autograd.grad(output.square().sum(), points, create_graph=True, allow_unused=True)
        first = [gradient for gradient in found if gradient is not None]
        if first:
            check_differentiable(first)
            torch.autograd.grad(torch.stack([gradient.sum() for gradient in first]).sum(), points, allow_unused=True)
