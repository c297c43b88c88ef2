"""The networks on which the laws of attribution are tested, made once (tests/networks/families.py)."""

from __future__ import annotations

import pytest

from tests.networks.families import FAMILIES, SOME, Case, case_of


@pytest.fixture(scope="session")
def cases() -> Cases:
    return Cases()


@pytest.fixture(params=FAMILIES)
def case(request: pytest.FixtureRequest, cases: Cases) -> Case:
    """Every family in turn."""
    return cases[request.param]


@pytest.fixture(params=SOME)
def core_case(request: pytest.FixtureRequest, cases: Cases) -> Case:
    """Three that differ most."""
    return cases[request.param]


class Cases(dict[str, Case]):
    """The case of each family, made when it is first asked for."""

    def __missing__(self, name: str) -> Case:
        self[name] = case_of(name)
        return self[name]
