"""AWS clients, made once in a process and shared by its threads and, when made before the fork, by its workers.

A session for each call costs a hundred milliseconds, a client for each call four; ours costs nothing but the call.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import boto3
from botocore.config import Config
from django.core.signals import setting_changed

# Seconds. A page may wait for one of these calls, once: two attempts of this length at most.
_CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=25,
    tcp_keepalive=True,
)

_lock = RLock()
_session: boto3.session.Session | None = None
_clients: dict[str, Any] = {}
_overrides: dict[str, Any] = {}


def client(service: str) -> Any:
    """Return this process's client of `service` ("cloudformation", "ssm"), made at the first call.

    AWS_REGION says the region; endpoint and credentials are the SDK's own business: AWS_ENDPOINT_URL, the task's role.
    Raise botocore's NoRegionError when there is no region.
    """
    global _session
    found = _overrides.get(service) or _clients.get(service)
    if found is not None:
        return found
    with _lock:  # clients may be shared between threads, the session that makes them may not
        if service not in _clients:
            # The SDK knows AWS_DEFAULT_REGION only; AWS_REGION is what the others read and ECS sets.
            _session = _session or boto3.session.Session(region_name=os.environ.get("AWS_REGION") or None)
            _clients[service] = _session.client(service, config=_CONFIG)
        return _clients[service]


def prepare(*services: str) -> None:
    """Make the clients of `services`, calling nobody; before the fork the workers then share their memory."""
    for service in services:
        client(service)


@contextmanager
def override(**clients: Any) -> Iterator[None]:
    """For tests: `with aws.override(ssm=fake): …`, in all threads."""
    before = dict(_overrides)
    _overrides.update(clients)
    try:
        yield
    finally:
        _overrides.clear()
        _overrides.update(before)


def close() -> None:
    """Close the connections of all clients; the clients stay usable."""
    for made in list(_clients.values()):
        made.close()


def _reset(setting: str, **_: Any) -> None:
    global _session
    if setting in ("ENVIRONMENT", "AWS_CLIENTS"):
        with _lock:
            close()
            _clients.clear()
            _session = None


def _after_fork() -> None:
    # A connection that was opened before the fork is shared with the parent and the other workers: one of them would
    # read the answer to another's question. And a lock that a thread of the parent held would never be free here.
    global _lock
    _lock = RLock()
    close()


os.register_at_fork(after_in_child=_after_fork)
setting_changed.connect(_reset)
