"""The proof of a flat model: on an example, it gives what the network gives."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.errors import TraceError
from netlens.flat._unrolled import Unrolled
from netlens.flat.tracing import as_arguments
from netlens.flat.twin import throwaway


def prove(flat: Unrolled, network: nn.Module, example: Mapping[str, Any]) -> None:
    """Run the network and its flat model on an example, and compare the outputs.

    The network runs as a copy in eval mode, with the hooks of the user. It keeps its state.

    Args:
        flat: The flat model.
        network: The network that was unrolled.
        example: The inputs by name.

    Raises:
        TraceError: The outputs differ. The message names the first layer that differs.
    """
    feeds = dict(zip(flat.inputs, example.values(), strict=True))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        args, kwargs = as_arguments(network, example)
        expected = throwaway(network, hooks=True)(*args, **kwargs)
        values = flat.program.run(feeds, flat.program.outputs)
        if _equal(flat.program.assemble(values), expected):
            return
        if not _equal(throwaway(network, hooks=True)(*args, **kwargs), expected):  # the network draws random numbers
            return
    layer = _first_difference(flat, network, example, feeds)
    place = f"the first layer that differs is {layer!r}" if layer is not None else "no single layer differs"
    hooked = [path for path, part in network.named_modules() if part._forward_hooks or part._forward_pre_hooks]
    hooks = f" Hooks on {', '.join(map(repr, hooked[:3]))} may change activations." if hooked else ""
    raise TraceError(
        f"the unrolled {type(network).__name__} gives another output than the network itself on the example; {place}."
        f"{hooks} Please report it, with the forward of that part; `check=False` skips this comparison."
    )


def _equal(one: Any, other: Any) -> bool:
    """Whether two outputs are equal up to rounding."""
    pairs = [[leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)] for value in (one, other)]
    return len(pairs[0]) == len(pairs[1]) and all(map(_close, *pairs))


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    if not one.is_floating_point() or not one.numel():
        return torch.equal(one, other)
    rounding = torch.finfo(one.dtype).eps ** 0.5 * float(other.nan_to_num(0, 0, 0).abs().amax())
    return torch.allclose(one, other.to(one.dtype), rtol=0, atol=rounding, equal_nan=True)


def _keep(outputs: dict[str, Any], key: str, module: nn.Module, inputs: Any, output: Any) -> None:
    # a clone, because a later layer may overwrite the output
    outputs.setdefault(key, pytree.tree_map_only(Tensor, torch.clone, output))


def _first_difference(
    flat: Unrolled, network: nn.Module, example: Mapping[str, Any], feeds: Mapping[str, Any]
) -> str | None:
    copy = throwaway(network, hooks=True)
    keys = [key for key, part in copy.named_modules() if flat.layers.has(key)]
    outputs: dict[str, Any] = {}
    for key, part in copy.named_modules():
        if key in keys:
            part.register_forward_hook(partial(_keep, outputs, key))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        args, kwargs = as_arguments(network, example)
        copy(*args, **kwargs)
        values = flat.program.run(feeds, keys)
    return next((key for key in flat.layers if key in outputs and not _equal(values[key], outputs[key])), None)
