"""Where a release goes: one environment of a project, with its account, its release record and its stack."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from lastgood.aws.session import Session
from lastgood.config.project import Project
from lastgood.deploy.stack import Stack
from lastgood.record.table import Record


class Place:
    """One environment as a release meets it.

    `folder` is where the story of each release is left on this machine; `project` is the checkout, which may hold the keys that signatures
    are verified by.
    """

    def __init__(self, session: Session, folder: Path, project: Path | None = None) -> None:
        self.session = session
        self.folder = folder
        self.project = project or folder

    @classmethod
    def of(cls, project: Project, environment: str) -> Place:
        """The place of an environment by its name. Asks nobody yet; raises what Session.of does."""
        return cls(Session.of(project, environment), project.state / "releases", project.root)

    @property
    def name(self) -> str:
        """The environment's name."""
        return self.session.environment.name

    @cached_property
    def record(self) -> Record:
        """The environment's release record."""
        return Record(self.session.table, self.name)

    @cached_property
    def stack(self) -> Stack:
        """The environment's stack; it need not exist."""
        return Stack(self.session, self.session.environment.stack, Stack.of_environment(self.session))
