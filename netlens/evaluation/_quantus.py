"""Methods as Quantus calls them, so that its metrics can judge them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from netlens.attribution import Method, method_from
from netlens.attribution.method import configured
from netlens.errors import NetLensError
from netlens.evaluation._case import Case
from netlens.evaluation._explanation import Explanation
from netlens.flat import FlatModel
from netlens.flat.intake import weight_of
from netlens.objectives import logit


def explain_func(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    method: Method | type[Method] | str = "grad_cam",
    device: str | torch.device | None = None,
    **options: Any,
) -> Any:
    """Explain classes by a method, in the form of the `explain_func` of Quantus.

    Quantus changes the weights of a network between calls, so each call unrolls it anew.

    Args:
        model: The network, or its flat model.
        inputs: (N, C, H, W), an array or a tensor.
        targets: (N,), the class of each image.
        method: A method, its class or its name; a text may hold options (`"occlusion:window=32"`).
        device: Where the network is, which Quantus says; None to leave it where it is.
        options: Options of the method.

    Returns:
        An array (N, 1, H, W) of float64: the relevance of each pixel, as in `Explanation`.

    Raises:
        NetLensError: The method or an option is unknown, or there is not one target for each image.

    Example:
        >>> from netlens.world.network import network
        >>> explain_func(network(), torch.rand(2, 3, 128, 128), [3, 4], method="saliency").shape
        (2, 1, 128, 128)

    With Quantus::

        metric = quantus.MaxSensitivity()
        metric(
            model, x, y, a_batch=None,
            explain_func=explain_func, explain_func_kwargs={"method": "lrp"},
        )

    Hedström et al. 2023, https://arxiv.org/abs/2202.06861
    """
    chosen = method_from(method, **options) if isinstance(method, str) else configured(method, options)
    if device is not None:
        model = model.to(device)
    flat = model if isinstance(model, FlatModel) else FlatModel.from_nn_Module(model)
    x = torch.as_tensor(inputs)
    x = x.to(weight_of(flat, x))
    classes = [int(target) for target in torch.as_tensor(targets).flatten()]
    if len(classes) != len(x):
        raise NetLensError(f"there are {len(classes)} targets for {len(x)} images; give one for each.")
    return Explanation.of(Case(flat, x, logit(classes)), chosen).maps[:, None].numpy()
