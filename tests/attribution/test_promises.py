"""The promises that every registered method keeps, on every family of networks: to be registered is to be tested."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import METHODS, Method, chunks_of
from netlens.attribution.method import name_of
from netlens.errors import NonFiniteError, NotApplicable
from netlens.objectives import Objective, channel, layer, logit, neuron
from tests.applicability.table import (
    A_CHANNEL,
    A_CLASS,
    AT_A_LAYER,
    AT_THE_LAST,
    BETWEEN_LAYERS,
    OF_SEVERAL,
    QUESTIONS,
    applies,
    applying,
)
from tests.networks.families import SOME, Case
from tests.small import small

ON_EVERY_FAMILY = applying(A_CLASS)
ON_SOME = applying(A_CLASS, families=SOME)


def broken_in(method: Method, case: Case) -> dict[str, str]:
    """Where to look for what breaks inside: the input itself stays whole, and some methods read nothing else."""
    only_the_input = not method.reads_objective and not _reads_a_layer(method, case)
    return {"wrt": case.family.late} if only_the_input else {}


def _reads_a_layer(method: Method, case: Case) -> bool:
    return hasattr(method, "layer") or method.at(case.flat, case.x, "input") != "input"


@ON_EVERY_FAMILY
def test_a_batch_equals_its_samples(method, case):
    whole = method(case.flat, case.x, case.objective)
    for i, target in enumerate(case.targets):
        single = method(case.flat, case.x[i : i + 1], logit(target))
        assert_close(whole.values[i : i + 1], single.values, rtol=1e-9, atol=1e-11)
        assert whole[i].provenance.targets == single.provenance.targets == (target,)
    assert whole.values.abs().sum() > 0


@ON_SOME
def test_chunked_equals_unchunked(method, case):
    values = []
    for size in (None, 1, 4, 1000):
        with chunks_of(size):
            values.append(method(case.flat, case.x, case.objective).values)
    for other in values[1:]:
        assert_close(other, values[0], rtol=1e-9, atol=1e-12)


@ON_SOME
def test_class_0_is_a_class_like_any_other(method, case):
    x = case.x[:1]
    first, moved = (
        method(*where).values for where in ((case.flat, x, logit(0)), (case.with_classes_moved, x, logit(1)))
    )
    assert_close(first, moved, rtol=1e-9, atol=1e-12)
    assert torch.allclose(first, method(case.flat, x, logit(1)).values) != method.reads_objective


@ON_SOME
def test_frozen_models_no_grad_and_inference_mode_change_nothing(method, case):
    usual = method(case.flat, case.x, case.objective).values
    assert torch.equal(method(case.frozen, case.x, case.objective).values, usual)
    with torch.no_grad():
        assert torch.equal(method(case.flat, case.x, case.objective).values, usual)
    with torch.inference_mode():
        made_here = case.x.clone()
        assert torch.equal(method(case.flat, made_here, case.objective).values, usual)
        assert torch.equal(method(case.made_in_inference_mode, case.x, case.objective).values, usual)
    assert torch.equal(method(case.flat, made_here, case.objective).values, usual)
    assert not usual.requires_grad and not usual.is_inference()


@ON_EVERY_FAMILY
def test_float64_stays_and_autocast_is_near(method, case):
    exact = method(case.flat, case.x, case.objective)
    assert exact.values.dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        cast = method(case.in_float32, case.x.float(), case.objective)
    assert cast.values.shape == exact.values.shape and torch.isfinite(cast.values).all()
    likeness = torch.cosine_similarity(cast.values.double().flatten(), exact.values.flatten(), 0)
    assert likeness > 0.8


@pytest.mark.parametrize("name", METHODS)
def test_the_model_and_the_image_stay_as_they_were(name, case):
    method, (module, flat) = small(name), case.in_training
    before = _state(module)
    for x in (case.x.clone(), case.x.clone().requires_grad_()):
        wanted = x.requires_grad
        with contextlib.suppress(NotApplicable):  # a refusal changes nothing either
            method(flat, x, case.objective)
        assert torch.equal(x, case.x) and x.grad is None and x.requires_grad == wanted
    after = _state(module)
    assert after.keys() == before.keys()
    assert all(_equal(after[part], value) for part, value in before.items())
    assert all(part.training and not part._forward_hooks and not part._backward_hooks for part in module.modules())


def _state(module: nn.Module) -> dict[str, Any]:
    flags = {f"flags {i}": _flags(parameter) for i, parameter in enumerate(module.parameters())}
    return {name: tensor.clone() for name, tensor in module.state_dict().items()} | flags


def _flags(parameter: Tensor) -> tuple[Any, ...]:
    return parameter.requires_grad, parameter.grad, parameter._version


def _equal(now: Any, then: Any) -> bool:
    return torch.equal(now, then) if isinstance(then, Tensor) else now == then


@ON_SOME
def test_the_same_seed_gives_the_same_bits(method, case):
    # at the last maps of a network that averages them the gradient is the same, whatever the input and its noise
    at_a_layer = hasattr(method, "layer") and applies(name_of(type(method)), case.name, AT_A_LAYER)
    where = {"wrt": case.family.middle} if at_a_layer else {}
    torch.manual_seed(1)
    first = method(case.flat, case.x, case.objective, **where).values
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(method(case.flat, case.x, case.objective, **where).values, first)
    assert torch.equal(torch.get_rng_state(), state)
    if hasattr(method, "seed"):
        again = replace(method, seed=7)(case.flat, case.x, case.objective, **where).values
        assert not torch.allclose(again, first)


@ON_EVERY_FAMILY
def test_nan_in_a_weight_names_the_layer(method, case):
    flat, broken = case.broken
    with pytest.raises(NonFiniteError, match=rf"'{broken}'.* sample 0"):
        method(flat, case.x, case.objective, **broken_in(method, case))


@ON_SOME
def test_overflow_in_one_sample_names_the_sample(method, case):
    x = case.x.float()
    x[1] = x[1].sign() * 3e38
    with pytest.raises(NonFiniteError, match="for sample 1"):
        method(case.in_float32, x, case.objective, **broken_in(method, case))


@ON_EVERY_FAMILY
def test_nan_in_the_input_names_the_sample(method, case):
    x = case.x.clone()
    x[2].view(-1)[0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"input .* sample 2"):
        method(case.flat, x, case.objective)


LAYERS = (AT_A_LAYER, AT_THE_LAST, A_CHANNEL, BETWEEN_LAYERS, OF_SEVERAL)


# the mean of squares of a layer is not linear, so that DeepLIFT is not complete, and says so
@pytest.mark.filterwarnings("ignore:DeepLIFT of .* misses")
@applying(*LAYERS)
def test_any_layer_and_any_objective(method, case):
    name, late, middle = name_of(type(method)), case.family.late, case.family.middle
    for question in LAYERS:
        if applies(name, case.name, question):
            check_values_at(method, case, *QUESTIONS[question](case))
    if applies(name, case.name, BETWEEN_LAYERS):
        for objective in (neuron(late, 1), layer(late)):
            check_values_at(method, case, objective, middle)


def check_values_at(method: Method, case: Case, objective: Objective, wrt: str) -> None:
    """The values have the shape of what they are about, say where they were made, and lie in the image."""
    wrt = case.flat.key(wrt)
    result = method(case.flat, case.x, objective, wrt=wrt)
    at = wrt if wrt != "input" else method.settled(case.flat, case.x, objective, wrt).at(case.flat, case.x, wrt)
    shape = case.flat(case.x, until=at).shape if at != "input" else case.x.shape
    assert result.values.shape == shape or (result.reduction == "cam" and result.values.shape[:2] == (3, 1))
    assert result.provenance.layer == at and result.provenance.objective == repr(objective)
    assert torch.isfinite(result.values).all()
    if case.spatial:
        heat = result.heatmap()
        assert heat.shape == (3, 1, *case.x.shape[2:]) and heat.min() >= 0 and heat.max() <= 1


@applying(A_CHANNEL, families=SOME, methods=[name for name in METHODS if small(name).linear])
def test_a_method_is_linear_in_the_objective_where_it_says_so(method, case):
    assert is_linear(method, case, channel(case.family.late, 2))


@pytest.mark.parametrize("name", [name for name in METHODS if not small(name).linear])
def test_a_method_that_does_not_say_so_is_not_linear(name, cases):
    """It squares, clips or takes magnitudes, or explains no sum of objectives at all."""
    family = next(family for family in SOME if applies(name, family))
    with contextlib.suppress(NotApplicable):
        assert not is_linear(small(name), cases[family], logit(1))


def is_linear(method: Method, case: Case, other: Objective) -> bool:
    one, two, both = (
        method(case.flat, case.x, objective).values for objective in (logit(0), other, 2 * logit(0) - other / 4)
    )
    return torch.allclose(both, 2 * one - two / 4, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.reads_objective])
def test_an_objective_before_the_layer_is_refused_in_one_line(name, case):
    first = next(iter(case.flat.layers))
    reasons = r"does not (come after|depend on)|no layer of .* positions of the input|attention"
    with pytest.raises(NotApplicable, match=reasons) as caught:
        small(name)(case.flat, case.x, layer(first), wrt=case.family.late)
    assert "\n" not in str(caught.value)
