"""Sentry: set up when there is a DSN; without one it is not even imported."""

from __future__ import annotations

from typing import Any

from board.build import Build
from board.config.boot import Secret

# What may leave the process. Everything is said: what `data_collection` omits is on, and giving it at all switches the
# SDK's own scrubber off (sentry-sdk 2.75). No variables of stack frames: psycopg's hold the database's password under
# names that no list knows.
_DATA_COLLECTION: dict[str, Any] = {
    "user_info": False,
    "cookies": {"mode": "off"},
    "http_headers": {"request": {"mode": "allowlist", "terms": ["user-agent", "content-type", "x-amzn-trace-id"]}},
    "http_bodies": [],
    "url_query_params": {"mode": "off"},
    "graphql": {"document": False, "variables": False},
    "gen_ai": {"inputs": False, "outputs": False},
    "database_query_data": False,
    "queues": False,
    "stack_frame_variables": False,
    "frame_context_lines": 5,
}


def start(dsn: Secret | None, *, project: str, environment: str, build: Build, traces_rate: float) -> None:
    """Send errors and, of `traces_rate` (0 to 1) of the requests, traces to the project of `dsn`; None: do nothing."""
    if dsn is None:
        return
    import sentry_sdk

    sentry_sdk.init(**options(dsn, project=project, environment=environment, build=build, traces_rate=traces_rate))


def options(dsn: Secret, *, project: str, environment: str, build: Build, traces_rate: float) -> dict[str, Any]:
    """Return what `sentry_sdk.init` gets."""
    from sentry_sdk.integrations.django import DjangoIntegration

    def sampler(context: dict[str, Any]) -> float:
        if context.get("wsgi_environ", {}).get("PATH_INFO") in ("/livez", "/healthz"):
            return 0.0
        parent = context.get("parent_sampled")
        return traces_rate if parent is None else float(parent)

    commit = build.commit or build.name
    return {
        "dsn": dsn.reveal(),
        "environment": environment,
        # A release's name may hold no slash, so no image reference; the commit lets Sentry name the suspect one.
        "release": f"{project}@{commit}" if commit else None,
        "dist": build.short_digest or None,
        "integrations": [
            DjangoIntegration(
                transaction_style="url",
                middleware_spans=False,
                signals_spans=False,
                cache_spans=True,
                db_transaction_spans=True,
            )
        ],
        "in_app_include": ["board", "releases"],
        "traces_sampler": sampler,
        "data_collection": _DATA_COLLECTION,
        "max_request_body_size": "never",
        "shutdown_timeout": 2,  # seconds
    }
