"""The bench's decisions; what it measures is shown by `make bench`."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lastgood.errors import UsageError

from bench import report, sizes
from bench.__main__ import chosen
from bench.floor import opened, resolve
from bench.peers import PEERS, dockerfile
from bench.projects import peers_requirements
from bench.verdict import Figure, Goal, ratios


def archive(file: Path, files: Mapping[str, str | bytes]) -> Path:
    """A tar of regular files (bytes) and symbolic links (text)."""
    with tarfile.open(file, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return file


def subject(**parts: Any) -> dict[str, Any]:
    sizes_ = {"lastgood": {"gzip": 20, "zstd": 16, "pushed": 17}, "distroless": {"gzip": 60, "zstd": 50, "pushed": 60}}
    return {"size": sizes_, "floor": {"gzip": 10, "zstd": 12}} | parts


def test_a_figure_is_a_median_with_its_spread() -> None:
    assert Figure.of([0.5, 0.9, 0.4]) == Figure(0.5, 3, 0.4, 0.9)
    assert Figure.of([0.5, 0.9, 0.4]).seconds() == "0.50 s (0.40–0.90)"


@pytest.mark.parametrize(("ours", "met"), [(33.0, True), (33.1, False)])
def test_a_goal_is_met_up_to_its_limit(ours: float, met: bool) -> None:
    assert Goal("size", ours, 100.0, 0.33, "MB").met is met


def test_goals_are_those_of_the_parts_that_were_measured() -> None:
    goals = [(goal.text, round(goal.ratio, 2), goal.met) for goal in ratios(subject())]
    assert goals == [
        ("compressed (gzip -6) against distroless", 0.33, False),
        ("compressed (gzip -6) against the floor", 2.0, False),
        ("compressed (zstd -19) against distroless", 0.32, True),
        ("compressed (zstd -19) against the floor", 1.33, True),
        ("compressed, each as its own push does it, against distroless", 0.28, True),
    ]
    assert ratios({"floor": {"gzip": 10, "zstd": 12}}) == []


def test_times_are_compared_by_their_medians() -> None:
    times = {"lastgood": [1.0, 9.0, 1.0], "slim": [2.0, 2.0, 2.0], "distroless": [1.0, 1.0, 1.0]}
    found = ratios({"start": {"warm": times, "cold": times}})
    assert [(goal.text, goal.ratio, goal.met) for goal in found] == [
        ("start to first answer, warm, against slim", 0.5, True),
        ("start to first answer, cold, against slim", 0.5, True),
        ("start to first answer, warm, against distroless", 1.0, False),
        ("start to first answer, cold, against distroless", 1.0, False),
    ]


def test_reads_what_a_trace_opened_and_executed() -> None:
    trace = """\
