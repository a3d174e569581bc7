"""What is known of the one-machine cloud where it is not run: where it listens, and the values that it gives to service.yml.

`lastgood local up` writes it into the project's state folder; everybody else reads it there.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lastgood.errors import UsageError


@dataclass(frozen=True)
class LocalCloud:
    """One instance. `database_url` is the database as this machine sees it; `parameters` are values for service.yml.

    `values` are what stands in braces in the project's tables, by name (of secrets: their ARNs); `secrets_file` is where the values of the
    project's own secrets stand on this machine.
    """

    endpoint_url: str
    registry: str
    site_url: str
    region: str
    account: str
    database_url: str
    network: str
    instance: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    secrets_file: str = ""


def folder(state: Path) -> Path:
    """`.lastgood/local` of a state folder: what the instance keeps outside of Docker. Only its owner may look into it."""
    path = state / "local"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def _file(state: Path) -> Path:
    return folder(state) / "state.json"


def read(state: Path) -> LocalCloud | None:
    """The instance that `lastgood local up` made last, whether or not it is up now; None if there is none.

    Raises UsageError where its file is damaged.
    """
    file = _file(state)
    try:
        return LocalCloud(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise UsageError(f"{file} can't be read ({error}): run `lastgood local up`, which writes it anew") from None


def write(state: Path, cloud: LocalCloud) -> None:
    """Remembers the instance, atomically."""
    write_private(_file(state), json.dumps(asdict(cloud), indent=2) + "\n")


def forget(state: Path) -> None:
    """Removes what `write` wrote."""
    _file(state).unlink(missing_ok=True)


def write_private(file: Path, text: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as part:
            part.write(text)
        Path(name).replace(file)
    finally:
        Path(name).unlink(missing_ok=True)
