"""`lastgood lock --check --prove` against whoever edits the lock: what is in it is what Debian signed, or it is refused by name."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lastgood.cli import main
from lastgood.debian.locks import Lock, Package
from lastgood.debian.seeds import Seeds
from lastgood.errors import LastgoodError, Refused, UsageError
from lastgood.lock.debian import Seeded

if TYPE_CHECKING:
    from fixtures.archive import Archive

Write = Callable[..., Path]
DAY = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No CI, and no snapshot archive, unless a test says so."""
    monkeypatch.delenv("GITHUB_EVENT_PATH", raising=False)
    monkeypatch.delenv("LASTGOOD_DEBIAN_SNAPSHOT", raising=False)


@pytest.fixture
def own(archive: Archive, seeds: Write, tmp_path: Path) -> Seeded:
    """The lock of a project that asks for two packages, as `lastgood lock` makes it."""
    archive.add("libpq5", "17.6-0+deb13u1", fields={"Source": "postgresql-17", "Depends": "libc6"})
    archive.add("libc6", "2.41-12")
    archive.add("tzdata", "2026b-0", fields={"Architecture": "all"})
    archive.publish()
    made = Seeded(Seeds.read(seeds("libpq5", "tzdata")), tmp_path / "docker/packages.lock")
    made.make(address(archive), frozenset())
    return made


def address(archive: Archive) -> str:
    """As [tool.lastgood.image] mirror has it."""
    return f"{archive.mirror.debian} {archive.mirror.security}"


def edited(own: Seeded, change: Callable[[Package], Package | None]) -> None:
    """The lock as a forger leaves it: its own content hash made anew."""
    lock = Lock.read(own.file)
    stages = {
        stage: {
            one: tuple(found for package in entries if (found := change(package))) for one, entries in table.items()
        }
        for stage, table in lock.stages.items()
    }
    own.file.write_text(dataclasses.replace(lock, stages=stages).text(), encoding="utf-8")


def changing(name: str, /, **fields: Any) -> Callable[[Package], Package]:
    return lambda package: dataclasses.replace(package, **fields) if package.name == name else package


def said(own: Seeded, archive: Archive, snapshot: str | None = None, kind: type[LastgoodError] = Refused) -> str:
    """The whole message with which the lock is refused."""
    with pytest.raises(kind) as caught:
        own.prove(address(archive), snapshot)
    return str(caught.value)


def refusal(own: Seeded, what: str) -> str:
    return f"{own.file} is not what Debian signed: {what}; restore it from git, or run `lastgood lock` and commit what it makes"


def test_what_lock_made_is_proven(own: Seeded, archive: Archive) -> None:
    own.prove(address(archive))


@pytest.mark.parametrize(
    ("fields", "differs"),
    [
        ({"sha256": "f" * 64}, "the sha256 ffffffffffffffff… in the lock and {sha256} in Debian's signed index"),
        ({"size": 7}, "the size 7 in the lock and {size} in Debian's signed index"),
        (
            {"path": "pool/main/libp/libpq5/other.deb"},
            "the path pool/main/libp/libpq5/other.deb in the lock and {path} in Debian's signed index",
        ),
        ({"archive": "debian-security"}, "the archive debian-security in the lock and debian in Debian's signed index"),
        ({"source": "other"}, "the source other in the lock and postgresql-17 in Debian's signed index"),
    ],
)
def test_an_entry_that_was_edited(own: Seeded, archive: Archive, fields: dict[str, Any], differs: str) -> None:
    (right,) = (one for one in Lock.read(own.file).packages("runtime", "amd64") if one.name == "libpq5")
    edited(
        own,
        lambda one: dataclasses.replace(one, **fields) if (one.name, one.architecture) == ("libpq5", "amd64") else one,
    )
    shown = differs.format(sha256=f"{right.sha256[:16]}…", size=right.size, path=right.path)
    assert said(own, archive) == refusal(own, f"libpq5 17.6-0+deb13u1 (amd64) has {shown}")


def test_a_package_for_all_architectures_is_compared_too(own: Seeded, archive: Archive) -> None:
    edited(own, changing("tzdata", sha256="0" * 64))
    assert "tzdata 2026b-0 (all) has the sha256 0000000000000000… in the lock" in said(own, archive)


def test_a_version_that_stays_is_compared_though_there_is_a_newer_one(own: Seeded, archive: Archive) -> None:
    archive.add("libc6", "2.41-12+deb13u1", suite="trixie-security")
    archive.publish()
    own.prove(address(archive))
    edited(own, changing("libc6", sha256="1" * 64))
    assert "libc6 2.41-12 (amd64) has the sha256 1111111111111111… in the lock" in said(own, archive)


def test_a_version_that_debian_never_had(own: Seeded, archive: Archive) -> None:
    edited(own, changing("libpq5", version="17.5-0", sha256="2" * 64))
    assert said(own, archive) == refusal(
        own,
        "libpq5 17.5-0: in no signed index of Debian any more, and no snapshot archive is named that has older ones, so nothing proves "
        "the sha256 that the lock names",
    )


