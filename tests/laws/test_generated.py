"""Every law holds on 100 generated modules; `make fuzz` asks thousands."""

import pytest

from tests.generated.laws import LAWS, holds
from tests.generated.modules import generated, shrunk

SEEDS, BLOCK = 100, 5


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_the_laws_hold(first):
    for seed in range(first, first + BLOCK):
        module = generated(seed)
        for name, law in LAWS.items():
            wrong = holds(law, module)
            if wrong is not None:
                small = shrunk(module, lambda candidate, law=law: holds(law, candidate) is not None)
                pytest.fail(f"seed {seed}, {name}: {wrong}\nsmallest: {holds(law, small)}\n{small.source}")
