"""An entry of the cache is there whole or not at all, whatever ends the one who makes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lastgood.cache import store
from lastgood.errors import UsageError

MAKE = """
import sys, time
from pathlib import Path
from lastgood.cache import store

def make(folder):
    for number in range(5):
        (folder / str(number)).write_bytes(b"x" * 10_000)
        if number == 2 and sys.argv[2] == "slowly":
            Path(sys.argv[1] + ".half").touch()
            time.sleep(60)

store.entry(Path(sys.argv[1]), make)
"""


def start(target: Path, how: str) -> subprocess.Popen[str]:
    """Makes an entry in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(Path(store.__file__).parents[2])}
    arguments = [sys.executable, "-c", MAKE, str(target), how]
    return subprocess.Popen(arguments, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def wait_for(condition: Callable[[], bool]) -> None:
    """Fails where the condition does not come true."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def half(target: Path) -> list[str]:
    """What unfinished work lies beside the entry."""
    return [path.name for path in target.parent.iterdir() if path.name.startswith(".part-")]


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    calls: list[Path] = []
    target = tmp_path / "cache/entry"
    for _ in range(2):
        assert store.entry(target, calls.append) == target
    assert len(calls) == 1
    assert half(target) == []
    assert oct(target.stat().st_mode & 0o777) == "0o755", "what mkdtemp makes is for its owner alone"


def test_a_killed_one_is_never_taken_for_whole(tmp_path: Path) -> None:
    target = tmp_path / "entry"
    running = start(target, "slowly")
    wait_for((tmp_path / "entry.half").exists)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=30)
    assert not target.exists()
    assert len(half(target)) == 1
    again = start(target, "quickly")
    assert again.communicate(timeout=30) == ("", "")
    assert sorted(path.name for path in target.iterdir()) == ["0", "1", "2", "3", "4"]
    assert half(target) == [], "what the killed one left is removed"


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_an_interrupted_one_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    target = tmp_path / "entry"
    running = start(target, "slowly")
    wait_for((tmp_path / "entry.half").exists)
    running.send_signal(number)
    running.communicate(timeout=30)
    assert not target.exists()
    assert half(target) == []


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    """The second waits for the first, which is killed; then it makes the entry itself."""
    target = tmp_path / "entry"
    first = start(target, "slowly")
    wait_for((tmp_path / "entry.half").exists)
    second = start(target, "quickly")
    lock = (tmp_path / ".entry.lock").stat().st_ino
    wait_for(lambda: f":{lock} " in " ".join(line for line in _locks() if "->" in line))
    assert not target.exists()
    first.kill()
    first.communicate(timeout=30)
    assert second.communicate(timeout=30) == ("", "")
    assert len(list(target.iterdir())) == 5
    assert half(target) == []


def test_a_lock_is_not_left_behind(tmp_path: Path) -> None:
    store.entry(tmp_path / "entry", lambda _folder: None)
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


def test_using_an_entry_makes_it_young(tmp_path: Path) -> None:
    store.entry(tmp_path / "entry", lambda _folder: None)
    os.utime(tmp_path / "entry", (1, 1))
    store.entry(tmp_path / "entry", lambda _folder: None)
    assert (tmp_path / "entry").stat().st_mtime > 1


def _locks() -> list[str]:
    """The kernel's list of file locks; those that wait have an arrow."""
    return Path("/proc/locks").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_nothing(small_disk: Path) -> None:
    def make(folder: Path) -> None:
        for number in range(100):
            (folder / str(number)).write_bytes(b"x" * 10_000)

    with pytest.raises(UsageError) as caught:
        store.entry(small_disk / "entry", make)
    assert str(caught.value) == (
        f"there is no room left to write in {small_disk} (No space left on device): nothing half done was kept; make room "
        "(`lastgood cache --prune`), or point LASTGOOD_CACHE to another disk, and run the command again"
    )
    assert list(small_disk.iterdir()) == []
    store.entry(small_disk / "entry", lambda folder: (folder / "x").touch())
    assert (small_disk / "entry/x").is_file()


def test_replacing_on_a_full_disk_keeps_the_old_file(small_disk: Path) -> None:
    file = small_disk / "file"
    file.write_text("old", encoding="utf-8")
    with pytest.raises(OSError, match="No space left on device"), store.replacing(file) as part:
        part.write_bytes(b"x" * 1_000_000)
    assert [path.name for path in small_disk.iterdir()] == ["file"]
    assert file.read_text(encoding="utf-8") == "old"


def test_a_workspace_leaves_what_another_run_uses(tmp_path: Path) -> None:
    (tmp_path / "shop-left").mkdir()
    (tmp_path / "other-left").mkdir()
    with store.workspace(tmp_path, "shop-") as one:
        with store.workspace(tmp_path, "shop-") as two:
            assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {one.name, two.name, "other-left"}
        assert one.is_dir()
        assert not two.exists()
    assert not one.exists()


def test_a_workspace_is_its_runs_own_from_its_first_moment_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that begins meanwhile would take it for what a killed run left, and remove it, too."""
    seen = []
    made, removed = store._folder, store.remove

    def make(parent: Path, prefix: str) -> Path:
        seen.append(("made", store.nobodys(tmp_path / ".workspaces.lock")))
        return made(parent, prefix)

    def remove(path: Path) -> None:
        seen.append(("removed", store.nobodys(path)))
        removed(path)

    monkeypatch.setattr(store, "_folder", make)
    monkeypatch.setattr(store, "remove", remove)
    with store.workspace(tmp_path, "shop-run-") as folder:
        assert not store.nobodys(folder)
    assert seen == [("made", False), ("removed", False)]


def test_remove_where_modes_forbid_it(tmp_path: Path) -> None:
    """As the user nobody where the test runs as root, whom no mode binds. It reaches the folder by a handle: pytest's is private."""
    folder = tmp_path / "entry"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/file").touch()
    (folder / "link").symlink_to("/etc")
    (folder / "deep").chmod(0o000)
    folder.chmod(0o500)
    if os.geteuid() == 0:
        for path in [tmp_path, folder, folder / "deep", folder / "deep/file"]:
            os.chown(path, 65534, 65534)
    handle = os.open(tmp_path, os.O_DIRECTORY)
    program = (
        "import os, shutil\nfrom pathlib import Path\nfrom lastgood.cache import store\n"
        f"if os.geteuid() == 0: os.setuid(65534)\nos.fchdir({handle})\n"
        "store.remove(Path('entry'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(Path(store.__file__).parents[2])},
        pass_fds=[handle],
        check=False,
        capture_output=True,
        text=True,
    )
    os.close(handle)
    assert (done.returncode, done.stderr) == (0, "")
    assert not folder.exists()
    assert Path("/etc/passwd").is_file()


def test_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("LASTGOOD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert store.cache() == tmp_path / ".cache/lastgood"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert store.cache() == tmp_path / "xdg/lastgood"
    monkeypatch.setenv("LASTGOOD_CACHE", str(tmp_path / "own"))
    assert store.cache() == tmp_path / "own"
