from __future__ import annotations

from datetime import timedelta

from django.db import models


class Release(models.Model):
    """One attempt to run a build in an environment."""

    class State(models.TextChoices):
        PENDING = "pending"
        GOOD = "good"
        FAILED = "failed"
        UNDONE = "undone"

    class Kind(models.TextChoices):
        DEPLOY = "deploy"
        ROLLBACK = "rollback"
        RECREATE = "recreate"

    environment = models.CharField(max_length=40)
    number = models.PositiveIntegerField(help_text="Counts up from 1 in each environment.")
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.DEPLOY)
    build = models.CharField(max_length=40, help_text="The first 12 hex digits of the commit.")
    commit = models.CharField(max_length=40, blank=True)
    version = models.CharField(max_length=40, blank=True)
    digest = models.CharField(max_length=71, blank=True, help_text="sha256:… of the image's manifest.")
    who = models.CharField(max_length=100, blank=True)
    started = models.DateTimeField()
    ended = models.DateTimeField(null=True, blank=True, help_text="Empty while the release is pending.")
    reason = models.TextField(blank=True, help_text="Why it failed or was undone.")

    class Meta:
        ordering = ["-started", "-number"]
        constraints = [models.UniqueConstraint(fields=["environment", "number"], name="release_number_once")]
        indexes = [models.Index(fields=["-started", "-number"], name="release_newest")]

    def __str__(self) -> str:
        return f"{self.environment} #{self.number}"

    @property
    def short_digest(self) -> str:
        return self.digest.removeprefix("sha256:")[:12]

    @property
    def duration(self) -> timedelta | None:
        return self.ended - self.started if self.ended else None
