"""The one-machine cloud of one project folder: what it is called, where it lies and listens. Two folders have two, whatever their names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lastgood.aws import local_cloud
from lastgood.config.project import LocalSettings, Project


@dataclass(frozen=True)
class Instance:
    """An instance by its `name`, as `board-1a2b3c4d`. `root` is the folder of its project, `state` the project's state folder.

    Its containers, network and volume carry its name as a label.
    """

    name: str
    project: str
    stack: str
    root: Path
    state: Path
    ports: LocalSettings

    @classmethod
    def of(cls, project: Project) -> Instance:
        """The instance of a project's folder, whether or not it was ever up."""
        name = f"{project.name}-{hashlib.sha256(str(project.root).encode()).hexdigest()[:8]}"
        stack = project.environments["local"].stack
        return cls(name, project.name, stack, project.root, project.state, project.local)

    @property
    def folder(self) -> Path:
        """What it keeps outside of Docker."""
        return local_cloud.folder(self.state)

    @property
    def prefix(self) -> str:
        """What its network is called, and its containers begin with."""
        return f"lastgood-{self.name}"

    @property
    def endpoint(self) -> str:
        """Where the emulator answers, on this machine."""
        return f"http://127.0.0.1:{self.ports.port}"

    @property
    def registry(self) -> str:
        """The registry's address, as the engine takes it."""
        return f"localhost:{self.ports.port}"

    @property
    def site(self) -> str:
        """Where what is deployed answers."""
        return f"http://127.0.0.1:{self.ports.site_port}"