def test_a_package_more_or_less(own: Seeded, archive: Archive) -> None:
    edited(own, lambda one: None if one.name == "libc6" else one)
    assert said(own, archive).startswith(f"{own.file} is stale: run `lastgood lock` and commit it; the difference is\n")


def test_one_entry_beside_the_right_one(own: Seeded, archive: Archive) -> None:
    """Who takes the last of two of one name would prove the one and install the other."""
    lock = Lock.read(own.file)
    table = {
        one: (dataclasses.replace(entries[0], sha256="3" * 64), *entries)
        for one, entries in lock.stages["runtime"].items()
    }
    own.file.write_text(dataclasses.replace(lock, stages={"runtime": table}).text(), encoding="utf-8")
    assert said(own, archive, kind=UsageError) == (
        f"{own.file} is not a Debian lock (libc6 is there twice): restore it from git or run `lastgood lock`"
    )


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"name": "../../../../home/x"}, "../../../../home/x has the name '../../../../home/x'"),
        ({"sha256": "../../keys"}, "libpq5 has the sha256 '../../keys'"),
        ({"path": "pool/../../../etc/shadow.deb"}, "libpq5 has the path 'pool/../../../etc/shadow.deb'"),
        ({"version": "1\n::warning::x"}, "libpq5 has the version '1\\n::warning::x'"),
        ({"archive": "elsewhere"}, "libpq5 has the archive 'elsewhere'"),
        ({"architecture": "riscv64"}, "libpq5 has the architecture 'riscv64'"),
        ({"size": -1}, "libpq5 has the size -1"),
    ],
)
def test_an_entry_that_is_none(own: Seeded, fields: dict[str, Any], what: str) -> None:
    """Names and hashes become paths on this machine, long before anybody proves them."""
    edited(own, changing("libpq5", **fields))
    with pytest.raises(UsageError) as caught:
        Lock.read(own.file)
    assert str(caught.value) == f"{own.file} is not a Debian lock ({what}): restore it from git or run `lastgood lock`"


def replaced(archive: Archive, name: str, new: str) -> None:
    """Debian replaces every version of a package: the old ones leave the index, as its next publication is another day's."""
    for stanzas in archive.stanzas.values():
        stanzas[:] = [text for text in stanzas if not text.startswith(f"Package: {name}\n")]
    archive.add(name, new, fields={"Depends": "libc6"} if name == "libpq5" else {})
    archive.date = DAY + timedelta(days=3)
    archive.publish()


def kept(archive: Archive, tmp_path: Path, at: datetime = DAY) -> str:
    """A snapshot archive that has today's state under that moment; its address."""
    for name in ("debian", "debian-security"):
        (tmp_path / "snapshot" / name).mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["cp", "-r", str(archive.root / name), str(tmp_path / "snapshot" / name / f"{at:%Y%m%dT%H%M%SZ}")],
            check=True,
        )
    return f"file://{tmp_path}/snapshot"


@pytest.mark.parametrize("late", [0, 1])
def test_what_debian_replaced_yesterday_is_proven_by_the_indices_of_its_day(
    own: Seeded, archive: Archive, tmp_path: Path, late: int
) -> None:
    snapshot = kept(archive, tmp_path, DAY + timedelta(days=late))
    replaced(archive, "libpq5", "17.7-0+deb13u1")
    own.prove(address(archive), snapshot)
    edited(own, changing("libpq5", sha256="4" * 64))
    assert "libpq5 17.6-0+deb13u1 (amd64) has the sha256 4444444444444444… in the lock" in said(own, archive, snapshot)


