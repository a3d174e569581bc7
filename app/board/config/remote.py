"""Tier 3: values that others decide, asked for when they are first used and kept for the life of the process.

    class Billing(Manager):
        url = StackOutput("billing-{environment}", "ApiUrl", local="http://localhost:8001")
        key = Parameter("/billing/{environment}/key", secret=True)

    Billing().url

`{project}` and `{environment}` stand for the settings PROJECT and ENVIRONMENT. `local` is the value in the environments
local and test; in test nothing else is asked, and a test says what it wants by `with Billing.override(url="…"):`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any, ClassVar, overload

from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.signals import setting_changed

from board import aws

from .boot import Secret

RETRY_AFTER = 300.0  # seconds for which a failure is remembered, so that not every page waits for the same one

_overrides: ContextVar[dict[tuple[type, str], Any]] = ContextVar("overrides", default={})  # noqa: B039 - never changed


class Unresolved(Exception):
    """The value can't be had; the message says which, where and why."""


class _Cell:
    """One thing that is fetched once: by one thread while the others wait, a failure again after RETRY_AFTER."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._value: Any = None
        self._failure: Unresolved | None = None
        self._failed_at = 0.0

    def get(self, fetch: Callable[[], Any]) -> Any:
        if self._value is None:
            # While one thread tries again what failed before, the others have the failure at once.
            if not self._lock.acquire(blocking=self._failure is None):
                raise Unresolved(str(self._failure))
            try:
                self._fill(fetch)
            finally:
                self._lock.release()
        return self._value

    def _fill(self, fetch: Callable[[], Any]) -> None:
        if self._value is not None:
            return
        if self._failure and time.monotonic() - self._failed_at < RETRY_AFTER:
            raise Unresolved(str(self._failure))
        try:
            self._value = fetch()
        except (BotoCoreError, ClientError) as error:
            self._failure, self._failed_at = Unresolved(f"{type(error).__name__}: {error}"), time.monotonic()
            raise self._failure from error


_cells: dict[tuple[str, str], _Cell] = {}
_cells_lock = Lock()


def _cell(kind: str, name: str) -> _Cell:
    with _cells_lock:
        return _cells.setdefault((kind, name), _Cell())


def forget() -> None:
    """Forget all that was fetched."""
    with _cells_lock:
        _cells.clear()


def _reset(setting: str, **_: Any) -> None:
    if setting in ("ENVIRONMENT", "PROJECT"):
        forget()


setting_changed.connect(_reset)


class Value:
    """A value of a manager; the class attribute is this object, the instance's is what it resolves to."""

    def __init__(self, local: Any = None) -> None:
        self.local = local
        self.key: tuple[type, str]

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = (owner, name)

    @overload
    def __get__(self, instance: None, owner: type) -> Value: ...
    @overload
    def __get__(self, instance: Manager, owner: type) -> Any: ...
    def __get__(self, instance: Manager | None, owner: type) -> Any:
        if instance is None:
            return self
        overrides = _overrides.get()
        if self.key in overrides:
            return overrides[self.key]
        environment = settings.ENVIRONMENT
        if environment in ("local", "test") and self.local is not None:
            return self.local
        if environment == "test":
            manager, name = self.key
            raise Unresolved(f"{self} is not asked for in tests: use `with {manager.__name__}.override({name}=…):`.")
        return self.fetch()

    def fetch(self) -> Any:
        """Return the value, from the cache or from AWS. Raise Unresolved."""
        raise NotImplementedError


def _filled(template: str) -> str:
    return template.format(project=settings.PROJECT, environment=settings.ENVIRONMENT)


class StackOutput(Value):
    """An output of a CloudFormation stack; one call fetches all outputs of the stack."""

    def __init__(self, stack: str, output: str, *, local: str | None = None) -> None:
        super().__init__(local)
        self.stack, self.output = stack, output

    def __str__(self) -> str:
        return f"output {self.output} of stack {_filled(self.stack)}"

    def fetch(self) -> str:
        stack = _filled(self.stack)
        try:
            outputs = _cell("stack", stack).get(lambda: _outputs(stack))
        except Unresolved as error:
            raise Unresolved(f"{self} can't be read: {error}") from error
        if self.output not in outputs:
            raise Unresolved(f"{self} does not exist: the stack has {', '.join(sorted(outputs)) or 'no outputs'}.")
        return str(outputs[self.output])


def _outputs(stack: str) -> dict[str, str]:
    answer = aws.client("cloudformation").describe_stacks(StackName=stack)
    return {output["OutputKey"]: output["OutputValue"] for output in answer["Stacks"][0].get("Outputs", [])}


class Parameter(Value):
    """A parameter of the Systems Manager's store, decrypted; a `secret` one is a Secret."""

    def __init__(self, name: str, *, secret: bool = False, local: str | None = None) -> None:
        super().__init__(Secret(local) if secret and local is not None else local)
        self.name, self.secret = name, secret

    def __str__(self) -> str:
        return f"parameter {_filled(self.name)}"

    def fetch(self) -> str | Secret:
        name = _filled(self.name)
        try:
            value = _cell("parameter", name).get(lambda: _parameter(name))
        except Unresolved as error:
            raise Unresolved(f"{self} can't be read: {error}") from error
        return value if self.secret else value.reveal()


def _parameter(name: str) -> Secret:
    return Secret(aws.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])


class Manager:
    """A group of values that belong together."""

    values: ClassVar[dict[str, Value]] = {}

    def __init_subclass__(cls) -> None:
        cls.values = {**cls.values, **{name: value for name, value in vars(cls).items() if isinstance(value, Value)}}

    @classmethod
    @contextmanager
    def override(cls, **values: Any) -> Iterator[None]:
        """For tests: the values that instances have in this context. Raise TypeError for one that is not declared."""
        for name in values:
            if name not in cls.values:
                raise TypeError(f"{cls.__name__} has no value {name}: it has {', '.join(cls.values)}")
        token = _overrides.set({**_overrides.get(), **{cls.values[name].key: value for name, value in values.items()}})
        try:
            yield
        finally:
            _overrides.reset(token)
