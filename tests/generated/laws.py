"""The laws that hold on every generated module: each is a function that raises `AssertionError` where one does not."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from netlens.attribution import METHODS, DeepLift, ExcitationBackprop, InputGradient, Occlusion, Saliency, chunks_of
from netlens.errors import NetLensError, NetLensWarning, NonFiniteError, NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import logit
from tests.generated.modules import Generated

LAWS: dict[str, Callable[[Generated], None]] = {}
# methods that run a small network hundreds of times do so less often: an option, its value, and the methods
_LESS = (
    ("n_samples", 2, "shapley_value_sampling sobol_attribution information_bottleneck gradient_shap sscam"),
    ("n_samples", 2, "smooth_grad_cam_plus_plus deep_lift_shap"),
    ("n_samples", 3, "smooth_gradient smooth_gradient_squared var_grad"),
    ("n_samples", 20, "lime kernel_shap"),
    ("n_steps", 4, "integrated_gradients blur_integrated_gradients layer_conductance internal_influence"),
    ("n_steps", 4, "guided_integrated_gradients iscam extremal_perturbation"),
    ("n_masks", 20, "hsic_attribution rise"),
)
FEW = {name: {option: value} for option, value, names in _LESS for name in names.split()}


def law(check: Callable[[Generated], None]) -> Callable[[Generated], None]:
    LAWS[check.__name__] = check
    return check


def holds(check: Callable[[Generated], None], module: Generated) -> str | None:
    """What is wrong where the law does not hold, and None where it does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check(module)
        except Exception as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return None


def close(one: Tensor, other: Tensor, rtol: float = 1e-9) -> bool:
    """Whether two tensors differ by no more than a part of the largest value."""
    scale = max(1.0, float(other.abs().max()) if other.numel() else 0.0)
    return one.shape == other.shape and float((one - other).abs().max()) <= rtol * scale


@lru_cache(maxsize=2)
def flat_of(module: Generated) -> FlatModel:
    """The flat model of a module, which the laws share that only read it."""
    return FlatModel.from_nn_Module(module.module())


def values_of(method: object, flat: FlatModel, x: Tensor) -> Tensor | None:
    """The values of a method for class 1; None where it says that it does not apply, or that they are infinite."""
    try:
        return method(flat, x, logit(1)).values  # type: ignore[operator]
    except (NotApplicable, NonFiniteError):
        return None


@law
def the_flat_model_is_the_network(module: Generated) -> None:
    for n in (1,) if "single" in module.traits else (1, 3):
        x, flat = module.images(n), flat_of(module)
        with torch.no_grad():
            first, second, wanted = flat(x), flat(x), module.module()(x)
        same = torch.equal(first, second) if module.device == "cpu" else close(first, second, 1e-12)
        assert same, f"two runs of {n} differ"
        assert close(first, wanted, 1e-12), f"a run of {n} differs by {float((first - wanted).abs().max()):.1e}"


@law
def the_network_is_untouched(module: Generated) -> None:
    net, x = module.module(), module.images(2 if "single" not in module.traits else 1)
    before = copy.deepcopy(net)
    flat = FlatModel.from_nn_Module(net)
    flat(x)
    flat.summary((1, *x.shape[1:]))
    values_of(Saliency(), flat, x)
    values_of(Occlusion(window=3, stride=3), flat, x[:1])
    for (name, part), (_, old) in zip(net.named_modules(), before.named_modules(), strict=True):
        assert part.training == old.training, f"the mode of {name} changed"
        numbers = {key: value for key, value in vars(old).items() if isinstance(value, int)}
        assert numbers == {key: vars(part)[key] for key in numbers}, f"an attribute of {name} changed"
    for (name, tensor), (_, old) in zip(net.state_dict().items(), before.state_dict().items(), strict=True):
        assert torch.equal(tensor, old), f"{name} changed"
    assert all(parameter.grad is None for parameter in net.parameters()), "a gradient was left behind"


@law
def the_gradient_is_that_of_finite_differences(module: Generated) -> None:
    if module.traits & {"detached"}:  # the gradient leaves out what differences see
        return
    x = module.images(1)
    gradient = values_of(InputGradient(), flat_of(module), x)
    if gradient is None and "root" in module.traits:  # which has no finite derivative at 0
        return
    assert gradient is not None, "saliency does not apply"
    way = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype).to(x)
    if module.traits & {"kept"}:  # whose state looks at the data without a gradient, or changes with each run
        return
    net, step = module.module(), 1e-6
    with torch.no_grad():
        slope = (net(x + step * way) - net(x - step * way))[0, 1] / (2 * step)
    derivative = (gradient * way).sum()
    scale = max(1.0, float((gradient * way).abs().sum()))
    assert abs(float(derivative - slope)) <= 1e-5 * scale, f"{float(derivative):.6g} and not {float(slope):.6g}"


