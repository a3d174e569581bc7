"""The image's Python for code that is not ours: in a container that sees no file but what it needs, where this machine has an engine.

Its file system is the image's own (`/usr` of the root), read-only, as is what it is to read; one folder, and /tmp, can be written. It
has no network, no capability, no variable but those that are given, and what it leaves running ends with it. Where no engine answers,
or the one that does can't see this machine's folders, the code runs as the caller does, and `doubt` says why.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.python import engine
from lastgood.python.interpreter import ALWAYS, VERSION, Python, with_packages
from lastgood.report.text import line, masked

MEMORY = 8  # GB: more than anything real takes, less than what stops a machine
_LABEL = "lastgood.contained"
_READY, _GO = ".lastgood-ready", ".lastgood-go"
# Runs before the code: whether the folders are this machine's is not taken from what the code's run comes to, which is the code's to say.
# So the code waits until we have seen a folder that was made in there.
_FIRST = """\
import os, sys, time
for path, changed in {reads!r}.items():
    os.listdir(path)
    if os.stat(path).st_mtime_ns != changed:
        sys.exit(f"{{path}} is another folder there")
os.mkdir({folder!r} + "/{ready}")
while not os.path.exists({folder!r} + "/{go}"):
    time.sleep(0.002)
os.unlink({folder!r} + "/{go}")
for name in {names!r}:
    os.environ.pop(name, None)
"""


@dataclass(frozen=True)
class Contained:
    """`python` for code of projects and packages. `doubts` are the reasons why it ran as the caller did, if it did.

    `running` are the containers that do just now.
    """

    python: Python
    doubts: dict[str, None] = field(default_factory=dict, compare=False)
    running: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def doubt(self) -> str:
        """What that means, as one phrase; empty where all that ran did so in a container, or nothing ran."""
        reason = next(iter(self.doubts), "")
        return reason and (
            f"a container around the code of the project and its packages ({reason}): it ran as you, and could read and write what you can"
        )

    def run(
        self,
        program: str,
        arguments: Sequence[str] = (),
        *,
        environment: Mapping[str, str],
        folder: Path,
        reads: Sequence[Path] = (),
        cwd: Path | None = None,
        packages: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs Python source in `cwd`, or `folder`, with just `environment`, and `folder` as HOME; it sees that and what is below `reads`.

        With `packages` it sees, and finds, what is installed there as it would in the image. Returns the process with its output as text.
        """
        variables = {"HOME": str(folder), **environment}
        if packages:
            program, reads = with_packages(program, packages), (*reads, packages)
        if not self.doubts:
            try:
                return self._in_container(program, arguments, variables, folder, cwd or folder, reads)
            except _Unfit as error:
                self.doubts[str(error)] = None
        return self.python.run(["-c", program, *arguments], environment=variables, cwd=cwd or folder)

    def _in_container(
        self,
        program: str,
        arguments: Sequence[str],
        variables: Mapping[str, str],
        folder: Path,
        cwd: Path,
        reads: Sequence[Path],
    ) -> subprocess.CompletedProcess[str]:
        client = engine.connect()
        if client is None:
            raise _Unfit("no Docker engine answers")
        from docker.errors import DockerException
        from docker.types import LogConfig, Mount

        usr = self.python.root / "usr"
        seen = {str(path): path.stat().st_mtime_ns for path in reads} | {"/usr": usr.stat().st_mtime_ns}
        first = _FIRST.format(reads=seen, folder=str(folder), ready=_READY, go=_GO, names={"HOSTNAME"} - {*variables})
        bound = {str(path): path for path in reads} | {"/usr": usr, "/etc/ssl": self.python.root / "etc/ssl"}
        mounts = [Mount(at, str(path), type="bind", read_only=True) for at, path in bound.items()]
        with contextlib.closing(client):
            try:
                _tidy(client)
                container = client.containers.create(
                    _image(client), [f"/usr/bin/python{VERSION}", "-P", "-c", first + program, *arguments],
                    environment=ALWAYS | dict(variables), working_dir=str(cwd), user=f"{os.getuid()}:{os.getgid()}", hostname="build",
                    extra_hosts={"build": "127.0.0.1"}, mounts=[*mounts, Mount(str(folder), str(folder), type="bind")],
                    tmpfs={"/tmp": "mode=1777,exec"},  # noqa: S108
                    mem_limit=f"{MEMORY}g", memswap_limit=f"{MEMORY}g",
                    log_config=LogConfig(type="json-file", config={"max-size": "256m", "max-file": "1"}),
                    labels={_LABEL: socket.gethostname(), f"{_LABEL}.folder": str(folder)}, read_only=True,
                    **engine.ALONE,
                )  # fmt: skip
                self.running[container.id] = container
                try:
                    return _finished(container, folder)
                finally:
                    del self.running[container.id]
                    with contextlib.suppress(
                        DockerException, OSError
                    ):  # what the code came to stands, whatever comes after it
                        container.remove(force=True, v=True)
            except (DockerException, OSError) as error:
                raise _Unfit(f"the Docker engine does not run it: {line(masked(str(error)))[:200]}") from None

    def end(self) -> None:
        """Ends what runs in containers, as another thread's run, whatever it is at."""
        for container in tuple(self.running.values()):
            _kill(container)


