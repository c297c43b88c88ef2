"""Every law holds on 200 generated modules; `make fuzz` asks thousands."""

import pytest

from tests.generated.laws import LAWS, holds
from tests.generated.modules import generated, shrunk

SEEDS, BLOCK = 200, 25


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
@pytest.mark.parametrize("name", LAWS)
def test_the_law_holds(name, first):
    for seed in range(first, first + BLOCK):
        module = generated(seed)
        wrong = holds(LAWS[name], module)
        if wrong is not None:
            small = shrunk(module, lambda candidate: holds(LAWS[name], candidate) is not None)
            pytest.fail(f"seed {seed}: {wrong}\nsmallest: {holds(LAWS[name], small)}\n{small.source}")
