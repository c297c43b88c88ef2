"""The result for one network, as a line of a table and as a line of a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

TOLERANCE = 1e-5  # relative; what is written out in pieces, such as fused attention, may need it
EXACT = 1e-9  # the same in double precision, for random networks that magnify rounding


@dataclass(frozen=True)
class Answer:
    """The answer of one method of attribution: a value, or the reason why there is none.

    Attributes:
        value: The number that says whether the values are right; None if there are no values.
        text: What the table shows beside it.
        warning: What netlens warned of.
        refusal: Why the method does not apply, in netlens's own words.
        error: An error that no user should see.
    """

    value: float | None = None
    text: str = ""
    warning: str = ""
    refusal: str = ""
    error: str = ""


@dataclass(frozen=True)
class Row:
    """The result for one network.

    Attributes:
        network: The name of the network.
        family: What it belongs to.
        layers: The number of layers of the flat model.
        opaque: Why a part could not be unrolled, by key.
        difference: The largest difference from the network itself, relative to the largest output; 0 only if equal;
            None if there is no flat model.
        exact: The difference in double precision, if that in single precision is large.
        seconds: The time that flattening took.
        took: The time of the processor for the whole row, in seconds.
        refusal: Why there is no flat model.
        unbuilt: Why the network itself could not be built or run. It then does not count.
        found: What each method gave, by method. "grad_cam": whether the largest value lies on the only patch that
            matters (1 or 0), with the layer. "place": whether this layer lies where netlens says (1 or 0). "deep_lift":
            the part of the change of the output that the values miss. "lrp": the sum of the relevance at the input,
            as a share of the value that is explained.
    """

    network: str
    family: str
    layers: int = 0
    opaque: dict[str, str] = field(default_factory=dict)
    difference: float | None = None
    exact: float | None = None
    seconds: float = 0.0
    took: float = 0.0
    refusal: str = ""
    unbuilt: str = ""
    found: dict[str, Answer] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether there is a flat model that gives the output of the network, or no network to compare with."""
        if self.unbuilt:
            return True
        if self.difference is None:
            return False
        return self.difference <= TOLERANCE or (self.exact is not None and self.exact <= EXACT)

    @property
    def verdict(self) -> str:
        if self.unbuilt or self.refusal:
            return "not built" if self.unbuilt else "refused"
        verdict = "equal" if self.difference == 0 else f"{self.difference:.1e}"
        return verdict if self.exact is None else f"{verdict}, in float64 {self.exact:.0e}"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Row:
        fields: dict[str, Any] = json.loads(line)
        return cls(**{**fields, "found": {method: Answer(**answer) for method, answer in fields["found"].items()}})


def shown(answer: Answer | None) -> str:
    if answer is None:
        return ""
    if answer.error or answer.refusal:
        return "**error**" if answer.error else "–"
    return f"{answer.text} (warned)" if answer.warning else answer.text