def test_the_machine_names_the_snapshot_archive(
    own: Seeded, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LASTGOOD_DEBIAN_SNAPSHOT", kept(archive, tmp_path))
    replaced(archive, "libpq5", "17.7-0+deb13u1")
    own.prove(address(archive))


def test_a_snapshot_that_never_had_it_or_is_not_signed(own: Seeded, archive: Archive, tmp_path: Path) -> None:
    snapshot = kept(archive, tmp_path)
    replaced(archive, "libpq5", "17.7-0+deb13u1")
    edited(own, changing("libpq5", version="17.1-1", sha256="5" * 64))
    assert (
        "libpq5 17.1-1: in no signed index of Debian any more, nor in the snapshot archive's of the lock's date"
        in said(own, archive, snapshot)
    )
    for file in (tmp_path / "snapshot").rglob("InRelease"):
        file.write_bytes(file.read_bytes().replace(b"Packages.xz", b"Packages.gz"))
    assert "is not signed by a Debian archive key" in said(own, archive, snapshot, UsageError)


def commit(folder: Path) -> str:
    """Commits all that is there; returns the commit."""
    author = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(folder), "init", "-q"], check=True)
    subprocess.run(["git", "-C", str(folder), "add", "."], check=True)
    subprocess.run(["git", "-C", str(folder), *author, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    done = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(file))


def test_without_a_snapshot_only_what_a_pull_request_did_not_touch_is_believed(
    own: Seeded, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = commit(own.file.parent)
    replaced(archive, "libpq5", "17.7-0+deb13u1")
    assert "libpq5 17.6-0+deb13u1: in no signed index of Debian any more, " in said(own, archive)
    event(tmp_path, monkeypatch, {"pull_request": {"base": {"sha": base}}})
    own.prove(address(archive))
    edited(own, changing("libpq5", sha256="6" * 64))
    assert "libpq5 17.6-0+deb13u1: in no signed index of Debian any more, " in said(own, archive)


def test_what_a_branch_began_with_is_its_authors(
    own: Seeded, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pushes, the first with the forgery: the second one's `before` is no witness, unless it is the default branch's."""
    edited(own, changing("libpq5", sha256="7" * 64))
    forged = commit(own.file.parent)
    replaced(archive, "libpq5", "17.7-0+deb13u1")
    pushed = {"before": forged, "ref": "refs/heads/x", "repository": {"default_branch": "main"}}
    event(tmp_path, monkeypatch, pushed)
    assert "libpq5 17.6-0+deb13u1: in no signed index of Debian any more, " in said(own, archive)
    event(tmp_path, monkeypatch, pushed | {"ref": "refs/heads/main"})
    own.prove(address(archive))


def test_a_mirror_that_is_held_back(own: Seeded, archive: Archive) -> None:
    archive.date = DAY - timedelta(days=30)
    archive.publish()
    expected = (
        f"{archive.mirror.debian} is of 20261025T160000Z, and the lock of 20261124T160000Z: the mirror stands still, or someone holds it "
        "back; name another mirror (or try again later)"
    )
    assert said(own, archive, kind=UsageError) == expected
    with pytest.raises(UsageError) as caught:
        own.make(address(archive), None)
    assert str(caught.value) == expected, "an upgrade would have been a step back"


def test_a_mirror_that_holds_back_one_suite(own: Seeded, archive: Archive) -> None:
    """Only the newest suite's date is in the lock; the versions tell that main is one of the past."""
    archive.add("libpq5", "17.9-1")
    archive.publish()
    own.make(address(archive), None)
    replaced(archive, "libpq5", "17.6-0+deb13u1")
    assert said(own, archive, kind=UsageError) == (
        f"the newest libpq5 at {archive.mirror.debian} is 17.6-0+deb13u1, and the lock has 17.9-1: the mirror stands still, or someone "
        "holds it back; name another mirror"
    )


def test_a_lock_cannot_date_itself_back_before_the_bundles_own(own: Seeded, archive: Archive, tmp_path: Path) -> None:
    """A forger's lock of the versions of a year ago, with a mirror of his that still shows them, all signed."""
    bundled = tmp_path / "base.lock"
    bundled.write_text(own.file.read_text(encoding="utf-8"), encoding="utf-8")
    replaced(archive, "libc6", "2.36-9")
    lock = Lock.read(own.file)
    edited(own, changing("libc6", version="2.36-9"))
    own.file.write_text(dataclasses.replace(Lock.read(own.file), resolved="20250101T000000Z").text(), encoding="utf-8")
    assert f"the newest libc6 at {archive.mirror.debian} is 2.36-9, and the lock has 2.41-12" in said(
        Seeded(own.seeds, own.file, bundled), archive, kind=UsageError
    )
    assert lock.resolved == "20261124T160000Z"


def test_the_bundles_own_locks_are_proven_the_same_way(
    own: Seeded, archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = own.file.parents[1] / "base.toml"
    monkeypatch.setenv("LASTGOOD_DEBIAN_MIRROR", address(archive))
    lock = seeds.with_suffix(".lock")
    lock.write_text(own.file.read_text(encoding="utf-8"), encoding="utf-8")
    assert main(["lock-base", "--check", "--seeds", str(seeds)]) == 0
    assert capsys.readouterr().out == f"{lock} is what Debian signed\n"
    forged = Seeded(own.seeds, lock)
    edited(forged, changing("libpq5", sha256="8" * 64))
    text = lock.read_text(encoding="utf-8")
    assert main(["lock-base", "--check", "--seeds", str(seeds)]) == 1
    said = capsys.readouterr().err
    assert (
        f"lastgood: {lock} is not what Debian signed: libpq5 17.6-0+deb13u1 (amd64) has the sha256 8888888888888888… in the lock"
        in said
    )
    assert f"or run `lastgood lock-base --seeds {seeds}` and commit what it makes" in said
    assert lock.read_text(encoding="utf-8") == text
    assert main(["lock-base", "--check", "--upgrade", "--seeds", str(seeds)]) == 2
