"""Packages of the lock are fetched into a cache that holds nothing wrong and nothing half."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from lastgood.debian import fetch as fetcher
from lastgood.debian import locks, unpack
from lastgood.debian.locks import Package
from lastgood.debian.mirror import Mirror, Snapshot
from lastgood.debian.seeds import Seeds
from lastgood.errors import UsageError

if TYPE_CHECKING:
    from fixtures.archive import Archive

Write = Callable[..., Path]


@pytest.fixture
def packages(archive: Archive, seeds: Write) -> tuple[Package, ...]:
    """Two locked packages."""
    archive.add("tzdata", "2026f-0")
    archive.add("zlib1g", "1.3-1")
    archive.publish()
    return locks.resolve(Seeds.read(seeds("tzdata", "zlib1g")), archive.mirror).packages("runtime", "amd64")


def never() -> Mirror:
    """A mirror that must not be asked."""
    pytest.fail("the mirror was asked")


def test_a_package_is_fetched_once(archive: Archive, packages: tuple[Package, ...], tmp_path: Path) -> None:
    files = fetcher.fetch(packages, lambda: archive.mirror, tmp_path / "cache")
    assert [files[package.name] for package in packages] == [
        tmp_path / f"cache/debs/{package.sha256}.deb" for package in packages
    ]
    assert fetcher.fetch(packages, never, tmp_path / "cache") == files


def refusal(archive: Archive, packages: tuple[Package, ...], cache: Path) -> str:
    """The whole message, after which the cache holds only what is right."""
    with pytest.raises(UsageError) as caught:
        fetcher.fetch(packages, lambda: archive.mirror, cache)
    assert [file.name for file in (cache / "debs").iterdir() if file.stem != packages[1].sha256] == []
    return str(caught.value)


def test_a_version_that_vanished(archive: Archive, packages: tuple[Package, ...], tmp_path: Path) -> None:
    (tmp_path / "cache/debs").mkdir(parents=True)
    file = archive.root / "debian" / packages[0].path
    file.unlink()
    assert refusal(archive, packages, tmp_path / "cache") == (
        f"tzdata 2026f-0 is no longer on the Debian mirror (file://{file}): run `lastgood lock` (for the bundle's own lock "
        "`lastgood lock-base`) to lock the version that replaced it, or set [tool.lastgood.image] snapshot to the address of an archive "
        "that keeps old versions"
    )


def test_a_version_that_vanished_from_a_web_server(
    archive: Archive, packages: tuple[Package, ...], tmp_path: Path
) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            """Says nothing."""

    (archive.root / "debian" / packages[0].path).unlink()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(archive.root))) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        mirror = Mirror(f"{address}/debian", f"{address}/debian-security", "the test")
        with pytest.raises(UsageError) as caught:
            fetcher.fetch(packages[:1], lambda: mirror, tmp_path / "cache")
        assert fetcher.fetch(packages[1:], lambda: mirror, tmp_path / "cache")["zlib1g"].is_file()
        server.shutdown()
    assert str(caught.value) == (
        f"tzdata 2026f-0 is no longer on the Debian mirror ({address}/debian/{packages[0].path}): run `lastgood lock` (for the "
        "bundle's own lock `lastgood lock-base`) to lock the version that replaced it, or set [tool.lastgood.image] snapshot to the "
        "address of an archive that keeps old versions"
    )


def test_a_package_of_another_hash(archive: Archive, packages: tuple[Package, ...], tmp_path: Path) -> None:
    file = archive.root / "debian" / packages[0].path
    file.write_bytes(file.read_bytes() + b"\n")
    assert refusal(archive, packages, tmp_path / "cache") == (
        f"file://{file} does not have the sha256 that the lock names for tzdata: name another mirror"
    )


def snapshot(archive: Archive, package: Package, stamp: str) -> tuple[Snapshot, Path]:
    """Takes a package's file off the mirror and into a snapshot archive of that moment; returns both."""
    file = archive.root / "debian" / package.path
    kept = archive.root / "snapshot/debian" / stamp / package.path
    kept.parent.mkdir(parents=True)
    file.rename(kept)
    return Snapshot(f"file://{archive.root}/snapshot/", "20261124T160000Z"), kept


@pytest.mark.parametrize("stamp", ["20261124T160000Z", "20261125T160000Z"])
def test_a_version_that_vanished_comes_from_the_snapshot(
    archive: Archive, packages: tuple[Package, ...], tmp_path: Path, stamp: str
) -> None:
    """Of the lock's moment, or of the day after: a snapshot is taken after the mirrors have changed."""
    old, kept = snapshot(archive, packages[0], stamp)
    content = kept.read_bytes()
    files = fetcher.fetch(packages, lambda: archive.mirror, tmp_path / "cache", old)
    assert files["tzdata"].read_bytes() == content


def test_a_machine_that_knows_no_mirror_has_the_snapshot(
    archive: Archive, packages: tuple[Package, ...], tmp_path: Path
) -> None:
    def none() -> Mirror:
        raise UsageError("no Debian mirror is known")

    old, kept = snapshot(archive, packages[0], "20261124T160000Z")
    assert fetcher.fetch(packages[:1], none, tmp_path / "cache", old)["tzdata"].read_bytes() == kept.read_bytes()
    with pytest.raises(UsageError) as caught:
        fetcher.fetch(packages[1:], none, tmp_path / "cache", old)
    assert str(caught.value) == (
        f"zlib1g 1.3-1 is not in the snapshot archive (file://{archive.root}/snapshot/debian/20261124T160000Z/{packages[1].path}): run "
        "`lastgood lock` (for the bundle's own lock `lastgood lock-base`) to lock the version that replaced it"
    )
    with pytest.raises(UsageError) as caught:
        fetcher.fetch(packages[1:], none, tmp_path / "cache")
    assert str(caught.value) == "no Debian mirror is known"


