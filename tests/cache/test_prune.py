"""The cache loses what nobody needs, and never what somebody uses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lastgood import cli
from lastgood.cache import prune, store
from lastgood.errors import Refused, UsageError

DAY = 86400.0
NOW = 1_000 * DAY


def entry(name: str, size: int, days: float) -> prune.Entry:
    """An entry that was used so many days before NOW."""
    return prune.Entry(Path(name), "layers", size, NOW - days * DAY)


@pytest.mark.parametrize(
    ("used", "size", "gone"),
    [
        (set(), 1000, ["old"]),
        ({"old"}, 1000, []),
        (set(), 25, ["old", "b"]),
        (set(), 0, ["old", "b", "a"]),
        ({"b"}, 0, ["old", "a"]),
    ],
)
def test_what_is_superfluous(used: set[str], size: int, gone: list[str]) -> None:
    """By age first, then by size from what was unused for longest; never what is in use, or was a moment ago."""
    found = [entry("a", 10, 1), entry("b", 10, 2), entry("old", 10, 31), entry("now", 10, 0.001)]
    decided = prune.superfluous(found, {Path(name) for name in used}, NOW, size)
    assert [str(one.path) for one in decided] == gone


@pytest.mark.parametrize(
    ("text", "size"), [("", 5_000_000_000), ("2 GB", 2_000_000_000), ("1.5 MB", 1_500_000), ("7", 7)]
)
def test_the_limit(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv("LASTGOOD_CACHE_SIZE", text)
    assert prune.limit() == size


def test_a_limit_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LASTGOOD_CACHE_SIZE", "much")
    with pytest.raises(UsageError) as caught:
        prune.limit()
    assert str(caught.value) == "LASTGOOD_CACHE_SIZE is 'much': it must be a size, as “5 GB”"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with an old layer, an old layer of a newest build, a young download, and what killed runs left."""
    folder = tmp_path / "cache"
    for name in ("layers/old", "layers/built", "debs/young.deb", "layers/.part-half-x", "work/shop-left"):
        (folder / name).mkdir(parents=True)
        (folder / name / "layer.tar.zst").write_bytes(b"x" * 100)
    for name in ("layers/old", "layers/built", "layers/.part-half-x"):
        os.utime(folder / name, (1, 1))
    build = tmp_path / "build.json"
    data = {"variants": [{"layers": [{"blob": str(folder / "layers/built/layer.tar.zst")}]}]}
    build.write_text(json.dumps(data), encoding="utf-8")
    prune.register(folder, build)
    return folder


def names(cache: Path) -> list[str]:
    """What is in the cache."""
    return sorted(path.relative_to(cache).as_posix() for path in cache.glob("[!.b]*/*"))


def test_pruning(cache: Path) -> None:
    assert prune.prune(cache) == (1, 100)
    assert names(cache) == ["debs/young.deb", "layers/built"]


def test_clearing_keeps_what_the_newest_builds_need(cache: Path) -> None:
    assert prune.clear(cache) == (2, 200)
    assert names(cache) == ["layers/built"]


def test_a_project_that_is_gone_needs_nothing(cache: Path) -> None:
    (cache.parent / "build.json").unlink()
    assert prune.prune(cache) == (2, 200)
    assert names(cache) == ["debs/young.deb"]


def test_nothing_goes_while_another_one_builds(cache: Path) -> None:
    before = names(cache)
    with store.using(cache):
        prune.automatic(cache)
        assert names(cache) == before
        with pytest.raises(Refused) as caught:
            prune.clear(cache)
    assert str(caught.value) == (f"{cache} is in use by another lastgood: nothing was removed; wait until it ends")
    assert names(cache) == before
    prune.automatic(cache)
    assert names(cache) == ["debs/young.deb", "layers/built"]


def test_at_the_end_of_a_build_at_most_once_an_hour(cache: Path) -> None:
    prune.automatic(cache)
    (cache / "layers/older").mkdir()
    os.utime(cache / "layers/older", (1, 1))
    prune.automatic(cache)
    assert (cache / "layers/older").is_dir()
    os.utime(cache / ".pruned", (1, 1))
    prune.automatic(cache)
    assert not (cache / "layers/older").exists()


HOLD = """
import sys, time
from pathlib import Path
from lastgood.cache import prune, store
if sys.argv[2] == "use":
    with store.using(Path(sys.argv[1])):
        print("ready", flush=True)
        time.sleep(60)
remove = store.remove
def slowly(path):
    if "gone-" in path.name:
        (path / "layer.tar.zst").unlink()
        print("ready", flush=True)
        time.sleep(60)
    remove(path)
store.remove = slowly
prune.prune(Path(sys.argv[1]))
"""


@pytest.fixture
def start() -> Callable[[Path, str], subprocess.Popen[str]]:
    """Starts another lastgood that uses or prunes the cache, and returns when it is in the middle of it."""

    def run(cache: Path, how: str) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(Path(store.__file__).parents[2])}
        arguments = [sys.executable, "-c", HOLD, str(cache), how]
        running = subprocess.Popen(arguments, text=True, stdout=subprocess.PIPE, env=environment)
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        return running

    return run


def test_another_process_that_uses_the_cache(cache: Path, start: Callable[[Path, str], subprocess.Popen[str]]) -> None:
    running = start(cache, "use")
    with pytest.raises(Refused):
        prune.prune(cache)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert prune.prune(cache) == (1, 100), "what it held ended with it"


def test_a_pruning_that_is_killed_leaves_no_half_entry(
    cache: Path, start: Callable[[Path, str], subprocess.Popen[str]]
) -> None:
    running = start(cache, "prune")
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert not (cache / "layers/old").exists()
    assert len(list((cache / "layers").glob(".part-gone-*"))) == 1
    prune.prune(cache)
    assert list((cache / "layers").glob(".part-gone-*")) == []


def test_the_command(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LASTGOOD_CACHE", str(cache))
    now = time.time()
    for name in ("layers/old", "layers/built"):
        os.utime(cache / name, (now - 40.2 * DAY, now - 40.2 * DAY))
    assert cli.main(["cache"]) == 0
    assert capsys.readouterr().out == (
        "kind    entries    size  unused for\n"
        "──────  ───────  ──────  ──────────\n"
        "debs          1  0.1 kB      0 days\n"
        "layers        2  0.2 kB     40 days\n"
        "total         3  0.3 kB\n"
        "\n"
        f"{cache}, at most 5000.0 MB, at most 30 days unused\n"
    )
    assert cli.main(["cache", "--prune", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["removed"], facts["freed"], facts["size"]) == (1, 100, 200)
