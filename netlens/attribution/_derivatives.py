"""Directional and second derivatives. Some operations of torch do not have them; an error then names the layer."""

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
from netlens.flat.keys import OUTPUT
from netlens.flat.operations import innermost, name_of
from netlens.flat.running import differentiating, guarded

T = TypeVar("T")


def directional_derivative(
    function: Callable[..., Tensor], primals: Sequence[Tensor], tangents: Sequence[Tensor]
) -> Tensor:
    """The derivative of a function of real tensors at `primals`, in the direction `tangents`.

    Forward-mode differentiation computes it. If an operation does not support it, two passes of reverse mode do.

    Raises:
        RuntimeError: An operation supports neither. The caller turns this into `missing_derivative`.
    """
    try:
        derivative: Tensor = with_derivatives(lambda: torch.func.jvp(function, tuple(primals), tuple(tangents))[1])
        return derivative
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return with_derivatives(lambda: _double_backward(function, primals, tangents))


def _double_backward(function: Callable[..., Tensor], primals: Sequence[Tensor], tangents: Sequence[Tensor]) -> Tensor:
    """`directional_derivative` by reverse mode, twice.

    The first pass gives the gradient at the inputs, which is a linear function of the gradient at the output. The
    second pass differentiates this function.
    """
    with differentiating():
        points = [value.detach().requires_grad_() for value in primals]
        output = guarded(function, *points)
        if not output.requires_grad:
            return torch.zeros_like(output)
        weights = torch.zeros_like(output).requires_grad_()
        gradients = torch.autograd.grad(output, points, weights, create_graph=True, allow_unused=True)
        pairs = [
            (gradient, tangent) for gradient, tangent in zip(gradients, tangents, strict=True) if gradient is not None
        ]
        if not pairs:
            return torch.zeros_like(output)
        check_differentiable([gradient for gradient, _ in pairs])
        total = torch.stack([(gradient * tangent).sum() for gradient, tangent in pairs]).sum()
        return torch.autograd.grad(total, weights)[0]


def check_differentiable(gradients: Sequence[Tensor]) -> None:
    """Raise `RuntimeError` if the gradients cannot be differentiated again.

    This is so if an operation is `once_differentiable`, or if its backward uses code outside of torch. Torch itself
    raises no error, but treats such a gradient as a constant.
    """
    nodes = [gradient.grad_fn for gradient in gradients]
    visited: set[Any] = set()
    while nodes:
        node = nodes.pop()
        if node is None or node.name().endswith("Error"):
            raise RuntimeError("a gradient cannot be differentiated again")
        new = {next_node for next_node, _ in node.next_functions if next_node is not None} - visited
        visited |= new
        nodes += new


def with_derivatives(run: Callable[[], T]) -> T:
    """The result of `run`. If an operation has no derivative, `run` is repeated with slower implementations."""
    try:
        return run()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # torch has no special error for a missing derivative
        with _plain_operations():
            return run()


@contextmanager
def _plain_operations() -> Iterator[None]:
    """Within the block, attention and recurrent layers use implementations that have all derivatives."""
    with sdpa_kernel(SDPBackend.MATH), cudnn.flags(enabled=False):
        yield


def missing_derivative(flat: FlatModel, key: str, layer: nn.Module, purpose: str) -> NotApplicable:
    """The error for a layer without a derivative. `purpose` says what needs it: "FullGrad takes the derivative ..."."""
    return NotApplicable(
        f"{purpose}, which torch does not have for layer {key!r} of {flat.name} ({_operation(layer)}); choose a method "
        "of first derivatives, such as Saliency or GradCAM."
    )


def _operation(layer: nn.Module) -> str:
    inner = innermost(layer)
    module = getattr(inner, "module", inner)  # an opaque layer holds its module
    return name_of(inner) or type(module).__name__


def layer_without_second_derivative(
    flat: FlatModel, feeds: Mapping[str, Any], fetches: Sequence[str]
) -> tuple[str, nn.Module] | None:
    """The key and layer of the first step between feeds and fetches without second derivatives, or None."""
    keys = [name for key in fetches for name in (flat.program.outputs if key == OUTPUT else (key,))]
    steps = [step for step, _ in flat.program.schedule(feeds, keys)]
    with torch.no_grad():
        values = {**feeds, **flat.run(feeds, [step.key for step in steps])}
    for step in steps:
        try:
            with_derivatives(partial(_compute_second_derivatives, step.layer, [values[key] for key in step.reads]))
        except RuntimeError:
            return step.key, step.layer
    return None


def _compute_second_derivatives(layer: nn.Module, reads: Sequence[Any]) -> None:
    """Compute the second derivatives of a layer. Raise `RuntimeError` if it has none."""
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
        first_derivatives = [gradient for gradient in gradients if gradient is not None]
        if first_derivatives:
            check_differentiable(first_derivatives)
            torch.autograd.grad(
                torch.stack([gradient.sum() for gradient in first_derivatives]).sum(), points, allow_unused=True
            )
