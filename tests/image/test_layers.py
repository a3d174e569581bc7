"""Layers: the same files give the same bytes, whoever wrote them, wherever and when."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from lastgood import tar
from lastgood.errors import UsageError
from lastgood.image import compress, layers

WRITE = """
import os, sys
from pathlib import Path
top = Path(sys.argv[1])
names = ["b.txt", "a/z.txt", "a/é.txt", "a/run", "a/" + "long" * 40 + ".txt"]
for name in (names if sys.argv[2] == "forward" else reversed(names)):
    (top / name).parent.mkdir(parents=True, exist_ok=True)
    (top / name).write_text(name)
    os.utime(top / name, (int(sys.argv[3]), int(sys.argv[3])))
(top / "a/run").chmod(int(sys.argv[4], 8))
(top / "tmp").mkdir()
(top / "empty").mkdir()
(top / "link").symlink_to("a/run")
(top / "folder").symlink_to("/a")
"""

Tree = Callable[[str, str, int, str, int], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """The same files, written by a process with its own order, time, modes and umask."""

    def write(name: str, order: str, time: int, mode: str, umask: int) -> Path:
        (tmp_path / name).mkdir()
        arguments = [sys.executable, "-c", WRITE, str(tmp_path / name), order, str(time), mode]
        subprocess.run(arguments, check=True, umask=umask)
        return tmp_path / name

    return write


def members(tar: Path) -> dict[str, tarfile.TarInfo]:
    """The entries by name, in order."""
    with tarfile.open(tar) as archive:
        return {member.name: member for member in archive}


def test_two_folders_give_one_digest(tree: Tree, tmp_path: Path) -> None:
    one = tree("one", "forward", 1_000_000_000, "700", 0o077)
    two = tree("two", "backward", 1_700_000_000, "755", 0o002)
    if os.geteuid() == 0:
        for path in [two, *two.rglob("*")]:
            os.chown(path, 1234, 4321, follow_symlinks=False)
    for folder in (one, two):
        tar.write([(folder, "")], tmp_path / f"{folder.name}.tar")
    sealed = [layers.seal("x", tmp_path / f"{name}.tar") for name in ("one", "two")]
    assert sealed[0].diff_id == sealed[1].diff_id
    assert sealed[0].digest == sealed[1].digest


def test_entries_are_sorted_and_belong_to_root(tree: Tree, tmp_path: Path) -> None:
    tar.write([(tree("one", "backward", 1, "700", 0o077), "")], tmp_path / "x.tar")
    found = members(tmp_path / "x.tar")
    long = "a/" + "long" * 40 + ".txt"
    assert list(found) == ["a", long, "a/run", "a/z.txt", "a/é.txt", "b.txt", "empty", "folder", "link", "tmp"]
    assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in found.values()} == {
        (0, 0, "", "", 0)
    }
    assert {name: oct(entry.mode) for name, entry in found.items()} == {
        "a": "0o755", long: "0o644", "a/run": "0o755", "a/z.txt": "0o644", "a/é.txt": "0o644", "b.txt": "0o644",
        "empty": "0o755", "folder": "0o777", "link": "0o777", "tmp": "0o1777",
    }  # fmt: skip
    assert (found["link"].issym(), found["link"].linkname) == (True, "a/run")
    assert (found["folder"].issym(), found["folder"].linkname) == (True, "/a")


def test_every_parent_is_written_out(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").touch()
    tar.write([(tmp_path / "tree", "opt/lastgood/deep")], tmp_path / "x.tar")
    found = members(tmp_path / "x.tar")
    assert list(found) == ["opt", "opt/lastgood", "opt/lastgood/deep", "opt/lastgood/deep/file"]
    assert all(entry.isdir() for name, entry in found.items() if not name.endswith("file"))


def test_no_setuid_bit_survives(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/su").touch()
    (tmp_path / "tree/su").chmod(0o4755)
    tar.write([(tmp_path / "tree", "")], tmp_path / "x.tar")
    assert oct(members(tmp_path / "x.tar")["su"].mode) == "0o755"


@pytest.mark.parametrize(
    ("method", "file", "media_type"),
    [
        ("zstd", "x.tar.zst", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("gzip", "x.tar.gz", "application/vnd.oci.image.layer.v1.tar+gzip"),
    ],
)
def test_a_sealed_layer_is_named_by_both_its_forms(tmp_path: Path, method: str, file: str, media_type: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(b"x" * 5000)
    archive = tmp_path / "x.tar"
    tar.write([(tmp_path / "tree", "")], archive)
    body = archive.read_bytes()
    layer = layers.seal("application", archive, method)
    assert (layer.name, layer.blob, layer.media_type) == ("application", tmp_path / file, media_type)
    assert not archive.exists()
    with layers.unpacked(layer) as unpacked:
        assert unpacked.read() == body
    assert layer.diff_id == f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert layer.digest == f"sha256:{hashlib.sha256(layer.blob.read_bytes()).hexdigest()}"
    assert (layer.size, layer.compressed) == (5000, layer.blob.stat().st_size)
    assert layers.Layer.of(json.loads(json.dumps(layer.as_dict()))) == layer


# What the pinned libraries make of 20 million bytes (so that zstd's workers share them). With another library, another recipe.
PACKED = {
    ("zstd", True): "bd52aaed876a393bd86a7716295842a0aaf4b85a12bbdc452b4020a88149f6be",
    ("zstd", False): "f207a34c0c019174f6097101863209e677d74f3af03af981be7cf5f0b9e7d1d7",
    ("gzip", True): "cd9021d6bc8e926168fdb36a4368458494db3e6c3269ff050f9d280c348013c0",
    ("gzip", False): "672778bc08589620cb5fa08c36e37db46f78bcf59285b5adcc76337720ebafac",
}


@pytest.mark.parametrize(
    ("method", "once"),
    [pytest.param(*pair, marks=pytest.mark.slow) if pair == ("zstd", True) else pair for pair in PACKED],
)
def test_compression_gives_the_same_bytes_on_every_machine(method: str, once: bool) -> None:
    body = b"".join(f"{number * 7919 % 10007},".encode() * 40 for number in range(110_000))[:20_000_000]
    packed = compress.compress(body, method, once=once)
    assert hashlib.sha256(packed).hexdigest() == PACKED[method, once]
    if method == "gzip":
        assert packed[:10].hex() == "1f8b08000000000002ff", "no name, no time, no system"


def test_a_name_in_no_encoding(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / os.fsdecode(b"caf\xe9.txt")).touch()
    with pytest.raises(UsageError) as caught:
        tar.write([(tmp_path / "tree", "app")], tmp_path / "x.tar")
    assert str(caught.value) == "the name of app/caf\\xe9.txt is not UTF-8: rename it, then build again"
    assert not (tmp_path / "x.tar").exists()


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    os.mkfifo(tmp_path / "tree/pipe")
    with pytest.raises(UsageError) as caught:
        tar.write([(tmp_path / "tree", "")], tmp_path / "x.tar")
    assert (
        str(caught.value)
        == f"{tmp_path}/tree/pipe is a named pipe, which has no place in an image: remove it, then build again"
    )
    (tmp_path / "tree/pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "tree/socket"))
        with pytest.raises(UsageError, match="socket is a socket, which has no place"):
            tar.write([(tmp_path / "tree", "")], tmp_path / "x.tar")


def test_a_second_name_of_a_file_is_a_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(b"same")
    (tmp_path / "one/b").hardlink_to(tmp_path / "one/a")
    (tmp_path / "two/b").write_bytes(b"same")
    for name in ("one", "two"):
        tar.write([(tmp_path / name, "")], tmp_path / f"{name}.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_extended_headers_only_where_they_are_needed(tmp_path: Path) -> None:
    """One for each of what does not fit; nothing else is in them."""
    (tmp_path / "tree").mkdir()
    names = ["plain", "é", "n" * 101, "link"]
    for name in names[:3]:
        (tmp_path / "tree" / name).touch()
    (tmp_path / "tree/link").symlink_to("t" * 101)
    tar.write([(tmp_path / "tree", "")], tmp_path / "x.tar")
    assert {name: entry.pax_headers for name, entry in members(tmp_path / "x.tar").items()} == {
        "link": {"linkpath": "t" * 101}, "n" * 101: {"path": "n" * 101}, "plain": {}, "é": {"path": "é"}
    }  # fmt: skip


def test_nothing_is_left_of_a_layer_that_failed(tmp_path: Path) -> None:
    """The system refuses to write on, as it does when a disk is full."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "tree/file").write_bytes(b"x" * 100_000)
    code = (
        "import resource, signal, sys; from pathlib import Path; from lastgood import tar\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try: tar.write([(Path(sys.argv[1]), '')], Path(sys.argv[2]))\n"
        "except OSError as error: print(error.strerror)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "tree"), str(tmp_path / "out/x.tar")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(layers.__file__).parents[2])},
    )
    assert done.stdout == "File too large\n"
    assert list((tmp_path / "out").iterdir()) == []