12 execve("/usr/bin/python3.13", ["/usr/bin/python3.13"], 0x7ff /* 9 vars */) = 0
12 openat(AT_FDCWD, "/lib/x86_64-linux-gnu/libc.so.6", O_RDONLY|O_CLOEXEC) = 3</usr/lib/x86_64-linux-gnu/libc.so.6>
12 openat(AT_FDCWD, "/etc/missing", O_RDONLY) = -1 ENOENT (No such file or directory)
13 execve("/usr/bin/none", ["none"], 0x7ff /* 9 vars */) = -1 ENOENT (No such file or directory)
13 openat(AT_FDCWD</app>, "board", O_RDONLY) = 5</app/board>
"""
    assert opened(trace) == {"usr/bin/python3.13", "usr/lib/x86_64-linux-gnu/libc.so.6", "app/board"}


def test_merges_layers_and_follows_links(tmp_path: Path) -> None:
    lower = archive(
        tmp_path / "0.tar", {"./usr/lib/a": b"12", "usr/gone": b"1", "d/old": b"1", "lib": "usr/lib", "x/y": "../lib/a"}
    )
    upper = archive(
        tmp_path / "1.tar", {"usr/.wh.gone": b"", "d/.wh..wh..opq": b"", "d/new": b"123", "usr/lib/b": b"1"}
    )
    entries = sizes.merged([lower, upper])
    assert {name: (entry.layer, entry.size) for name, entry in entries.items()} == {
        "usr/lib/a": (0, 2),
        "lib": (0, 0),
        "x/y": (0, 0),
        "d/new": (1, 3),
        "usr/lib/b": (1, 1),
    }
    assert resolve("lib/b", entries) == "usr/lib/b"
    assert resolve("x/y", entries) == "usr/lib/a"
    assert resolve("nowhere/at/all", entries) == "nowhere/at/all"


def test_compresses_each_layer_once(tmp_path: Path) -> None:
    layer = archive(tmp_path / "0.tar", {"a": b"a" * 10_000})
    first = sizes.compressed([layer], tmp_path / "known.json")
    assert [kind for kind, size in first.items() if 0 < size < 1000] == ["gzip", "zstd"]
    known = tmp_path / "known.json"
    known.write_text(known.read_text().replace(f" {first['gzip']},", " 7,"))
    assert sizes.compressed([layer], known) == first | {"gzip": 7}
    assert sizes.compressed([layer], known, ["zstd"]) == {"zstd": first["zstd"]}


def test_the_peers_get_the_same_versions_as_wheels() -> None:
    lock = """\
# by lastgood lock
psycopg-c==3.3.8 \\
    --hash=sha256:00
    # via psycopg
psycopg[c]==3.3.8 \\
    --hash=sha256:01
Django==5.2.1 ; python_version > "3" \\
    --hash=sha256:02
"""
    assert peers_requirements(lock) == "psycopg-binary==3.3.8\npsycopg==3.3.8\nDjango==5.2.1\n"


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peers_image_keeps_none_of_the_builds_settings(peer: Any) -> None:
    text = dockerfile(peer, {"SECRET_KEY": "s3cret"})
    assert [
        line for line in text.splitlines() if "s3cret" in line and not line.startswith("RUN SECRET_KEY='s3cret' ")
    ] == []
    assert "{" not in text


def test_a_part_that_does_not_exist_is_refused() -> None:
    assert chosen("ONLY", "floor, size", report.PARTS) == ("floor", "size")
    assert chosen("ONLY", "", report.PARTS) == report.PARTS
    with pytest.raises(UsageError) as caught:
        chosen("ONLY", "sizes", report.PARTS)
    expected = "ONLY=sizes is none of size, build, code, start, memory, floor: name some of them, or leave ONLY away"
    assert str(caught.value) == expected


def test_the_page_says_what_was_missed() -> None:
    one = {"files": 3, "unpacked": 4e6, "gzip": 2e6, "zstd": 1e6, "pushed": 2e6}
    facts = {"title": "the board", "packages": 2, "versions": ["django 5.2"], "measured": {"size": "today"}}
    results = {
        "machine": {"kernel": "6.1"},
        "subjects": {"board": facts | {"size": {"lastgood": one, "distroless": one | {"gzip": 3e6, "zstd": 4e6}}}},
    }
    lines = report.page(results, "trixie").splitlines()
    assert [line for line in lines if line.startswith("| board:")] == [
        "| board: compressed (gzip -6) against distroless | 2.0 MB | 3.0 MB | 0.67× | ≤ 0.33× | **not met** |",
        "| board: compressed (zstd -19) against distroless | 1.0 MB | 4.0 MB | 0.25× | ≤ 0.33× | met |",
        "| board: compressed, each as its own push does it, against distroless | 2.0 MB | 2.0 MB | 1.00× | ≤ 0.33× | **not met** |",
    ]
    assert "| lastgood | 3 | 4.0 | 2.0 | 1.0 | 2.0 |" in lines
    assert "- kernel: 6.1" in lines
    assert "Measured today." in lines
