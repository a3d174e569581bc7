"""`manage.py seed`: a few releases to look at. What is there already is left as it is."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha1, sha256
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from releases.models import Release

# environment, number, state, kind, version, who, hours ago, seconds it took (None: it still runs), reason
RELEASES: list[tuple[str, int, str, str, str, str, float, int | None, str]] = [
    ("staging", 1, "good", "deploy", "2.9.0", "ada", 171.2, 252, ""),
    ("production", 1, "good", "deploy", "2.9.0", "ada", 168.5, 291, ""),
    ("staging", 2, "failed", "deploy", "2.10.0", "grace", 98.1, 187,
     "shop.0014_price_in_cents failed: column \"price\" contains null values.\nThe database is back at 2.9.0."),
    ("staging", 3, "good", "deploy", "2.10.1", "grace", 96.4, 244, ""),
    ("production", 2, "undone", "deploy", "2.10.1", "grace", 73.0, 305,
     "Rolled back by linus: the search answers, but with yesterday's index."),
    ("production", 3, "good", "rollback", "2.9.0", "linus", 72.6, 118, ""),
    ("staging", 4, "good", "deploy", "2.11.0", "ada", 26.3, 238, ""),
    ("production", 4, "failed", "deploy", "2.11.0", "ada", 25.1, 412,
     "The service did not become stable: 3 of 3 tasks stopped, exit 3 (No module named 'stripe')."),
    ("staging", 5, "good", "recreate", "2.11.0", "linus", 5.8, 655, ""),
    ("production", 5, "pending", "deploy", "2.11.1", "ada", 0.03, None, ""),
]  # fmt: skip


class Command(BaseCommand):
    help = "Adds a few releases to look at. What is there already is left as it is."

    @transaction.atomic
    def handle(self, **options: Any) -> None:
        if settings.ENVIRONMENT not in ("local", "test"):
            raise CommandError(f"seed is for the environments local and test, this is {settings.ENVIRONMENT}.")
        now = timezone.now()
        added = 0
        for environment, number, state, kind, version, who, hours, seconds, reason in RELEASES:
            commit = sha1(version.encode(), usedforsecurity=False).hexdigest()
            started = now - timedelta(hours=hours)
            _, new = Release.objects.get_or_create(
                environment=environment,
                number=number,
                defaults={
                    "state": state,
                    "kind": kind,
                    "build": commit[:12],
                    "commit": commit,
                    "version": version,
                    "digest": f"sha256:{sha256(version.encode()).hexdigest()}",
                    "who": who,
                    "started": started,
                    "ended": started + timedelta(seconds=seconds) if seconds else None,
                    "reason": reason,
                },
            )
            added += new
        self.stdout.write(f"{added} releases added, {len(RELEASES) - added} were there.")
