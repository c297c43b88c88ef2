"""The hub of Hugging Face, from which timm and transformers download: can it be reached, and what is cached?

Both libraries try for half a minute, and print each try, before they give up. So netlens asks first.
"""

from __future__ import annotations

from pathlib import Path

_SECONDS = 5.0


def reachable() -> bool:
    """Whether the hub answers."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS)
    except Exception:  # the errors are those of the library that huggingface_hub connects with; it has changed once
        return False
    return True


def cached(repository: str, file: str) -> Path | None:
    """The path of a file of a repository in the cache; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(repository, file)
    except HFValidationError:  # no name of a repository, such as a path
        return None
    return Path(path) if isinstance(path, str) else None
