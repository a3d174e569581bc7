"""What can stop a run: each with the status of its result line and the exit status of the process."""

from __future__ import annotations

import os
import re
from random import uniform

SECRET_NAME = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|KEY|DSN|_URL$|CREDENTIAL")
# To the last @: a password may hold one, and / # ? as well.
URL_PASSWORD = re.compile(r"(://[^:/@\s]*:)\S+@")
GIVEN = re.compile(
    r"""(?i)((?:pass(?:word|wd|phrase)|secret|token|api[_-]?key|access[_-]?key)(?:_\w{1,40})?["']?\s{0,3}=(?!=)\s{0,3})"""
    r"""(?:"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|[^\s"']\S*)"""
)


# PostgreSQL's codes of what somebody else was in the way of.
TRY_AGAIN = {"55P03": "a lock was not to be had in time", "40P01": "a deadlock"}


class MigratorError(Exception):
    """The migration failed; the message says at which step."""

    status = "failed"
    exit_status = 5


class Refused(MigratorError):
    """The run would not be right: nothing was touched."""

    status = "refused"
    exit_status = 4


class UsageError(MigratorError):
    """The call or the project's configuration is wrong: nothing was touched."""

    status = "refused"
    exit_status = 2


class TooMuchAtOnce(MigratorError):
    """The server had no room for what one transaction locks: nothing of it was committed."""


class Busy(MigratorError):
    """Somebody else held a lock for too long: try again."""

    status = "busy"
    exit_status = 75


class LeftBehind(Busy):
    """As Busy, outside a transaction: something stayed, which the next run clears away before it goes on."""


def pause_before(attempt: int) -> float:
    """Return how many seconds to wait before the try after `attempt` (from 0): longer each time, and never two the same."""
    return min(8.0, 0.25 * 2.0**attempt) * uniform(0.5, 1)  # noqa: S311


def cause(error: BaseException) -> str:
    """Return "ErrorClass: first line of its message", without secrets."""
    lines = (
        without_secrets(str(error)).strip().splitlines()
    )  # before it is cut: what tells a secret may stand on another line
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, OSError) and "source code" in text:
        text += (
            ' (an image keeps the sources of the application alone, unless sources = "all" in [tool.lastgood.image])'
        )
    return text


def not_loaded(module: str, error: BaseException) -> str:
    """Return why the apps of the settings `module` do not load; of an app that asks a database, that there may be none."""
    from django.db import Error

    text = f"the apps of {module} do not load: {cause(error)}"
    if not isinstance(error, Error):
        return text
    return (
        f"{text}; an app asks the database while it is loaded (AppConfig.ready(), or a module's top level): while an image is built there "
        "is none, and before the first migration no table, so ask when it is needed, or in a receiver of post_migrate"
    )


def without_secrets(text: str) -> str:
    """Return `text` with the values of secret environment variables and the passwords in addresses and of `password=…` masked."""
    for name, value in os.environ.items():
        if len(value) >= 6 and SECRET_NAME.search(name):
            text = text.replace(value, "***")
    return GIVEN.sub(r"\1***", URL_PASSWORD.sub(r"\1***@", text))


def sqlstate(error: BaseException | None) -> str | None:
    """Return PostgreSQL's error code of `error` or of what it was raised from, for psycopg 2 and 3."""
    while error is not None:
        code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if isinstance(code, str):
            return code
        error = error.__cause__
    return None