def test_a_wrong_file_on_the_mirror_and_the_right_one_in_the_snapshot(
    archive: Archive, packages: tuple[Package, ...], tmp_path: Path
) -> None:
    old, kept = snapshot(archive, packages[0], "20261124T160000Z")
    (archive.root / "debian" / packages[0].path).write_bytes(b"wrong")
    files = fetcher.fetch(packages, lambda: archive.mirror, tmp_path / "cache", old)
    assert files["tzdata"].read_bytes() == kept.read_bytes()


def test_a_snapshot_of_another_hash(archive: Archive, packages: tuple[Package, ...], tmp_path: Path) -> None:
    old, kept = snapshot(archive, packages[0], "20261124T160000Z")
    kept.write_bytes(b"wrong")
    with pytest.raises(UsageError) as caught:
        fetcher.fetch(packages, lambda: archive.mirror, tmp_path / "cache", old)
    assert str(caught.value) == (
        f"file://{kept} does not have the sha256 that the lock names for tzdata: name another mirror"
    )


def test_a_version_that_is_nowhere(archive: Archive, packages: tuple[Package, ...], tmp_path: Path) -> None:
    old, kept = snapshot(archive, packages[0], "20261124T160000Z")
    kept.unlink()
    with pytest.raises(UsageError) as caught:
        fetcher.fetch(packages, lambda: archive.mirror, tmp_path / "cache", old)
    assert str(caught.value) == (
        f"tzdata 2026f-0 is no longer on the Debian mirror (file://{archive.root}/debian/{packages[0].path}), nor in the snapshot archive "
        f"(file://{kept}): run `lastgood lock` (for the bundle's own lock `lastgood lock-base`) to lock the version that replaced it"
    )


def test_a_package_of_two_architectures_has_two_files(archive: Archive, tmp_path: Path) -> None:
    archive.add("libc6")
    archive.add("tzdata", fields={"Architecture": "all"})
    file = tmp_path / "seeds.toml"
    text = 'suite = "trixie"\n[cross]\npackages = ["libc6:amd64", "libc6:arm64", "tzdata"]\n[cross.arm64]\nmachine = "amd64"\n'
    file.write_text(text, encoding="utf-8")
    lock = locks.resolve(Seeds.read(file), archive.publish().mirror)
    files = fetcher.fetch(lock.packages("cross", "arm64"), lambda: archive.mirror, tmp_path / "cache")
    assert list(files) == ["libc6:amd64", "libc6:arm64", "tzdata"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk(archive: Archive, seeds: Write, tmp_path: Path) -> None:
    archive.add("big", fields={"Architecture": "all"}, files={"usr/share/big": os.urandom(1_500_000)})
    (package,) = locks.resolve(Seeds.read(seeds("big")), archive.publish().mirror).packages("runtime", "amd64")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(UsageError) as caught:
            fetcher.fetch([package], lambda: archive.mirror, small)
        assert list((small / "debs").iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert str(caught.value) == (
        f"fetching {archive.mirror.debian}/{package.path} failed: [Errno 28] No space left on device; check the network and the "
        "disk, then run it again"
    )


def test_unpacked_without_root_or_scripts(archive: Archive, tmp_path: Path) -> None:
    base = archive.add(
        "base-files", files={"usr/": b"", "usr/lib/": b"", "lib": "usr/lib", "etc/os-release": b"ID=debian\n"}
    )
    tool = archive.add(
        "atool",
        files={
            "lib/": b"",
            "lib/tool.so": b"code",
            "usr/bin/tool": b"#!",
            "usr/bin/link": "tool",
            "usr/share/man/x": b"no",
        },
        modes={"usr/bin/tool": 0o4555, "lib/tool.so": 0o444},
    )
    root = tmp_path / "root"
    unpack.unpack([("atool", tool), ("base-files", base)], root, lambda path: not path.startswith("usr/share/man"))
    assert (root / "lib").is_symlink(), "a package's folder /lib must not replace the link"
    assert (root / "usr/lib/tool.so").read_bytes() == b"code"
    assert (root / "usr/bin/link").readlink() == Path("tool")
    assert stat.S_IMODE((root / "usr/bin/tool").stat().st_mode) == 0o755, "no setuid, and ours to write"
    assert stat.S_IMODE((root / "usr/lib/tool.so").stat().st_mode) == 0o644
    assert not (root / "usr/share/man/x").exists()
    status = (root / "var/lib/dpkg/status.d/atool").read_text(encoding="utf-8")
    assert status == "Package: atool\nVersion: 1.0-1\nArchitecture: amd64\n"


def test_a_package_can_not_write_outside_its_root(archive: Archive, tmp_path: Path) -> None:
    evil = archive.add("evil", files={"../../outside": b"x"})
    with pytest.raises(UsageError) as caught:
        unpack.unpack([("evil", evil)], tmp_path / "a/root")
    assert str(caught.value) == "evil holds ../../outside, which lies outside the root file system: it is not used"
    assert not (tmp_path / "outside").exists()


def test_store_keeps_nothing_that_is_wrong(tmp_path: Path) -> None:
    assert not fetcher.store(tmp_path / "x", [b"a", b"b"], "0" * 64)
    assert list(tmp_path.iterdir()) == []
    right = "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603"
    assert fetcher.store(tmp_path / "x", [b"a", b"b"], right)
    assert (tmp_path / "x").read_bytes() == b"ab"


def test_the_lock_is_frozen(packages: tuple[Package, ...]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        packages[0].version = "2"  # type: ignore[misc]
