"""What lies between two builds, by the record and the clone."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lastgood.errors import UsageError
from lastgood.record import migrations
from lastgood.record.table import Record
from lastgood.scan import diff as differ
from lastgood.scan.contents import Contents


@pytest.fixture
def clone(tmp_path: Path) -> tuple[Path, str, str]:
    """A repository with two commits, of which the second has a message that would clear the screen."""

    def git(*arguments: str) -> str:
        named = ["-c", "user.name=test", "-c", "user.email=test@lastgood.invalid", "-c", "commit.gpgsign=false"]
        whole = ["git", "-C", str(tmp_path), *named, *arguments]
        return subprocess.run(whole, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q", "-b", "main")
    found = []
    for message in ("one", "two \x1b[2J"):
        git("commit", "-q", "--allow-empty", "-m", message)
        found.append(git("rev-parse", "HEAD"))
    return tmp_path, found[0], found[1]


def manifest(*keys: str, lossy: str = "") -> str:
    listed = [
        {
            "app": "shop",
            "name": key,
            "replaces": [],
            "irreversible": [],
            "lossy": ["RemoveField Item.size"] if key == lossy else [],
            "holds": [],
            "breaks": [],
            "rollback": None,
        }
        for key in keys
    ]
    return migrations.pack(json.dumps({"migrations": listed}).encode())


def contents(build: str, django: str, size: int) -> str:
    owners = {"python:django": (django, size, 2 * size), "project": ("", 1000, 2000)}
    return Contents(build, size + 1000, 2 * size + 2000, 3, owners, {}).text()


@pytest.fixture
def pushed(record: Record, facts: Any, clone: tuple[Path, str, str]) -> Record:
    """Build `a`, released as 1 and good, and build `b`, released as 2 and failed."""
    _, first, second = clone
    a = replace(facts("a"), commit=first, size=6000, contents=contents("a", "6.0", 5000), migrations=manifest("1"))
    b = replace(facts("b"), commit=second, size=8000, contents=contents("b", "6.1", 7000), version="v2")
    b = replace(b, migrations=manifest("1", "2", lossy="2"))
    record.put_build(a)
    record.put_build(b)
    record.good(record.begin("deploy", a, who="ada", reason=""), undone=[], applied=[])
    record.failed(record.begin("deploy", b, who="ada", reason=""), "no", undone=[], applied=[])
    return record


def test_forward(pushed: Record, clone: tuple[Path, str, str]) -> None:
    found = differ.diff(pushed, clone[0], "last-good", "v2")
    short = clone[2][:7]
    assert differ.render(found) == (
        "before    release 1 (good), build a, version a, 6.0 kB\n"
        "after     release 2 (failed), build b, version v2, 8.0 kB\n"
        "size      +2.0 kB, compressed\n"
        "commits   1 commit more, 0 fewer\n"
        "database  apply shop.2\n"
        "image     1 thing moved\n"
        "\n"
        "commits that come\n"
        f"  {short} two \\x1b[2J\n"
        "\n"
        "lost for good\n"
        "  shop.2: RemoveField Item.size\n"
        "\n"
        "in the image      compressed\n"
        "────────────────  ──────────\n"
        "django 6.0 → 6.1     +2.0 kB"
    )
    assert found["commits"] == {
        "known": True,
        "why": "",
        "come": [f"{short} two \\x1b[2J"],
        "go": [],
    }
    json.dumps(found)


def test_back(pushed: Record, clone: tuple[Path, str, str]) -> None:
    found = differ.diff(pushed, clone[0], "2", "1")
    assert (found["size"], found["database"]["back"], len(found["commits"]["go"])) == (-2000, ["shop.2"], 1)
    assert "size      −2.0 kB, compressed\n" in differ.render(found)


def test_a_clone_without_the_commits(pushed: Record, tmp_path: Path, clone: tuple[Path, str, str]) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["git", "init", "-q", str(elsewhere)], check=True)
    found = differ.diff(pushed, elsewhere, "1", "2")
    assert found["commits"]["why"] == f"this clone does not have {clone[1][:12]} and {clone[2][:12]}: git fetch it"


def test_a_commits_name_is_no_option(clone: tuple[Path, str, str]) -> None:
    found = differ.commits(clone[0], "--output=/tmp/x", clone[2])
    assert found["why"] == "this clone does not have --output=/tm: git fetch it"


def test_builds_of_which_little_is_known(record: Record, facts: Any, tmp_path: Path) -> None:
    for name in "ab":
        record.put_build(facts(name))
    found = differ.diff(record, tmp_path, facts("a").digest, facts("b").digest)
    assert found["contents"]["why"] == "pushed without being scanned before: a, b"
    assert found["database"]["why"] == "the record does not know the migrations of build a and b: push it again"
    assert found["before"]["release"] is None


def test_the_same_migrations_need_not_be_known(record: Record, facts: Any, tmp_path: Path) -> None:
    for name in "ab":
        record.put_build(replace(facts(name), manifest_sha="same"))
    found = differ.diff(record, tmp_path, facts("a").digest, facts("b").digest)
    assert (found["database"]["known"], found["database"]["forward"]) == (True, [])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("last-good", "staging has no last good release yet: name a build by its digest"),
        (
            "7",
            (
                "the release record of staging knows no release and no build '7': `lastgood history` lists the releases; a build that was "
                "pushed "
                "and never released is named by its digest"
            ),
        ),
    ],
)
def test_what_nobody_knows(record: Record, tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        differ.diff(record, tmp_path, name, name)
    assert str(error.value) == said
