"""Claims about networks as tests: assertions with measured numbers and pictures, for pytest and without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["assert_complete", "assert_ignores", "assert_looks_at", "assert_same_reason", "assert_sane"]

if TYPE_CHECKING:
    from netlens.testing._claims import (
        assert_complete,
        assert_ignores,
        assert_looks_at,
        assert_same_reason,
        assert_sane,
    )


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'netlens.testing' has no attribute {name!r}")
    # pytest imports this package for its plugin in every run, also in those that never ask a network anything
    from netlens.testing import _claims

    return getattr(_claims, name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
