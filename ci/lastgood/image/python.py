"""Runs the Python of a root file system on this machine, through that root's own loader: no root rights, no container."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lastgood.errors import UsageError

VERSION = "3.13"
LOADER = "usr/lib64/ld-linux-x86-64.so.2"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
DIST_PACKAGES = f"usr/local/lib/python{VERSION}/dist-packages"


def wrapper(root: Path, folder: Path) -> Path:
    """Writes `folder`/python, a program that starts the Python of `root`, and returns its path.

    `--argv0` makes the interpreter take the wrapper for itself (`sys.executable`), so that what starts Python again (pip does) comes
    back through the loader.
    """
    if platform.machine() != "x86_64":
        raise UsageError(
            f"images are built on x86_64 for now, and this machine is {platform.machine()}: use an x86_64 one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "python"
    text = (
        "#!/bin/sh\n"
        f"export PYTHONHOME='{root}/usr'\n"
        f"exec '{root}/{LOADER}' --library-path '{root}/{LIBRARIES}' --argv0 \"$0\" '{root}/usr/bin/python{VERSION}' \"$@\"\n"
    )
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        part = file.with_name(f".python-{os.getpid()}")
        part.write_text(text, encoding="utf-8")
        part.chmod(0o755)
        part.replace(file)
    return file


def run(
    python: Path,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    given: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs the wrapped Python with just `environment` (and a fixed hash seed) and `given` as its standard input.

    Returns the process with its output as text.
    """
    fixed = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [str(python), *arguments],
        env=fixed | dict(environment),
        cwd=cwd,
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        text=True,
        check=False,
    )
