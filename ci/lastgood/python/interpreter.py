"""Runs the Python of a root file system on this machine, through that root's own loader: no root rights, no container."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lastgood import platform

VERSION = "3.13"
STDLIB = f"usr/lib/python{VERSION}"
DIST_PACKAGES = f"usr/local/lib/python{VERSION}/dist-packages"


def wrapper(root: Path, folder: Path) -> Path:
    """Writes `folder`/python, a program that starts the Python of `root`, and returns its path.

    The root must be of this machine's own platform: nothing is emulated. Raises UsageError on a machine that no image is made for.
    `--argv0` makes the interpreter take the wrapper for itself (`sys.executable`), so that what starts Python again (pip does) comes
    back through the loader.
    """
    native = platform.native()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "python"
    text = (
        "#!/bin/sh\n"
        f"export PYTHONHOME='{root}/usr'\n"
        f"exec '{root}/{native.loader}' --library-path '{root}/{native.libraries}' --argv0 \"$0\" '{root}/usr/bin/python{VERSION}' \"$@\"\n"
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
