"""Small random modules, the same for the same seed; one that fails is shrunk and printed as code."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from netlens.evaluation import randomized
from tests.generated.statements import PRELUDE, TEMPLATES, Template

SHAPE = (4, 6, 5)
HEADS = ("{x}.mean((2, 3))", "{x}.amax((2, 3))", "{x}[:, :, 1:4, 2:].sum((2, 3)) / 9")


@dataclass(frozen=True)
class Statement:
    """One statement of a forward, with the names of its values."""

    template: Template
    number: int
    reads: tuple[str, ...]

    @property
    def gives(self) -> str:
        return f"x{self.number}"

    def written(self, code: str) -> list[str]:
        x, y = self.reads[0], self.reads[-1]
        return code.format(o=self.gives, x=x, y=y, i=self.number).splitlines()


@dataclass(frozen=True)
class Generated:
    """A module as its statements; `module()` makes it, always with the same weights."""

    seed: int
    statements: tuple[Statement, ...]
    last: str
    head: str
    device: str = "cpu"

    @property
    def traits(self) -> frozenset[str]:
        return frozenset().union(*(statement.template.traits for statement in self.statements))

    @cached_property
    def source(self) -> str:
        """The module as Python code that runs by itself."""
        init = [line for s in self.statements for line in s.written(s.template.init)]
        body = [line for s in self.statements for line in s.written(s.template.lines)]
        body.append(f"return self.head({self.head.format(x=self.last)})")
        lines = [
            *("class Generated(nn.Module):", "    def __init__(self):", "        super().__init__()"),
            *(f"        {line}" for line in (*init, "self.head = nn.Linear(4, 3)")),
            *("", "    def forward(self, x):"),
            *(f"        {line}" for line in body),
        ]
        return "\n".join(lines) + "\n"

    def module(self) -> nn.Module:
        """The module in eval mode, in float64, with random weights, biases and statistics."""
        scope: dict[str, object] = {"__name__": "generated"}
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            exec(PRELUDE + self.source, scope)  # code of our own, from the statements above
            module = scope["Generated"]()  # type: ignore[operator]
        return randomized(module, self.seed).double().eval().to(self.device)

    def images(self, n: int) -> Tensor:
        """n images of these modules."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(n, *SHAPE, generator=generator, dtype=torch.float64).to(self.device)

    def without(self, statement: Statement) -> Generated:
        """The same with one statement left out, whose first value stands for what it gave."""
        name = {statement.gives: statement.reads[0]}
        statements = (one for one in self.statements if one is not statement)
        renamed = (replace(one, reads=tuple(name.get(read, read) for read in one.reads)) for one in statements)
        return replace(self, statements=tuple(renamed), last=name.get(self.last, self.last))


def generated(
    seed: int, without: Collection[str] = (), only: Collection[str] = (), length: int = 6, device: str = "cpu"
) -> Generated:
    """The module of that seed, of up to `length` statements.

    without: traits, or names of templates, that it must not have; only: names of templates that it is made of.
    """
    draw = random.Random(seed)
    templates = [
        one for one in TEMPLATES if not (one.traits | {one.name}) & set(without) and (not only or one.name in set(only))
    ]
    values, statements = ["x"], []
    for number in range(draw.randint(1, length)):
        template = draw.choice(templates)
        # mostly what was made last, so that modules are deep as well as wide
        first = values[-1] if draw.random() < 0.7 else draw.choice(values)
        reads = (first, draw.choice(values)) if template.several else (first,)
        statements.append(Statement(template, number, reads))
        values.append(statements[-1].gives)
    return Generated(seed, tuple(statements), values[-1], draw.choice(HEADS), device)


def shrunk(module: Generated, fails: Callable[[Generated], bool]) -> Generated:
    """The smallest module that still fails, found by leaving out one statement after the other."""
    smaller = True
    while smaller:
        smaller = False
        for statement in reversed(module.statements):
            candidate = module.without(statement)
            if candidate.statements and fails(candidate):
                module, smaller = candidate, True
                break
    return module
