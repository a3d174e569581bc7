"""Which known name was meant."""

from __future__ import annotations

from collections.abc import Iterable


def near(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`, if one is."""
    import difflib

    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def nearest(name: str, known: Iterable[str]) -> str:
    """The same as a question behind a sentence, or nothing."""
    found = near(name, known)
    return f" (did you mean {found!r}?)" if found else ""
