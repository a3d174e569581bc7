"""What an operation is in Django's words, also where a package or the project has made it of one of Django's."""

from __future__ import annotations

import re
from typing import Any

# Operations of nobody's words: by their name, for what they say is all that is known.
TAKES = re.compile(r"(Delete|Drop|Remove|Detach|Truncate)\w*(Partition|Table|Model|Field|Column|Schema|Data|Rows?)")
HOLDS = re.compile(r"(Create|Add)\w*(Partition|Table|Model|Field|Column)")


def kind(operation: Any) -> str:
    """Return the name of the class of Django's that `operation` is made of; its own where there is none."""
    for one in type(operation).__mro__:
        if one.__module__.startswith(("django.db.migrations.operations.", "django.contrib.postgres.operations")):
            return one.__name__ if one.__name__ != "Operation" else type(operation).__name__
    return type(operation).__name__


def takes(operation: Any) -> bool:
    """Return whether `operation` takes data, as its name says."""
    return not _of_django(operation) and TAKES.search(type(operation).__name__) is not None


def holds(operation: Any) -> bool:
    """Return whether `operation` makes room for data that goes when it is undone."""
    if kind(operation) in ("CreateModel", "AddField"):
        return True
    return not _of_django(operation) and HOLDS.search(type(operation).__name__) is not None


def _of_django(operation: Any) -> bool:
    return type(operation).__module__.startswith("django.")
