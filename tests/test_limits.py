"""Archives that become far more than they are: refused before the disk or the memory is full."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.deb import package
from lastgood import limits
from lastgood.debian import unpack
from lastgood.errors import UsageError
from lastgood.python import compiling, install, sources
from lastgood.python.sources import Source

NOTHING_REAL = (
    "which nothing real does: it is not unpacked; choose another version of it, or, where it is right so, set LASTGOOD_UNPACK_FACTOR=2 on "
    "this machine"
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures that a test reaches in no time; that the ratio counts beyond them is what matters."""
    monkeypatch.setattr(limits, "SMALL", 200_000)
    monkeypatch.setattr(limits, "ENTRIES", 50)


def sdist(folder: Path, members: Iterator[tuple[tarfile.TarInfo, bytes]], suffix: str = "gz") -> Source:
    file = folder / f"alpha-1.0.tar.{suffix}"
    with tarfile.open(file, f"w:{suffix}") as archive:  # type: ignore[call-overload]
        for info, body in members:
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body) if info.isreg() else None)
    return Source("alpha", "1.0", file)


def regular(name: str, size: int = 1) -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(f"alpha-1.0/{name}"), b"\0" * size


def link(name: str, target: str, kind: bytes = tarfile.LNKTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(f"alpha-1.0/{name}")
    info.type, info.linkname = kind, target
    return info, b""


def said(source: Source) -> str:
    with pytest.raises(UsageError) as caught:
        sources.unpack(source)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
def test_a_source_of_zeros(tmp_path: Path, suffix: str) -> None:
    source = sdist(tmp_path, iter([regular("zeros", 5_000_000)]), suffix)
    size = source.file.stat().st_size
    most = max(200_000, 100 * size) / 1e6
    assert (
        said(source) == f"alpha-1.0.tar.{suffix} holds more than {most:,.0f} MB in {size / 1e6:.1f} MB, {NOTHING_REAL}"
    )


def test_many_entries_and_long_and_deep_paths(tmp_path: Path) -> None:
    many = sdist(tmp_path, (regular(str(number)) for number in range(51)))
    assert said(many) == f"alpha-1.0.tar.gz holds more than 50 entries, {NOTHING_REAL}"
    assert said(sdist(tmp_path, iter([regular("n" * 1100)]))) == (
        f"alpha-1.0.tar.gz holds a path of 1110 characters and 1 folders (alpha-1.0/{'n' * 50}…), {NOTHING_REAL}"
    )
    assert "a path of 139 characters and 65 folders" in said(sdist(tmp_path, iter([regular("a/" * 65)])))


def test_a_header_that_would_fill_the_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("alpha-1.0/x")
    info.type = tarfile.XHDTYPE
    info.size = 3_000_000
    body = info.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 3_000_000 + b"\0" * 1024
    file = tmp_path / "alpha-1.0.tar.gz"
    file.write_bytes(gzip.compress(body))
    assert said(Source("alpha", "1.0", file)) == (
        "an archive holds a header of 3,000,000 bytes, which nothing real does: it is not unpacked"
    )


def test_links_of_a_source(tmp_path: Path) -> None:
    first = (tarfile.TarInfo("alpha-1.0/a"), b"a")
    good = sdist(
        tmp_path,
        iter(
            [first, link("b", "alpha-1.0/a"), link("c/d", "../b", tarfile.SYMTYPE), link("e", "c/d", tarfile.SYMTYPE)]
        ),
    )
    assert {name: body for name, (_, body) in sources.unpack(good).items()} == dict.fromkeys(
        ("a", "b", "c/d", "e"), b"a"
    )


@pytest.mark.parametrize(
    ("links", "what"),
    [
        ([link("a", "alpha-1.0/b"), link("b", "alpha-1.0/a")], "alpha-1.0/a, which is no file"),
        ([link("a", "alpha-1.0/a")], "alpha-1.0/a, which is no file"),
        ([link("a", "b", tarfile.SYMTYPE), link("b", "a", tarfile.SYMTYPE)], "a, a link to no file of it"),
        ([link("a", "a", tarfile.SYMTYPE)], "a, a link to no file of it"),
        ([link("a", "gone", tarfile.SYMTYPE)], "a, a link to no file of it"),
        ([link("a\x1b[2J", "gone")], "alpha-1.0/a\\x1b[2J, which is no file"),
        ([link("a", "", tarfile.FIFOTYPE)], "alpha-1.0/a, which is no file"),
    ],
)
def test_links_that_lead_nowhere(tmp_path: Path, links: list[tuple[tarfile.TarInfo, bytes]], what: str) -> None:
    assert said(sdist(tmp_path, iter(links))) == (
        f"alpha-1.0.tar.gz holds {what}: it is not compiled; choose another version of alpha"
    )


def test_links_count_as_what_they_become(tmp_path: Path) -> None:
    """A thousand names of one file are a thousand files once they are written."""
    body = bytes(range(256)) * 40  # packed well, but not beyond the ratio
    names = [(tarfile.TarInfo("alpha-1.0/a"), body), *(link(str(number), "a", tarfile.SYMTYPE) for number in range(40))]
    assert "alpha-1.0.tar.gz holds more than 0 MB" in said(sdist(tmp_path, iter(names)))


def test_a_wheel(tmp_path: Path) -> None:
    file = tmp_path / "alpha-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 3_000_000)
    with pytest.raises(UsageError) as caught:
        install.check(file)
    assert str(caught.value) == f"{file.name} holds more than 0 MB in 0.0 MB, {NOTHING_REAL}"
    with pytest.raises(UsageError, match=r"^the wheel that was built holds more than 0 MB"):
        compiling.normalised(file.read_bytes())


def test_what_a_source_leaves_behind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^what alpha 1\.0 builds holds more than 0 MB"):
        compiling._gathered([b"\0" * 150_000] * 2, Source("alpha", "1.0", tmp_path))


def test_a_package(tmp_path: Path) -> None:
    file = package(tmp_path / "x.deb", [("./a", tarfile.REGTYPE, "0" * 2_000_000)])
    body = file.read_bytes()
    start = body.index(b"data.tar")
    data = lzma.compress(body[start + 60 :])
    header = f"{'data.tar.xz':<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
    file.write_bytes(body[:start] + header + data + b"\n" * (len(data) % 2))
    with pytest.raises(UsageError) as caught:
        unpack.unpack([("x", file)], tmp_path / "root")
    most = max(200_000, 100 * file.stat().st_size) / 1e6
    assert (
        str(caught.value)
        == f"the package x holds more than {most:,.0f} MB in {file.stat().st_size / 1e6:.1f} MB, {NOTHING_REAL}"
    )


def test_the_machine_may_say_that_it_is_right_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sdist(tmp_path, iter([regular("zeros", 500_000)]))
    assert "LASTGOOD_UNPACK_FACTOR=2" in said(source)
    monkeypatch.setenv("LASTGOOD_UNPACK_FACTOR", "3")
    assert len(sources.unpack(source)["zeros"][1]) == 500_000
    monkeypatch.setenv("LASTGOOD_UNPACK_FACTOR", "much")
    assert said(source) == "LASTGOOD_UNPACK_FACTOR is 'much': it must be a whole number, 1 or more"


def test_gunzip() -> None:
    body = gzip.compress(b"\0" * 1000)
    assert limits.gunzip(body, 1000) == b"\0" * 1000
    with pytest.raises(ValueError, match=r"^more than 999 bytes$"):
        limits.gunzip(body, 999)
    with pytest.raises(EOFError, match=r"^it ends too early$"):
        limits.gunzip(body[:-9], 1000)
    assert struct.unpack("<I", body[-4:]) == (1000,)


def test_what_is_real_is_far_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch 2 with CUDA, and a kernel's debug information."""
    monkeypatch.undo()
    for packed, unpacked, entries in ((900_000_000, 2_600_000_000, 14_000), (1_050_000_000, 6_200_000_000, 4_500)):
        counts = limits.Unpacking("x", packed)
        for number in range(entries):
            counts.entry(f"torch/include/{number}", unpacked // entries)
