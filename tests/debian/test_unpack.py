"""Unpacking Debian packages: what leads out of the root, and what is damaged, is refused with one sentence."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from fixtures.deb import Entry, package
from lastgood.debian import unpack
from lastgood.errors import UsageError


def unpacked(tmp_path: Path, *entries: Entry) -> dict[str, str]:
    return unpack.unpack([("x", package(tmp_path / "x.deb", entries))], tmp_path / "root")


def test_every_file_and_link_has_an_owner(tmp_path: Path) -> None:
    """Also through a link to a folder, as /lib is one to /usr/lib."""
    owners = unpacked(
        tmp_path,
        ("./usr/lib/", tarfile.DIRTYPE, ""),
        ("./lib", tarfile.SYMTYPE, "usr/lib"),
        ("./lib/a.so", tarfile.REGTYPE, "1"),
        ("./lib/b.so", tarfile.LNKTYPE, "./lib/a.so"),
        ("./etc/c", tarfile.SYMTYPE, "/usr/lib/a.so"),
    )
    names = {"lib", "usr/lib/a.so", "usr/lib/b.so", "etc/c", "var/lib/dpkg/status.d/x"}
    assert owners == dict.fromkeys(names, "x")
    assert (tmp_path / "root/usr/lib/b.so").read_text(encoding="utf-8") == "1"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([("./../a", tarfile.REGTYPE, "1")], "x holds ../a, which lies outside the root file system: it is not used"),
        (
            [("./a/b", tarfile.SYMTYPE, "../../c")],
            "x holds a/b, a link to ../../c, which lies outside the root file system: it is not used",
        ),
        (
            [("./a", tarfile.SYMTYPE, "/OUTSIDE"), ("./a/b", tarfile.REGTYPE, "1")],
            "x holds a/b, which a link takes outside the root file system: it is not used",
        ),
        (
            [("./a", tarfile.SYMTYPE, "/OUTSIDE/secret"), ("./b", tarfile.LNKTYPE, "./a")],
            "b is a link to ./a, outside the root file system: it is not used",
        ),
    ],
)
def test_what_leaves_the_root(tmp_path: Path, entries: list[Entry], said: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("1", encoding="utf-8")
    moved = [(name, kind, content.replace("/OUTSIDE", str(outside))) for name, kind, content in entries]
    with pytest.raises(UsageError) as caught:
        unpacked(tmp_path, *moved)
    assert str(caught.value) == said
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_a_damaged_package(tmp_path: Path) -> None:
    file = package(tmp_path / "x.deb", [("./a", tarfile.REGTYPE, "1" * 20000)])
    file.write_bytes(file.read_bytes()[:12000])
    with pytest.raises(UsageError) as caught:
        unpack.unpack([("x", file)], tmp_path / "root")
    assert (
        str(caught.value) == f"the package x can't be unpacked: unexpected end of data; remove {file} and run it again"
    )
