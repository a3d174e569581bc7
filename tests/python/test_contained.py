"""Code that is not ours sees no file and no variable that it is not given, where an engine answers; else what it could see is said."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from lastgood.cache import store
from lastgood.debian import chosen
from lastgood.debian.stages import Stages
from lastgood.errors import UsageError
from lastgood.image.runtime import Runtime
from lastgood.python import contained, engine
from lastgood.python.contained import Contained

docker = [pytest.mark.docker, pytest.mark.slow]
NONE = "a container around the code of the project and its packages ({}): it ran as you, and could read and write what you can"


def python() -> Contained:
    """The Python of the bundle's own base, about which nothing is known yet."""
    return Contained(Runtime(Stages(chosen.bundled())).python())


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that a run may write to."""
    with store.workspace(store.cache() / "work", "test-contained-") as found:
        yield found


# What it sees: files, variables (its parents', too), the network, what it may write, who it is.
LOOK = """
import json, os, pwd, socket, sys, tempfile, zoneinfo
found = {}
for at, _, files in os.walk("/proc"):
    if "environ" in files and at.count("/") == 2:
        with open(at + "/environ", "rb") as file:
            found[at] = b"CANARY" in file.read()
def tried(function, *arguments):
    try:
        function(*arguments)
        return True
    except OSError as error:
        return error.strerror
print(json.dumps({
    "canary": [at for at, there in found.items() if there], "home": [os.path.expanduser("~"), os.path.exists(sys.argv[1])],
    "user": [os.getuid(), os.getgid(), pwd.getpwuid(os.getuid()).pw_dir], "names": sorted(os.environ),
    "network": tried(socket.create_connection, ("192.0.2.1", 9), 1), "interfaces": [name for _, name in socket.if_nameindex()],
    "written": [tried(open, at, "w") for at in (os.environ["HOME"] + "/a", "/tmp/a", sys.argv[2] + "/a", "/a", "/usr/a")],
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "CapBnd", "NoNewPrivs"))],
    "zone": str(zoneinfo.ZoneInfo("Europe/Vienna")), "cwd": os.getcwd(), "left": os.listdir(os.environ["HOME"]),
    "name": socket.gethostbyname(socket.gethostname()),
}))
print("said", file=sys.stderr)
sys.exit(3)
"""


@pytest.mark.docker
@pytest.mark.slow
def test_what_it_sees(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "token")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/key").write_text("CANARY", encoding="utf-8")
    (tmp_path / "given").mkdir()
    (tmp_path / "docker").mkdir()
    proxy = {"proxies": {"default": {"httpProxy": "http://someone:secret@proxy.invalid"}}}
    (tmp_path / "docker/config.json").write_text(json.dumps(proxy), encoding="utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))  # the SDK would give every container that address
    run = python()
    arguments = [str(tmp_path / "home/key"), str(tmp_path / "given")]
    done = run.run(LOOK, arguments, environment={"SHOP": "1"}, folder=folder, reads=[tmp_path / "given"])
    assert run.doubt == ""
    assert (done.returncode, done.stderr) == (3, "said\n")
    assert json.loads(done.stdout) == {
        "canary": [],
        "home": [str(folder), False],
        "user": [os.getuid(), os.getgid(), "/tmp"],
        "names": sorted(["HOME", "LC_ALL", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "SHOP"]),
        "network": "Network is unreachable",
        "interfaces": ["lo"],
        "written": [True, True, *["Read-only file system"] * 3],
        "capabilities": ["0000000000000000", "0000000000000000", "1"],
        "zone": "Europe/Vienna",
        "cwd": str(folder),
        "left": ["a"],
        "name": "127.0.0.1",
    }
    assert (folder / "a").stat().st_uid == os.getuid()


@pytest.mark.docker
@pytest.mark.slow
def test_what_it_leaves_running_ends_with_it(folder: Path) -> None:
    """It would write every hundredth of a second."""
    left = (
        "import os, sys, time\n"
        "if os.fork():\n    while not os.path.exists('beat'): time.sleep(0.01)\n    sys.exit()\n"
        "os.setsid()\nwhile True:\n    open('beat', 'a').write('x')\n    time.sleep(0.01)\n"
    )
    assert python().run(left, environment={}, folder=folder, reads=[]).returncode == 0
    size = (folder / "beat").stat().st_size
    assert not [one for one in Path("/proc").glob("[0-9]*/cwd") if _leads(one) == str(folder)]
    assert (folder / "beat").stat().st_size == size


def _leads(link: Path) -> str:
    with contextlib.suppress(OSError):
        return str(link.readlink())
    return ""


Way = Callable[[pytest.MonkeyPatch, Path], None]


def no_engine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """None answers."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/none.sock")


