"""The project's own code: where it lies, and what it sees when it is run while its image is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lastgood.config.project import Project


@dataclass(frozen=True)
class Application:
    """`folder` holds manage.py, `settings` is the dotted name of its settings, `variables` are those of [tool.lastgood.image.environment].

    `name` is the project's.
    """

    name: str
    folder: Path
    settings: str
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, project: Project) -> Application:
        """The application of a project."""
        return cls(project.name, project.app, project.settings, project.image.environment)

    def environment(self, *path: Path) -> dict[str, str]:
        """All variables that the code sees while building, with the folders of `path` on Python's path."""
        paths = ":".join(map(str, path))
        return {"PYTHONPATH": paths, "DJANGO_SETTINGS_MODULE": self.settings, **self.variables}
