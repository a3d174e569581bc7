"""What the emulator's process is told when it is started: one JSON file, written by lastgood.local.emulator."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

ACCOUNT = "000000000000"
REGION = "us-east-1"
STATUS_PATH = "/_lastgood/status"  # where the emulator says how it is


@dataclass(frozen=True)
class Settings:
    """`gateway` is the host's address on the Docker network `network`, where containers reach the emulator.

    `stack` is the stack whose load balancer the site front shows. `folder` keeps what must survive the process.
    """

    instance: str
    stack: str
    network: str
    gateway: str
    port: int
    site_port: int
    folder: str

    @property
    def prefix(self) -> str:
        """What the names of the containers begin with."""
        return f"lastgood-{self.instance}"

    @classmethod
    def read(cls, file: Path) -> Settings:
        """Reads what `write` wrote."""
        return cls(**json.loads(file.read_text(encoding="utf-8")))

    def write(self, file: Path) -> None:
        """Writes the settings for the emulator to read."""
        file.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
