"""One network beside its flat model: whether their outputs are equal, and what methods find in it."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from benchmarks.matrix._row import TOLERANCE, Answer, Row
from benchmarks.matrix._subject import Built, Held, Subject, another, floats_of
from benchmarks.placement import placement
from benchmarks.planted import awakened, planted
from netlens.attribution import LRP, DeepLift
from netlens.errors import NetLensError, NetLensWarning, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.adapter import adapter_of
from netlens.objectives import Objective, output

COMPLETE = 1e-3  # of the change of the output
METHODS = ("grad_cam", "deep_lift", "lrp")


def measure(subject: Subject, methods: Sequence[str] = METHODS) -> Row:
    """The row of a network. It never raises: an error becomes part of the row.

    Args:
        subject: The network.
        methods: The methods of attribution that run, too.
    """
    start = time.process_time()
    torch.manual_seed(0)  # for networks that keep some of their own random numbers
    row = _row(subject, methods)
    return replace(row, took=time.process_time() - start)


def _row(subject: Subject, methods: Sequence[str]) -> Row:
    try:
        built = subject.build()
        initial = [(tensor, tensor.detach().clone()) for tensor in tensors_of(built.network)]
        built.randomize()
        other = another(built.example)
        expected = reference_of(built)(other)
        if not any(leaf.isfinite().any() for leaf in floats_of(expected)):
            return Row(subject.name, subject.family, unbuilt="with random weights, its output is not finite")
    except Exception as error:  # one failing network must not hide the others
        return Row(subject.name, subject.family, unbuilt=described(error))
    start = time.perf_counter()
    try:
        flat = flat_of(built)
        seconds = time.perf_counter() - start
        difference = difference_of(run(flat, other), expected)
    except Exception as error:
        return Row(subject.name, subject.family, refusal=described(error))
    row = Row(subject.name, subject.family, len(flat.layers), flat.opaque, difference, seconds=seconds)
    answers = answers_of(methods, flat, built, other)
    if "grad_cam" in methods and "grad_cam" not in answers:
        with torch.no_grad():
            for tensor, value in initial:
                tensor.copy_(value)
        awakened(built.network)
        questions = {"grad_cam": pointed, "place": placed}
        place_answers = {
            name: attempt(partial(ask, *explained(built, other), built.dims)) for name, ask in questions.items()
        }
        built.randomize()
        for name, answer in place_answers.items():
            if "does not change the output" in answer.refusal:  # small initial weights let nothing through
                place_answers[name] = attempt(partial(questions[name], *explained(built, other), built.dims))
        answers = {**place_answers, **answers}
    # in random networks, softmax may be so sharp that single precision is not enough
    if difference > TOLERANCE:
        row = replace(row, exact=exact_difference(built.doubled(), other))
    lost = answers.get("deep_lift")
    if lost is not None and lost.value is not None and lost.value > COMPLETE:
        exact = attempt(lambda: completeness(*explained(built.doubled(), other)))
        if exact.value is not None:
            answers["deep_lift"] = replace(exact, text=f"{exact.text} in float64")
    return replace(row, found=answers)


def tensors_of(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def answers_of(methods: Sequence[str], flat: FlatModel, built: Built, other: Any) -> dict[str, Answer]:
    """What these methods find in an input, by method."""
    x = inputs_of(other)[0]
    if not x.is_floating_point():
        return dict.fromkeys(
            methods, Answer(refusal="the picture is given as whole numbers, so nothing in it has a gradient")
        )
    if methods and len(flat.inputs) > 1:
        flat, x = explained(built, other)
    works: dict[str, Callable[[], Answer]] = {
        "deep_lift": lambda: completeness(flat, x),
        "lrp": lambda: relevance(flat, x),
    }
    return {method: attempt(work) for method, work in works.items() if method in methods}


def explained(built: Built, other: Any) -> tuple[FlatModel, Tensor]:
    """The flat model as a function of its first input, and this input. Methods explain one input."""
    x = inputs_of(other)[0].to(inputs_of(built.example)[0].dtype)
    alone = len(inputs_of(other)) == 1
    return flat_of(built if alone else replace(built, network=Held(built), example=x)), x


def exact_difference(built: Built, other: Any) -> float | None:
    """The difference in double precision; None for a network that mixes precisions."""
    other = replace(built, example=other).doubled().example
    try:
        return difference_of(run(flat_of(built), other), reference_of(built)(other))
    except Exception:
        return None


def run(flat: FlatModel, example: Any) -> Any:
    with torch.inference_mode():
        return flat(*inputs_of(example))


def inputs_of(example: Any) -> tuple[Tensor, ...]:
    """The inputs of an example, in their order."""
    if isinstance(example, dict):
        return tuple(example.values())
    return example if isinstance(example, tuple) else (example,)


def flat_of(built: Built) -> FlatModel:
    """The flat model, as a user makes it. It is compared here and not by itself."""
    unwraps = adapter_of(built.network).unwrap is not None
    images = inputs_of(built.example)[0] if unwraps else None
    example = None if unwraps else built.example
    return FlatModel.from_nn_Module(built.network, example=example, images=images, check=False)


def reference_of(built: Built) -> Callable[[Any], Any]:
    """The network itself. Of a detector, this is the part before boxes are thrown away."""
    unwrap = adapter_of(built.network).unwrap
    network = built.network if unwrap is None else unwrap(built.network, inputs_of(built.example)[0])

    def run(example: Any) -> Any:
        with torch.no_grad():  # a network may keep what it computes, and tensors of inference mode cannot be changed
            return Built(network, example).call(example)

    return run


def difference_of(actual: Any, expected: Any) -> float:
    """The largest difference of any tensor, relative to the largest value of this tensor; 0 only if all are equal."""
    pairs = [[leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)] for output in (actual, expected)]
    if [leaf.shape for leaf in pairs[0]] != [leaf.shape for leaf in pairs[1]]:
        return float("inf")
    return max((_difference(one, other) for one, other in zip(*pairs, strict=True)), default=float("inf"))


def _difference(actual: Tensor, expected: Tensor) -> float:
    if torch.equal(actual, expected):
        return 0.0
    finite = expected.isfinite()
    if not torch.equal(actual.isfinite(), finite) or not torch.equal(
        actual[~finite].nan_to_num(), expected[~finite].nan_to_num()
    ):
        return float("inf")
    difference: float = ((actual - expected)[finite].abs().max() / expected[finite].abs().max()).item()
    return difference if difference == difference else float("inf")  # NaN where the network gives a number


def scores_of(values: Any) -> Tensor:
    """What methods explain: the logits of an output, or its first tensor of real numbers."""
    named = values.get("logits", values.get("out")) if isinstance(values, dict) else getattr(values, "logits", None)
    leaves = [leaf for leaf in pytree.tree_leaves(values if named is None else named) if isinstance(leaf, Tensor)]
    scores = next((leaf for leaf in leaves if leaf.is_floating_point() and leaf.ndim > 1), None)
    if scores is None:
        raise NotApplicable("the output holds no tensor (N, ...) of real numbers.")
    return scores


def question() -> Objective:
    """A random sum of the scores of one sample. It reads all of them, and is linear in them."""
    return output(random_sum, name="a random sum of the scores")


def random_sum(values: Any) -> Tensor:
    scores = scores_of(values).flatten()  # a clip has scores for each frame in the dimension of samples
    weights = torch.randn(len(scores), generator=torch.Generator().manual_seed(0)).to(scores)
    return (scores * weights).sum()[None]


def pointed(flat: FlatModel, x: Tensor, dims: Sequence[int] | None) -> Answer:
    """Whether the largest value of Grad-CAM's map lies on the only patch that matters."""
    result = planted(flat, x.shape, dims=dims)
    spread = ", the network spreads the patch" if result.is_spread else ""
    return Answer(float(result.on_patch), f"`{result.layer}` {'×'.join(map(str, result.grid))}{spread}")


