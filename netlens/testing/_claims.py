"""All assertions, each in a file of its own."""

from netlens.testing._complete import assert_complete
from netlens.testing._ignores import assert_ignores
from netlens.testing._looks_at import assert_looks_at
from netlens.testing._same_reason import assert_same_reason
from netlens.testing._sane import assert_sane

__all__ = ["assert_complete", "assert_ignores", "assert_looks_at", "assert_same_reason", "assert_sane"]
