"""Where the parts of the bundle lie that are not Python modules of the tool."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """The folder that holds `docker/` and `cloudformation/`: inside an installed wheel or in the checkout."""
    installed = _PACKAGE / "_bundle"
    return installed if installed.is_dir() else _PACKAGE.parent.parent


def path(name: str) -> Path:
    """The path of a part, as `docker/Dockerfile` or `cloudformation/service.yml`.

    Raises FileNotFoundError where the installation is incomplete.
    """
    base = root()
    found = base / name
    if not found.exists() and name.startswith("cloudformation/"):
        found = base / "ci" / name
    if not found.exists():
        raise FileNotFoundError(f"{name} is not part of this installation of lastgood ({base}): install it again")
    return found