def placed(flat: FlatModel, x: Tensor, dims: Sequence[int] | None) -> Answer:
    """Whether the layer that Grad-CAM reads lies where netlens says."""
    result = placement(flat, x.shape, dims=dims)
    numbers = f"agreement {min(result.agreement, default=0):.2f}, carried {result.carried:.2g}"
    return Answer(float(result.is_right), numbers)


def completeness(flat: FlatModel, x: Tensor) -> Answer:
    """The part of f(x) - f(0) that DeepLIFT's values miss."""
    result = DeepLift()(flat, x, question())
    with torch.inference_mode():
        change = (random_sum(flat(x)) - random_sum(flat(torch.zeros_like(x)))).abs().item()
    if change == 0:
        raise NetLensError(f"the picture does not change the scores of {flat.name}, so there is nothing to explain.")
    gap = abs(result.diagnostics["completeness_gap"].item()) / change
    return Answer(gap, f"{gap:.0e}")


def relevance(flat: FlatModel, x: Tensor) -> Answer:
    """The sum of LRP's relevance at the input, as a share of the value that is explained."""
    values = LRP()(flat, x, question()).values
    with torch.inference_mode():
        share = (values.sum() / random_sum(flat(x))).item()
    return Answer(share, f"{share:.2g}")


def attempt(work: Callable[[], Answer]) -> Answer:
    """What a method gives, or why it gives nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NetLensWarning)
        try:
            answer = work()
        except NetLensError as refusal:
            return Answer(refusal=described(refusal))
        except Exception as error:
            return Answer(error=described(error))
    messages = [str(warning.message) for warning in caught if issubclass(warning.category, NetLensWarning)]
    answer = replace(answer, warning=" ".join(messages))
    if answer.value is not None and not torch.tensor(answer.value).isfinite():
        return Answer(error=f"the values are {answer.value}")
    return answer


def described(error: Exception) -> str:
    """The first line of an error, with the line of code where it was raised, unless netlens explains itself."""
    text = f"{type(error).__name__}: {error}".split("\n")[0]
    if isinstance(error, NetLensError):
        return text
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{text} ({_short(place.filename)}:{place.lineno})"


def _short(path: str) -> str:
    """The path of a file within its package or this repository, without the folders of a machine."""
    inside = path.split("site-packages/")[-1]
    return inside.removeprefix(f"{Path(__file__).resolve().parents[2]}/")
