"""Which package holds a file, from an index that Debian signed."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from lastgood.debian import contents
from lastgood.errors import UsageError

if TYPE_CHECKING:
    from fixtures.archive import Archive

AMD64 = """\
bin/sh                                                  shells/dash
usr/lib/x86_64-linux-gnu/libpq.so.5                     libs/libpq5
usr/lib/x86_64-linux-gnu/libpq.so.5.17                  libs/libpq5
usr/share/with space/x                                  misc/space
usr/bin/awk                                             utils/mawk,interpreters/gawk,non-free/utils/bawk
"""
ALL = "usr/share/zoneinfo/Europe/Berlin\t\tlocalization/tzdata\n"


@pytest.fixture
def indexed(archive: Archive) -> Archive:
    """An archive with contents."""
    archive.contents = {"amd64": AMD64, "all": ALL}
    return archive.publish()


@pytest.mark.parametrize(
    ("path", "packages"),
    [
        ("usr/lib/x86_64-linux-gnu/libpq.so.5", ("libpq5",)),
        ("/usr/lib/x86_64-linux-gnu/libpq.so.5", ("libpq5",)),
        ("lib/x86_64-linux-gnu/libpq.so.5", ("libpq5",)),  # through the link /lib
        ("usr/lib/x86_64-linux-gnu/libpqXso.5", ()),
        ("usr/lib/x86_64-linux-gnu/libpq.so", ()),
        ("usr/share/with space/x", ("space",)),
        ("usr/bin/awk", ("bawk", "gawk", "mawk")),
        ("usr/share/zoneinfo/Europe/Berlin", ("tzdata",)),
    ],
)
def test_found(indexed: Archive, path: str, packages: tuple[str, ...]) -> None:
    assert contents.find(path, indexed.mirror, "trixie", "amd64") == packages


def test_fetched_once(indexed: Archive) -> None:
    contents.find("bin/sh", indexed.mirror, "trixie", "amd64")
    for file in (indexed.root / "debian/dists/trixie/main/by-hash/SHA256").iterdir():
        file.unlink()
    assert contents.find("bin/sh", indexed.mirror, "trixie", "amd64") == ("dash",)


def test_a_mirror_that_keeps_it_by_name_only(indexed: Archive) -> None:
    folder = indexed.root / "debian/dists/trixie/main"
    for file in (folder / "by-hash/SHA256").iterdir():
        if gzip.decompress(file.read_bytes()) == AMD64.encode():
            file.rename(folder / "Contents-amd64.gz")
    assert contents.find("bin/sh", indexed.mirror, "trixie", "amd64") == ("dash",)


def test_an_index_that_is_not_what_was_signed(indexed: Archive) -> None:
    folder = indexed.root / "debian/dists/trixie/main"
    for file in (folder / "by-hash/SHA256").iterdir():
        file.unlink()
    (folder / "Contents-amd64.gz").write_bytes(b"older")
    with pytest.raises(UsageError) as caught:
        contents.find("bin/sh", indexed.mirror, "trixie", "amd64")
    assert str(caught.value) == (
        f"file://{folder}/Contents-amd64.gz does not have the sha256 that the signed {indexed.mirror.debian}/dists/trixie/InRelease "
        "names: try another mirror"
    )


def test_a_mirror_without_contents(archive: Archive) -> None:
    with pytest.raises(UsageError) as caught:
        contents.find("bin/sh", archive.publish().mirror, "trixie", "amd64")
    assert str(caught.value) == (
        f"{archive.mirror.debian}/dists/trixie/InRelease lists no main/Contents-amd64.gz: the mirror does not carry it; name another mirror"
    )


@pytest.mark.parametrize(
    ("library", "packages"),
    [
        ("usr/lib/x86_64-linux-gnu/libpq.so.5", ("libpq5",)),
        ("libssl.so.3", ("libssl3t64",)),
        ("libdb-5.3.so", ("libdb-5.3",)),
        ("libicudata74.so.2", ("libicudata74-2",)),  # a hyphen after a digit
        ("libpqXso.5", ()),
        ("libnone.so.1", ()),
    ],
)
def test_named_after_the_library(archive: Archive, library: str, packages: tuple[str, ...]) -> None:
    for name in ("libpq5", "libpq5-dbg", "libssl3t64", "libdb-5.3", "libicudata74-2"):
        archive.add(name, "1.0")
    assert contents.named(library, archive.publish().mirror, "trixie", "amd64") == packages
