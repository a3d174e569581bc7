"""What a project makes before its static files are collected: commands of its own, run in a copy of the repository.

They are a shell's, and run on this machine with the tools that it has (npm is one): with an environment of their own, but as whoever
builds. Only what they are said to make gets into the image. It is kept by the content of all files of the repository and of the commands.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.image import source
from lastgood.image.application import Application
from lastgood.python.interpreter import DIST_PACKAGES, Python
from lastgood.report.text import masked

RECIPE = 1
LIMIT = "the commands of before-static ran on this machine, with its tools and as whoever builds: what they made is those tools' affair"
# What such tools need of the machine: where they are, how they reach their registry. No token of ours, no home.
_GIVEN = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")
_PREFIXES = ("NPM_CONFIG_", "YARN_", "COREPACK_")
_OTHERS = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class Before:
    """`commands` run in a copy of `root`, pyproject.toml's folder, and make `makes`, paths below it."""

    root: Path
    commands: tuple[str, ...]
    makes: tuple[str, ...]

    def made(self, application: Application, python: Python, tree: Path, dependencies: str) -> dict[str, Path]:
        """{path below the application's folder: file} of what the commands make; run unless the same was made from the same.

        `tree` are the dependencies, and `dependencies` is their key. Raises UsageError for a command that fails, and for what was not made.
        """
        if not self.commands:
            return {}
        app = application.folder.relative_to(self.root).as_posix()
        with store.workspace(store.cache() / "work", f"{application.name}-before-") as work:
            copied = source.copy(self.root, work / "copy")
            facts = [
                RECIPE, copied.digest, self.commands, self.makes, app, dependencies, application.settings,
                sorted(application.variables.items()), sorted(_environment(work).items() - {("HOME", str(work / "home"))}),
            ]  # fmt: skip
            key = hashlib.sha256(json.dumps(facts).replace(str(work), "").encode()).hexdigest()

            def make(folder: Path) -> None:
                self._run(work, application, python, tree, app)
                for name, file in self._outputs(work / "copy", app):
                    (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, folder / "tree" / name)

            entry = store.entry(store.cache() / "before" / key[:32], make) / "tree"
        return {path.relative_to(entry).as_posix(): path for path in sorted(entry.rglob("*")) if path.is_file()}

    def _run(self, work: Path, application: Application, python: Python, tree: Path, app: str) -> None:
        (work / "home").mkdir()
        variables = application.environment(work / "copy" / app, tree / DIST_PACKAGES)
        wrapper = work / "bin/python"
        wrapper.parent.mkdir()
        exported = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in _of_python(variables).items())
        wrapper.write_text(f'#!/bin/sh\n{exported}exec {shlex.quote(str(python.program))} "$@"\n', encoding="utf-8")
        wrapper.chmod(0o755)
        for command in self.commands:
            status, output = _shell(command, work / "copy", _environment(work))
            if status:
                lines = [
                    line.strip() for line in masked(output).replace(f"{work}/copy/", "").splitlines() if line.strip()
                ]
                raise UsageError(
                    f"before-static: `{command}` failed (exit status {status}): {' / '.join(lines[-3:]) or 'it said nothing'}; it ran in a "
                    "copy of the repository, with the files that git knows: mend it in [tool.lastgood.image]"
                )

    def _outputs(self, copy: Path, app: str) -> Iterator[tuple[str, Path]]:
        for name in self.makes:
            made = copy / name
            inside = copy if app == "." else copy / app
            if not made.is_relative_to(inside):
                raise UsageError(
                    f"[tool.lastgood.image] before-static-makes names {name}, which lies outside {app}: only what is below the "
                    "application's folder gets into the image; let the command put it there"
                )
            files = [made] if made.is_file() else [path for path in sorted(made.rglob("*")) if path.is_file()]
            if not files:
                raise UsageError(
                    f"before-static-makes names {name}, and no file is there after the commands of before-static: mend either in "
                    "[tool.lastgood.image]"
                )
            for path in files:
                if os.path.realpath(path) != os.path.join(os.path.realpath(copy), path.relative_to(copy)):  # noqa: PTH118
                    raise UsageError(
                        f"{path.relative_to(copy)}, which before-static made, is or lies behind a link: let it be a file of its own"
                    )
                yield path.relative_to(inside).as_posix(), path


def add(made: Mapping[str, Path], stage: Path, found: source.Source) -> source.Source:
    """Puts what was made beside what git knows, in the copy at `stage`; returns what is there then."""
    if not made:
        return found
    files, modules, seen = dict(found.files), dict(found.modules), hashlib.sha256(found.digest.encode())
    for name, file in made.items():
        target = stage / name
        if target.is_symlink():
            target.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        target.chmod(0o644)
        body = file.read_bytes()
        files[name] = hashlib.sha256(body).hexdigest()
        if name.endswith(".py"):
            modules[name] = body
        seen.update(f"{name}\0{files[name]}\n".encode())
    return replace(found, files=files, modules=modules, digest=seen.hexdigest())


def _of_python(variables: Mapping[str, str]) -> dict[str, str]:
    return {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", **variables}


def _environment(work: Path) -> dict[str, str]:
    given = {
        name: value
        for name, value in os.environ.items()
        if name in _GIVEN or name.upper().startswith(_PREFIXES) or name.upper() in _OTHERS
    }
    ours = {
        "HOME": str(work / "home"),
        "npm_config_cache": str(store.cache() / "npm"),
        "npm_config_update_notifier": "false",
    }
    return given | ours | {"PATH": f"{work / 'bin'}:{given.get('PATH', '/usr/bin:/bin')}"}


def _shell(command: str, folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """The exit status and the output of a command; all that it started ends with us."""
    running = subprocess.Popen(
        ["/bin/sh", "-ec", command], cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = running.communicate()
    except BaseException:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        raise
    return running.returncode, output
