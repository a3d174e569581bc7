"""What the servers that fork have in common.

They import beforehand all that a run of the migrator or of Django's migrate does, but what needs settings, and they end with the tests.
"""

from __future__ import annotations

import gc
import pkgutil
import select
import socket
import sys
from importlib import import_module

MODULES = (
    "django.contrib.auth.hashers",
    "django.contrib.auth.management",
    "django.contrib.contenttypes.management",
    "django.contrib.postgres.operations",
    "django.core.mail",
    "django.core.management.commands.migrate",
    "django.core.management.sql",
    "django.db.backends.postgresql.base",
    "django.db.backends.sqlite3.base",
    "django.db.migrations.executor",
    "django.db.models",
    "django.template.defaultfilters",
    "django.template.loader_tags",
    "django.views.debug",
    "django.views.generic",
    "logging.config",
)


def up() -> None:
    """Import it, and keep it out of the garbage collector's way, so that the forks share its memory."""
    for name in MODULES:
        import_module(name)
    migrator = import_module("migrator")
    for module in pkgutil.walk_packages(migrator.__path__, "migrator."):
        if not module.name.endswith("__main__"):  # which is to be run
            import_module(module.name)
    gc.collect()
    gc.freeze()


def somebody_connects(listener: socket.socket) -> bool:
    """Wait for it; not so where whoever started us has gone, with our standard input."""
    ready, _, _ = select.select([listener, sys.stdin], [], [])
    return sys.stdin not in ready
