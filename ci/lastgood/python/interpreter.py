"""The Python of a root file system, run on this machine through that root's own loader: no root rights, no container."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lastgood import platform
from lastgood.cache import store

VERSION = "3.13"
STDLIB = f"usr/lib/python{VERSION}"
DIST_PACKAGES = f"usr/local/lib/python{VERSION}/dist-packages"
ALWAYS = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
# The lines of a .pth file run with what they bind, so in a function.
_PACKAGES = """\
def _packages(folder):
    import os, site
    site.addsitedir(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), folder]))
_packages({})
del _packages
"""


@dataclass(frozen=True)
class Python:
    """The Python in the root file system `root`, which must be of this machine's own platform: nothing is emulated."""

    root: Path

    @property
    def program(self) -> Path:
        """A program that starts it, written beside the root. Raises UsageError on a machine that no image is made for."""
        return self.wrapped(self.root.parent / "bin")

    def wrapped(self, folder: Path) -> Path:
        """Writes `folder`/python, a program that starts it, and returns its path.

        `--argv0` makes the interpreter take the wrapper for itself (`sys.executable`), so that what starts Python again (pip does) comes
        back through the loader.
        """
        native = platform.native()
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "python"
        loader = f"'{self.root}/{native.loader}' --library-path '{self.root}/{native.libraries}'"
        text = (
            "#!/bin/sh\n"
            f"export PYTHONHOME='{self.root}/usr'\n"
            f'exec {loader} --argv0 "$0" \'{self.root}/usr/bin/python{VERSION}\' "$@"\n'
        )
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            with store.replacing(file) as part:
                part.write_text(text, encoding="utf-8")
                part.chmod(0o755)
        return file

    def run(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        cwd: Path | None = None,
        given: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs it with just `environment` (and a fixed hash seed) and `given` as its standard input.

        Modules are taken from what `environment` names as PYTHONPATH and never from `cwd` by itself: a file that a project calls pip.py
        must not be taken for pip. Returns the process with its output as text.
        """
        return subprocess.run(
            [str(self.program), "-P", *arguments],
            env=ALWAYS | dict(environment),
            cwd=cwd,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            check=False,
        )


def with_packages(program: str, folder: Path) -> str:
    """`program` as one that finds what is installed in `folder` as it would in the image: behind the standard library, with `.pth` files.

    What it starts finds the modules.
    """
    return f"{_PACKAGES.format(repr(str(folder)))}\n{program}"