def elsewhere(monkeypatch: pytest.MonkeyPatch, _folder: Path) -> None:
    """One of another machine, which has folders of the same names."""
    monkeypatch.setattr(contained, "_READY", ".lastgood-elsewhere/ready")


def missing(monkeypatch: pytest.MonkeyPatch, _folder: Path) -> None:
    """One of another machine, which has none."""
    from docker import types

    def mount(target: str, source: str, **more: Any) -> Any:
        return original(target, f"/elsewhere{source}", **more)

    original = types.Mount
    monkeypatch.setattr(types, "Mount", mount)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "reason"),
    [
        pytest.param(no_engine, "no Docker engine answers"),
        pytest.param(
            elsewhere, "the Docker engine does not see this machine's folders: FileNotFoundError: …", marks=docker
        ),
        pytest.param(missing, "the Docker engine does not run it: …", marks=docker),
    ],
)
def test_where_it_can_not_be(folder: Path, monkeypatch: pytest.MonkeyPatch, way: Way, reason: str) -> None:
    """It runs once, as the caller does, and so does what comes after it; no container is left."""
    way(monkeypatch, folder)
    run = python()
    for _ in range(2):
        done = run.run("open('ran', 'a').write('x')\nprint('out')", environment={}, folder=folder, reads=[])
        assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "")
    assert (folder / "ran").read_text(encoding="utf-8") == "xx"
    head, _, tail = NONE.format(reason).partition("…")
    assert run.doubt.startswith(head)
    assert run.doubt.endswith(tail)
    assert len(run.doubts) == 1
    assert containers(folder) == []


def containers(folder: Path) -> list[str]:
    """Those that may write to the folder."""
    client = engine.connect()
    if client is None:
        return []
    with contextlib.closing(client):
        label = f"lastgood.contained.folder={folder}"
        return [one.id for one in client.containers.list(all=True, filters={"label": label}, ignore_removed=True)]


@pytest.mark.docker
@pytest.mark.slow
def test_what_runs_can_not_make_us_run_it_outside(folder: Path) -> None:
    """It makes all look as it was before it began, and ends as one that has seen nothing does."""
    hostile = "import os, sys\nopen('ran', 'a').write('x')\nos.path.exists('.lastgood-ready') and os.rmdir('.lastgood-ready')\nsys.exit(1)"
    run = python()
    assert run.run(hostile, environment={}, folder=folder, reads=[]).returncode == 1
    assert (folder / "ran").read_text(encoding="utf-8") == "x"
    assert run.doubt == ""


@pytest.mark.docker
@pytest.mark.slow
def test_an_engine_that_stops_meanwhile_is_no_reason_to_run_it_outside(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from docker.errors import APIError
    from docker.models.containers import Container

    def gone(*_arguments: object, **_more: object) -> bytes:
        raise APIError("gone")

    monkeypatch.setattr(Container, "logs", gone)
    run = python()
    with pytest.raises(UsageError) as caught:
        run.run("open('ran', 'a').write('x')", environment={}, folder=folder, reads=[])
    assert str(caught.value) == "the Docker engine stopped while it ran the project's code: gone; run the command again"
    assert (folder / "ran").read_text(encoding="utf-8") == "x"
    assert run.doubt == ""


@pytest.mark.docker
@pytest.mark.slow
def test_too_much_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contained, "MEMORY", 0.05)
    done = python().run("x = bytearray(200_000_000)", environment={}, folder=folder, reads=[])
    assert done.returncode == 137
    assert done.stderr.splitlines()[-1] == "it took more than 0.05 GB of memory"


@pytest.mark.docker
@pytest.mark.slow
def test_it_is_ended_from_another_thread(folder: Path) -> None:
    run = python()
    found: list[CompletedProcess[str]] = []
    waits = "open('began', 'w')\nimport time\ntime.sleep(600)"
    other = threading.Thread(target=lambda: found.append(run.run(waits, environment={}, folder=folder, reads=[])))
    other.start()
    while not (folder / "began").exists():
        assert other.is_alive()
    run.end()
    other.join()
    assert found[0].returncode == 137
    assert containers(folder) == []