@law
def deep_lift_is_complete_or_says_where_not(module: Generated) -> None:
    x, flat = module.images(1), flat_of(module)
    for baseline in (0.0, module.images(2)[1:]):
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always", NetLensWarning)
            result = DeepLift(baselines=baseline)(flat, x, logit(1))
        at = torch.zeros_like(x) if isinstance(baseline, float) else baseline
        with torch.no_grad():
            change = float((flat(x) - flat(at))[0, 1])
        gap, scale = float(result.values.sum()) - change, max(1.0, abs(change), float(result.values.abs().sum()))
        jumps = any("in jumps" in str(one.message) for one in record)
        assert jumps or abs(gap) <= 1e-6 * scale, f"gap {gap:.2e} of {change:.2e}"
        # a module without a jump is complete; a cosine jumps where a vector that it reads is 0
        may_jump = module.traits & {"discrete", "kept"} or (
            "jumps at 0" in module.traits and any(_has_zero_vectors(flat, image) for image in (x, at))
        )
        assert not jumps or may_jump, str(record[0].message)


def _has_zero_vectors(flat: FlatModel, x: Tensor) -> bool:
    """Whether a cosine similarity along the channels reads a vector of zeros."""
    cosines = [step for step in flat.program.steps if "cosine_similarity" in step.key]
    with torch.no_grad():
        values = flat.run({flat.inputs[0]: x}, list({key for step in cosines for key in step.reads}))
    return any(bool((value == 0).all(1).any()) for value in values.values())


@law
def occlusion_is_that_of_full_runs(module: Generated) -> None:
    x, window, stride = module.images(1), (3, 2), (2, 2)
    values = values_of(Occlusion(window=window, stride=stride), flat_of(module), x)
    if values is None:
        return
    net, total, count = module.module(), torch.zeros_like(x), torch.zeros_like(x)

    def run(image: Tensor) -> Tensor:
        return (copy.deepcopy(net) if "kept" in module.traits else net)(image)[0, 1]

    def places(size: int, extent: int, step: int) -> list[int]:
        return [step * i for i in range(1 + -(-(size - extent) // step))]

    with torch.no_grad():
        whole = run(x)
        for top in places(6, window[0], stride[0]):
            for left in places(5, window[1], stride[1]):
                occluded, there = x.clone(), (..., slice(top, top + window[0]), slice(left, left + window[1]))
                occluded[there] = 0
                total[there] += whole - run(occluded)
                count[there] += 1
    wanted = total / count
    assert close(values.expand_as(wanted), wanted), f"differs by {float((values - wanted).abs().max()):.1e}"


@law
def excitation_is_a_probability(module: Generated) -> None:
    values = values_of(ExcitationBackprop(), flat_of(module), module.images(1))
    if values is not None:
        assert bool((values >= 0).all()), f"a probability of {float(values.min()):.1e}"
        assert float(values.sum()) <= 1 + 1e-9, f"they sum to {float(values.sum())}"


@law
def every_method_answers_or_says_why_not(module: Generated) -> None:
    flat, draw = flat_of(module), random.Random(module.seed)
    for name in draw.sample(list(METHODS), 6):
        for n in (1, 2):
            try:
                METHODS[name](**FEW.get(name, {}))(flat, module.images(n), logit(1))
            except NetLensError:
                pass
            except Exception as error:
                raise AssertionError(f"{name} of {n}: {type(error).__name__}: {str(error).splitlines()[0]}") from error


@law
def chunks_and_batches_change_nothing(module: Generated) -> None:
    draw, x, flat = random.Random(module.seed), module.images(3), flat_of(module)
    for name in draw.sample(sorted(METHODS), 3):
        method, answers = METHODS[name](**FEW.get(name, {})), []
        for size in (None, 1, 2):
            with chunks_of(size):
                answers.append(values_of(method, flat, x))
        if answers[0] is None or "mixing" in module.traits or "single" in module.traits:
            applies = [value is not None for value in answers]
            assert len(set(applies)) == 1, f"{name} applies in chunks of some sizes: {applies}"
        if any(value is None for value in answers):
            continue
        for value in answers[1:]:
            assert close(value, answers[0], 1e-7), f"{name} depends on the chunk"
        if "mixing" not in module.traits:
            alone = torch.cat([method(flat, x[i : i + 1], logit(1)).values for i in range(3)])
            assert close(alone, answers[0], 1e-7), f"{name} of a batch is not that of its samples"


@law
def a_change_is_followed(module: Generated) -> None:
    net, x = module.module(), module.images(1)
    flat = FlatModel.from_nn_Module(net)
    flat(x)
    net.head.weight = nn.Parameter(net.head.weight.detach() * 2)
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._NormBase):
            part.eps = 0.1
    with torch.no_grad():
        assert close(flat(x), copy.deepcopy(net)(x), 1e-12), "the old network runs"


__all__ = ["FEW", "LAWS", "NetLensWarning", "close", "holds"]
