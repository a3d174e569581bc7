"""Tier 1: the environment variables that the process needs to start, read once into one frozen object."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from importlib.util import find_spec
from typing import Annotated, Any, get_type_hints
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from . import environments


class Secret:
    """A text that shows itself to nobody who does not ask for it by `reveal()`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('••••')"

    def __str__(self) -> str:
        return "••••"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def _environment(text: str) -> str:
    if text not in environments.names():
        raise ValueError(f"is none of {', '.join(environments.names())} (the files in board/config/environments)")
    return text


_POSTGRESQL_OPTIONS = (
    "application_name",
    "connect_timeout",
    "options",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
)


def _database(text: str) -> dict[str, Any]:
    """Return Django's settings of the database at `text`, a postgresql:// or sqlite:// URL."""
    url = _url(text)
    if url.scheme == "sqlite":
        if url.netloc or not url.path.removeprefix("/"):
            raise ValueError("is not sqlite:///path (four slashes for an absolute one)")
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": unquote(url.path.removeprefix("/"))}
    if url.scheme not in ("postgresql", "postgres"):
        raise ValueError("is not a postgresql:// or sqlite:// URL")
    name = unquote(url.path.removeprefix("/"))
    if not url.hostname or not name:
        raise ValueError("is not postgresql://user:password@host:port/name: the host or the name is missing")
    options = dict(parse_qsl(url.query, keep_blank_values=True))
    for option in options:
        if option not in _POSTGRESQL_OPTIONS:
            raise ValueError(f"has an option that is none of {', '.join(_POSTGRESQL_OPTIONS)}")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": url.hostname,
        "PORT": str(url.port or ""),
        "NAME": name,
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        # Seconds; shorter than the load balancer waits for the health check's answer.
        "OPTIONS": {"connect_timeout": "3", **options},
    }


_PARTS = ("USER", "PASSWORD", "HOST", "PORT", "NAME")


def _joined(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Return `variables` with the DATABASE_URL that their parts make, as they come where RDS keeps the password (service.yml)."""
    if variables.get("DATABASE_URL") or not variables.get("DATABASE_HOST"):
        return variables
    user, password, host, port, name = (variables.get(f"DATABASE_{part}", "") for part in _PARTS)
    joined = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}/{quote(name, safe='')}"
    return {**variables, "DATABASE_URL": joined}


def _cache(text: str) -> dict[str, Any]:
    """Return Django's settings of the cache at `text`, a locmem:// or redis:// URL."""
    scheme = _url(text).scheme
    if scheme == "locmem":
        return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    if scheme not in ("redis", "rediss"):
        raise ValueError("is not a locmem://, redis:// or rediss:// URL")
    if find_spec("redis") is None:
        raise ValueError("needs the package redis: add it to requirements.in")
    return {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": text}


def _sentry_dsn(text: str) -> Secret:
    url = _url(text)
    if url.scheme not in ("http", "https") or not url.hostname or not url.username or not url.path.strip("/"):
        raise ValueError("is not https://key@host/project")
    return Secret(text)


def _url(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port  # a wrong one raises here, with the value in the message
    except ValueError:
        raise ValueError("is not a valid URL") from None
    return url


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("is neither 0 nor 1")
    return text == "1"


@dataclass(frozen=True)
class Variable:
    """The environment variable of a field, and what makes the field's value of its text (or raises ValueError)."""

    name: str
    parse: Callable[[str], Any]


@dataclass(frozen=True)
class Boot:
    """The boot variables; a field without a default must be set."""

    environment: Annotated[str, Variable("ENVIRONMENT", _environment)]
    database: Annotated[dict[str, Any], Variable("DATABASE_URL", _database)] = field(repr=False)  # holds the password
    secret_key: Annotated[Secret, Variable("SECRET_KEY", Secret)]
    cache: Annotated[dict[str, Any], Variable("CACHE_URL", _cache)] = field(
        default_factory=lambda: _cache("locmem://"), repr=False
    )
    sentry_dsn: Annotated[Secret | None, Variable("SENTRY_DSN", _sentry_dsn)] = None
    # For `manage.py runserver` on a developer's machine; refused everywhere else.
    debug: Annotated[bool, Variable("DEBUG", _flag)] = False


def read(variables: Mapping[str, str] = os.environ) -> Boot:
    """Return the boot variables found in `variables`; one that is empty counts as not set.

    Raise ImproperlyConfigured, once, with the name and the reason of every one that is missing or wrong, never a value.
    """
    variables = _joined(variables)
    types = get_type_hints(Boot, include_extras=True)
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for entry in fields(Boot):
        (variable,) = types[entry.name].__metadata__
        text = variables.get(variable.name, "")
        try:
            if text:
                values[entry.name] = variable.parse(text)
            elif entry.default is MISSING and entry.default_factory is MISSING:
                wrong.append(f"{variable.name} is not set")
        except ValueError as error:
            wrong.append(f"{variable.name} {error}")
    if values.get("debug") and values.get("environment", "local") != "local":
        wrong.append("DEBUG is for ENVIRONMENT=local only")
    if wrong:
        raise ImproperlyConfigured(f"The process can't start: {'; '.join(wrong)}.")
    return Boot(**values)