class _Unfit(Exception):
    """No line of the code was run, as there is no container for it here."""


def _finished(container: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    from docker.errors import DockerException

    with ThreadPoolExecutor(1) as pool:
        container.start()
        ended: Future[dict[str, Any]] = pool.submit(container.wait, timeout=None)
        try:
            if not _seen(folder / _READY, ended):
                said = line(masked(container.logs(tail=1).decode(errors="replace"))).strip()[:200]
                raise _Unfit(f"the Docker engine does not see this machine's folders: {said or 'it said nothing'}")
            (folder / _READY).rmdir()
            (
                folder / _GO
            ).touch()  # from here on the code runs, and what it does to the engine is no reason to run it elsewhere
            try:
                status = ended.result()["StatusCode"]
                out, err = (
                    container.logs(stdout=one, stderr=not one).decode(errors="replace") for one in (True, False)
                )
                container.reload()
            except (DockerException, OSError) as error:
                raise UsageError(
                    f"the Docker engine stopped while it ran the project's code: {error}; run the command again"
                ) from None
        finally:
            if not ended.done():
                _kill(container)
    if container.attrs["State"]["OOMKilled"]:
        err += f"\nit took more than {MEMORY} GB of memory"
    return subprocess.CompletedProcess([], status, out, err)


def _kill(container: Any) -> None:
    from docker.errors import DockerException

    with contextlib.suppress(DockerException, OSError):  # it has ended just now
        container.kill()


def _seen(folder: Path, ended: Future[dict[str, Any]]) -> bool:
    while not folder.is_dir():
        if ended.done():
            return False
        time.sleep(0.002)
    return True


def _image(client: Any) -> str:
    """The tag of the engine's image with nothing in it but names: where the system's folders are, and who we are."""
    links = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64"}
    user = f"root:x:0:0:root:/tmp:/sbin/nologin\nbuild:x:{os.getuid()}:{os.getgid()}:build:/tmp:/sbin/nologin\n"
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
        info = tarfile.TarInfo("etc/passwd")
        info.size = len(user)
        archive.addfile(info, io.BytesIO(user.encode()))
    return engine.image(client, "empty", hashlib.sha256(body.getvalue()).hexdigest()[:12], lambda: [body.getvalue()])


def _tidy(client: Any) -> None:
    """Removes the containers of runs of this machine that were killed: nobody holds their folder."""
    from docker.errors import APIError

    for one in client.containers.list(
        all=True, filters={"label": f"{_LABEL}={socket.gethostname()}"}, ignore_removed=True
    ):
        if store.nobodys(Path(one.labels[f"{_LABEL}.folder"])):
            with contextlib.suppress(APIError):
                one.remove(force=True, v=True)
