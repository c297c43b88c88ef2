"""Several methods on one input share a forward and a backward, and give what they give alone."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from netlens import NetLens
from netlens.attribution import GradCAM, InputXGradient, IntegratedGradients, Saliency, together
from netlens.errors import NotApplicable
from netlens.flat import FlatModel, Hooks
from netlens.flat.running import Tap, tapped
from netlens.objectives import channel, logit


class Runs(Tap):
    """Counts how often each layer runs."""

    def __init__(self, flat):
        super().__init__(flat)
        self.counts = {}

    def value(self, key, value):
        self.counts[key] = self.counts.get(key, 0) + 1
        return value


METHODS = (Saliency(), GradCAM(), InputXGradient())


def test_one_forward_serves_all_and_the_values_are_equal(core_case):
    objective = logit(list(core_case.targets))
    alone = [method(core_case.flat, core_case.x, objective).values for method in METHODS]
    with together(METHODS, core_case.flat, core_case.x, objective) as x, tapped(Runs(core_case.flat)) as runs:
        shared = [method(core_case.flat, x, objective).values for method in METHODS]
    assert not runs.counts  # all three were answered from the run at the start
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one, other)


def test_each_layer_runs_once_for_a_list(core_case):
    lens = NetLens(core_case.flat, core_case.x)
    with tapped(Runs(core_case.flat)) as runs:
        results = lens.attribute(["saliency", "grad_cam", "input_x_gradient"])
    assert set(runs.counts.values()) == {1}
    assert [result.provenance.method for result in results] == ["Saliency", "GradCAM", "InputXGradient"]


def test_what_is_not_the_same_run_is_not_answered_from_it(core_case):
    objective, other = logit(0), logit(1)
    with together(METHODS, core_case.flat, core_case.x, objective) as x:
        for flat, where, what in (
            (core_case.flat, x, other),
            (core_case.flat, core_case.x + 1, objective),
            (core_case.flat, x[:1], objective),
            (core_case.flat, x.flip(0), objective),
        ):
            values = Saliency()(flat, where, what).values
            assert_close(values, _alone(flat, where, what), rtol=1e-9, atol=1e-12)
    values = Saliency()(core_case.flat, core_case.x, objective).values
    assert_close(values, _alone(core_case.flat, core_case.x, objective), rtol=1e-9, atol=1e-12)


def _alone(flat, x, objective):
    x = x.clone().requires_grad_()
    value = objective_value(flat, x, objective)
    return torch.autograd.grad(value.sum(), x)[0].abs()


def objective_value(flat, x, objective):
    return flat.logits(flat(x))[:, objective.target]


def test_methods_that_need_more_run_more(core_case):
    methods = (Saliency(), IntegratedGradients(n_steps=3))
    alone = [method(core_case.flat, core_case.x, logit(0)).values for method in methods]
    objective = logit(0)
    with together(methods, core_case.flat, core_case.x, objective) as x:
        shared = [method(core_case.flat, x, objective).values for method in methods]
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))


def test_inference_mode_shares_too(core_case):
    with torch.inference_mode():
        x = core_case.x.clone()
        objective = logit(0)
        with together(METHODS, core_case.flat, x, objective) as shared, tapped(Runs(core_case.flat)) as runs:
            Saliency()(core_case.flat, shared, objective)
    assert not runs.counts


def test_a_method_that_does_not_apply_says_so_itself(cases):
    case = cases["vectors"]
    objective = logit(0)
    with together(METHODS, case.flat, case.x, objective) as x:
        with pytest.raises(NotApplicable):
            GradCAM()(case.flat, x, objective)
        assert torch.equal(Saliency()(case.flat, x, objective).values, Saliency()(case.flat, case.x, logit(0)).values)


def test_a_layer_that_the_objective_does_not_reach_is_its_own_error(core_case):
    objective = channel(core_case.family.middle, 0)
    methods = (Saliency(), GradCAM(core_case.family.late))
    with together(methods, core_case.flat, core_case.x, objective) as x:
        Saliency()(core_case.flat, x, objective)
        with pytest.raises(NotApplicable, match="does not depend"):
            methods[1](core_case.flat, x, objective)


def test_hooks_still_see_the_run(core_case):
    with Hooks(core_case.flat, [core_case.family.late]) as hooks:
        NetLens(core_case.flat, core_case.x).attribute(["saliency", "grad_cam"])
    assert hooks[core_case.family.late].activation is not None


def test_a_layer_without_gradient_does_not_keep_the_others_from_it(cases):
    case = cases["plain"]

    class Halves(torch.nn.Module):
        def forward(self, x):
            return x.chunk(2, 1)

    class Halved(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.halves, self.head = torch.nn.Conv2d(3, 8, 3), Halves(), torch.nn.Linear(4, 3)

        def forward(self, x):
            one, other = self.halves(self.first(x))
            return self.head((one * other.sigmoid()).mean((2, 3)))

    torch.manual_seed(0)
    flat, objective = FlatModel.from_nn_Module(Halved().to(case.x)), logit(0)
    (key,) = (key for key in flat.layers if key.endswith("chunk"))
    methods = (Saliency(), GradCAM(key))
    with together(methods, flat, case.x, objective) as x:
        assert_close(Saliency()(flat, x, objective).values, Saliency()(flat, case.x, objective).values)
        with pytest.raises(NotApplicable, match="no tensor of real numbers"):
            methods[1](flat, x, objective)
