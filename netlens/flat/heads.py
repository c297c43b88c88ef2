"""Heads: the parts of a network's output, what each of them holds, and where its scores of classes are.

What a head holds follows from the operations that make it, from its name in the output, and from the adapter. Shapes
alone do not say: (N, 768) may be the scores of 768 classes, or an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from netlens.errors import ClassNotFound, NotApplicable
from netlens.flat._axes import SQUEEZED
from netlens.flat._ending import Activation, Ending, ending
from netlens.flat._making import Making, making
from netlens.flat._unrolled import Unrolled
from netlens.flat.adapter import Detections, logits_of
from netlens.flat.keys import OUTPUT
from netlens.flat.running import Program
from netlens.memo import Memo
from netlens.precision import widest

Name = str | int

_SCORES = ("logits", "out", "scores", "logits_per_image")
_EMBEDDINGS = ("image_embeds", "embeds", "embeddings", "embedding", "pooler_output", "features", "last_hidden_state")
_FEATURES = ("text_embeds", "feature_maps", "hidden_states")
_DEPTHS = ("predicted_depth", "depth")
_PICTURES = ("reconstruction", "reconstructed_pixel_values", "sample")


_MEANINGS = {
    **dict.fromkeys(_EMBEDDINGS + _FEATURES, "an embedding"),
    **dict.fromkeys(_DEPTHS, "depths"),
    **dict.fromkeys(_PICTURES, "a picture"),
}


@dataclass(frozen=True)
class Head:
    """One part of a network's output.

    Args:
        name: Its name in the output, or its index in a tuple; None if the output is a single tensor.
        key: The key of the value that the network returns; "output" if only a run shows the parts of the output.
        ending: The last activation, and the value before it.
        making: What the operations say about the value; None if only a run shows the parts of the output.
    """

    name: Name | None
    key: str
    ending: Ending
    making: Making | None = None

    @property
    def activation(self) -> Activation | None:
        """The activation in which the head ends."""
        return self.ending.activation

    @property
    def holds(self) -> str | None:
        """What the head holds, if it is no scores: "an embedding", "depths", "a picture"; else None."""
        name = str(self.name)
        if name in _MEANINGS:
            return _MEANINGS[name]
        if self.making is None or self.activation is not None or name in _SCORES:
            return None
        return "an embedding" if self.making.is_embedding else None

    @property
    def is_like_scores(self) -> bool:
        """Whether the head comes from a linear layer or convolution, or ends in probabilities."""
        if self.making is None or self.holds is not None:
            return False
        return self.activation is not None or self.making.is_linear

    def of(self, output: Any) -> Tensor:
        """The value of the head in an output of the network, in its own structure."""
        if self.name is None:
            return logits_of(output)
        entry = _entry(output, self.name)
        return logits_of(entry if isinstance(entry, Tensor) else {"logits": entry})

    def scores(self, value: Tensor) -> Tensor:
        """The scores from the value that the network returns: the inverse of the last activation."""
        tiny = torch.finfo(value.dtype).tiny
        if self.activation == "softmax":
            return value.clamp(min=tiny).log()
        return value.logit(torch.finfo(value.dtype).eps) if self.activation == "sigmoid" else value

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """The logarithms of the probabilities, from scores with the classes in dimension 1."""
        if self.activation == "sigmoid" or (scores.shape[1] == 1 and self.activation is None):
            return logsigmoid(scores)
        return scores.log_softmax(1) if self.activation is None or self.ending.exact else scores

    def probabilities(self, scores: Tensor, output: Tensor | None) -> Tensor:
        """The probabilities (N, classes, ...).

        A head that ends in probabilities gives them unchanged. Otherwise, they are the softmax of the scores, or the
        sigmoid of a single score.

        Args:
            scores: (N, classes, ...), the scores.
            output: The value that the network returns; needed if it ends in probabilities.
        """
        if output is not None and output.numel() == scores.numel():
            # a squeeze may have dropped the dimension of a single sample
            axis = self.class_axis(scores)
            value = output.reshape(scores.movedim(1, axis).shape).movedim(axis, 1)
            return value.exp() if self.activation == "log_softmax" else value
        if output is not None:  # of single samples that ran one by one, a squeeze may have left too little to join
            return self.log_probabilities(scores).exp()
        precise = scores.to(widest(scores.device))
        return precise.sigmoid() if scores.shape[1] == 1 else precise.softmax(1)

    def predicted(self, scores: Tensor) -> Tensor:
        """(N, classes, ...): whether the network predicts the class, by image or by position.

        Of several scores, the highest one is predicted. A single score, and each of several scores that end in a
        sigmoid, is predicted where the probability is above one half.
        """
        if scores.shape[1] == 1 or self.activation == "sigmoid":
            return scores > 0
        return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, scores.argmax(1, keepdim=True), True)

    def class_axis(self, value: Tensor) -> int:
        """The dimension of the classes in a value that is arranged as the output."""
        axis = None if self.making is None else self.making.axes.get(value.ndim)
        return axis if isinstance(axis, int) else 1

    def by_class(self, value: Tensor, network: str) -> Tensor:
        """The value with the samples in dimension 0, the classes in dimension 1, and positions in the others.

        Raises:
            NotApplicable: The value holds no scores of classes. The message names the objective to use.
        """
        shape = tuple(value.shape)
        here = "its output" if self.name is None else f"its output {self.name!r}"
        if self.holds is not None or value.ndim == 0:
            raise NotApplicable(self._no_scores(network, here, shape))
        if value.ndim < 3:
            return value[:, None] if value.ndim == 1 else value
        axis = None if self.making is None else self.making.axes.get(value.ndim)
        if axis == SQUEEZED:
            if self.activation == "sigmoid":
                return value[:, None]
            raise NotApplicable(
                f"{network} gives one number for each position, {here} is {shape}, and no scores of classes. "
                f"Explain {self._output('.mean((1, 2))')}; if these are scores of one class, give "
                "Adapter(logits=lambda out: out[:, None])."
            )
        if self.making is None:
            return value
        if value.ndim > 3 and value.shape[1] == 1 and axis in (None, 1) and self.making.is_rectified:
            raise NotApplicable(
                f"{network} gives one number from 0 for each position, such as a depth: {here} is {shape}, "
                f"and no scores of classes. Explain {self._output('.mean((1, 2, 3))')}."
            )
        if value.ndim == 3 and (axis == 2 or self.making.is_joined):
            raise NotApplicable(self._of_parts(network, here, shape))
        return value.movedim(self.class_axis(value), 1)

    def _no_scores(self, network: str, here: str, shape: tuple[int, ...]) -> str:
        if not shape:
            return f"{network} gives one number for the whole batch, but an objective needs one for each sample."
        what = f"{network} gives {self.holds}: {here} is {shape}, and no scores of classes."
        if self.holds == "an embedding":
            return f"{what} Explain objectives.similarity(reference), with a picture or an embedding to compare with."
        return f"{what} Explain {self._output('.flatten(1).mean(1)')}."

    def _of_parts(self, network: str, here: str, shape: tuple[int, ...]) -> str:
        return (
            f"{network} gives a row for each of {shape[1]} tokens, queries or boxes: {here} is {shape}, so a class "
            "alone names no number. Explain objectives.logit((row, class)); an embedding by "
            "objectives.similarity(reference); boxes by objectives.box(class) with an Adapter(detections=...); "
            f"or {self._output('[:, row].sum(1)')}."
        )

    def _output(self, rest: str) -> str:
        if self.name is None:
            return f"objectives.output(lambda out: out{rest})"
        return f"objectives.output(lambda out: out[{self.name!r}]{rest})"


@dataclass(frozen=True)
class Heads:
    """All heads of a network.

    Args:
        entries: The heads by name. A network with a single tensor as its output has the head None.
    """

    entries: Mapping[Name | None, Head]

    def chosen(self, network: str, name: Name | None = None) -> Head:
        """The head with a name; for None, the head that holds the scores of classes.

        Raises:
            ClassNotFound: There is no such head.
            NotApplicable: Several heads may hold the scores.
        """
        if name is not None:
            for entry_name, head in self.entries.items():
                if entry_name is not None and str(entry_name) == str(name):
                    return head
            outputs = f"its outputs are {self._names()}" if self._names() else "its output has no named parts"
            raise ClassNotFound(f"{network} has no output {name!r}; {outputs}.")
        if len(self.entries) == 1:
            return next(iter(self.entries.values()))
        named = next((self.entries[entry_name] for entry_name in _SCORES if entry_name in self.entries), None)
        if named is not None:
            return named
        like = [head for head in self.entries.values() if head.is_like_scores]
        meant = like or [head for head in self.entries.values() if head.holds is not None][:1]
        if len(meant) == 1:
            return meant[0]
        first = next(iter(like or self.entries.values())).name
        raise NotApplicable(
            f"{network} has several outputs: {self._names()}. Name the one to explain: target=({first!r}, class), "
            f"or objectives.logit(({first!r}, class)); boxes and classes need an Adapter(detections=...)."
        )

    @property
    def are_items(self) -> bool:
        """Whether the heads are the items of a tuple, which have an index in place of a name."""
        return len(self.entries) > 1 and all(isinstance(name, int) for name in self.entries)

    def embedding(self, network: str, name: Name | None = None) -> Head:
        """The head with a name; for None, the head that holds an embedding, or the only head.

        Raises:
            NotApplicable: No head is known to hold an embedding, and there are several.
        """
        if name is not None or len(self.entries) == 1:
            return self.chosen(network, name)
        holder = next((self.entries[entry] for entry in _EMBEDDINGS if entry in self.entries), None)
        holder = holder or next((head for head in self.entries.values() if head.holds == "an embedding"), None)
        if holder is None:
            raise NotApplicable(
                f"{network} has several outputs: {self._names()}. Say which one is the embedding: "
                f"similarity(reference, head={next(iter(self.entries))!r})."
            )
        return holder

    def _names(self) -> str:
        return ", ".join(repr(name) for name in self.entries if name is not None)


def heads_of(flat: Unrolled) -> Heads:
    """The heads of a network."""
    program = flat.program
    return _HEADS.of(program, None, lambda: Heads({head.name: head for head in _heads(program)}))


def head_of(flat: Unrolled, name: Name | None = None) -> Head:
    """The head with a name; for None, the head that holds the scores of classes.

    If the adapter of the network reads the output, the head is the whole output.
    """
    if name is None and (flat.adapter.logits is not None or flat.adapter.detections is not None):
        return Head(None, OUTPUT, Ending(OUTPUT))
    return heads_of(flat).chosen(flat.name, name)


_HEADS: Memo[Program, Heads] = Memo()


def _heads(program: Program) -> Iterator[Head]:
    names = list(program.outputs)
    skeleton = program.assemble(dict(zip(names, names, strict=True)))
    hidden = {step.key for step in program.steps if step.hidden}
    computed = program.reached(program.inputs) - hidden
    named_keys = [(name, _first(entry, computed)) for name, entry in _entries(skeleton)]
    entries: list[tuple[Name | None, str]] = [(name, key) for name, key in named_keys if key is not None]
    if isinstance(skeleton, Detections):
        entries, skeleton = [], None  # an objective reads all of them
    if isinstance(skeleton, str) or not entries:
        key = skeleton if isinstance(skeleton, str) and skeleton in computed else None
        yield (
            Head(None, OUTPUT, Ending(OUTPUT))
            if key is None
            else Head(None, key, ending(program, key), making(program, key))
        )
    for name, key in entries:
        yield Head(name, key, ending(program, key), making(program, key))


def _entries(output: Any) -> Iterator[tuple[Name, Any]]:
    """The named parts of an output."""
    if isinstance(output, Mapping):
        yield from output.items()
    elif is_dataclass(output):
        yield from ((field.name, getattr(output, field.name)) for field in fields(output))
    elif hasattr(output, "_asdict"):
        yield from output._asdict().items()
    elif isinstance(output, (tuple, list)):
        yield from enumerate(output)


def _first(entry: Any, computed: set[str]) -> str | None:
    """The key of the first value within a part of the output that depends on the input."""
    if isinstance(entry, str):
        return entry if entry in computed else None
    nested = (_first(item, computed) for _, item in _entries(entry))
    return next((key for key in nested if key is not None), None)


def _entry(output: Any, name: Name) -> Any:
    return next((entry for entry_name, entry in _entries(output) if str(entry_name) == str(name)), None)
