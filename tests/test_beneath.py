"""What we write into an unpacked tree stays in it, whatever links the packages brought."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.deb import package
from lastgood import beneath
from lastgood.debian import unpack
from lastgood.debian.stages import add_certificates
from lastgood.errors import UsageError
from lastgood.image import runtime
from lastgood.local import postgres_image
from lastgood.python import bytecode
from lastgood.python.interpreter import Python
from lastgood.scan import secrets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty tree, and outside of it what must stay as it is."""
    outside = tmp_path / "outside"
    (outside / "ca-certificates/mozilla").mkdir(parents=True)
    (outside / "ca-certificates/mozilla/ours.crt").write_text("ours", encoding="utf-8")
    (outside / "empty").mkdir()
    (outside / "passwd").write_text("ours", encoding="utf-8")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def state(root: Path) -> dict[str, str]:
    outside = root.parent / "outside"
    return {
        path.relative_to(outside).as_posix(): path.read_text(encoding="utf-8") if path.is_file() else "folder"
        for path in outside.rglob("*")
    }


def unpacked(root: Path, *links: tuple[str, str]) -> None:
    """The links as a package brings them: absolute ones are right where the tree will be the root."""
    entries = [
        (f"./{name}", tarfile.SYMTYPE, target.replace("OUTSIDE", str(root.parent / "outside")))
        for name, target in links
    ]
    unpack.unpack([("x", package(root.parent / "x.deb", entries))], root)


def certificates(root: Path) -> None:
    (root / "usr/share/ca-certificates/mozilla").mkdir(parents=True)
    (root / "usr/share/ca-certificates/mozilla/a.crt").write_text("a", encoding="utf-8")
    add_certificates(root)


Step = Callable[[Path], object]


@pytest.mark.parametrize(
    ("link", "step"),
    [
        (("etc", "OUTSIDE"), runtime._finish),
        (("home", "OUTSIDE"), runtime._finish),
        (("opt", "OUTSIDE/empty"), runtime._finish),
        (("usr/local/lib", "OUTSIDE"), runtime._finish),
        (("usr/share", "OUTSIDE"), runtime._finish),  # its empty folders went
        (("usr/share", "OUTSIDE"), add_certificates),  # read into the image, and then removed
        (("usr/share/ca-certificates", "OUTSIDE/ca-certificates"), add_certificates),
        (("etc/ssl/certs", "OUTSIDE"), certificates),
        (("usr/lib/ssl", "OUTSIDE"), certificates),
        (("etc/postgresql", "OUTSIDE"), postgres_image._finish),
        (("var/lib", "OUTSIDE"), postgres_image._finish),
        (
            ("usr/lib/python3.13", "OUTSIDE"),
            lambda root: bytecode.compile_tree(root, ["usr/lib/python3.13"], Python(root)),
        ),
    ],
)
def test_a_folder_that_is_a_link_out_of_the_tree(root: Path, link: tuple[str, str], step: Step) -> None:
    before = state(root)
    if not link[0].startswith("var"):
        unpacked(root, link)
    else:
        (root / "var").mkdir()
        (root / link[0]).symlink_to(root.parent / "outside")
    with pytest.raises(UsageError) as caught:
        step(root)
    where = link[1].replace("OUTSIDE", str(root.parent / "outside"))
    assert str(caught.value) == (
        f"{link[0]} in {root} is a link to {where}, which leads out of the tree: nothing is read or written there; choose another version "
        "of the package that has it"
    )
    assert state(root) == before


def test_a_file_that_is_a_link_is_replaced(root: Path) -> None:
    before = state(root)
    unpacked(root, ("etc/passwd", "OUTSIDE/passwd"), ("etc/group", "OUTSIDE/new"), ("etc/nsswitch.conf", "/dev/null"))
    runtime._finish(root)
    assert (root / "etc/passwd").read_text(encoding="utf-8").startswith("root:x:0:0:")
    assert not any((root / "etc" / name).is_symlink() for name in ("passwd", "group", "nsswitch.conf"))
    assert state(root) == before


def test_the_control_data_of_a_package(root: Path) -> None:
    """Its name is the last part of the path, and the folder that of the package before it."""
    before = state(root)
    with pytest.raises(UsageError, match=r"^var/lib/dpkg/status\.d in .* leads out of the tree"):
        unpacked(root, ("var/lib/dpkg/status.d", "OUTSIDE"))
    shutil.rmtree(root)
    unpacked(root, ("var/lib/dpkg/status.d/x", "OUTSIDE/passwd"))
    assert not (root / "var/lib/dpkg/status.d/x").is_symlink()
    assert state(root) == before


def test_a_certificate_that_is_a_link_is_none(root: Path) -> None:
    """Else what it leads to on this machine would be in the image."""
    unpacked(root, ("usr/share/ca-certificates/mozilla/b.crt", "OUTSIDE/passwd"))
    (root / "usr/share/ca-certificates/mozilla/a.crt").write_text("a", encoding="utf-8")
    add_certificates(root)
    assert (root / "etc/ssl/certs/ca-certificates.crt").read_text(encoding="utf-8") == "a\n"


def test_links_inside_the_tree_are_followed(root: Path) -> None:
    unpacked(root, ("etc", "usr/etc"), ("usr/etc/x", "y"))
    runtime._finish(root)
    assert sorted(path.name for path in (root / "usr/etc").iterdir()) == ["group", "nsswitch.conf", "passwd", "x"]


def test_byte_code_goes_beside_its_source(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked(root, ("p/__pycache__", "OUTSIDE"))
    (root / "p/a.py").write_text("1\n", encoding="utf-8")
    seen: dict[str, tuple[Path, Path]] = {}
    monkeypatch.setattr(bytecode, "compiled", lambda wanted, _python: seen.update(wanted) or {})
    bytecode.compile_files(root, [root / "p/a.py"], Python(root))
    (target,) = (target for _, target in seen.values())
    assert target == root / "p/__pycache__/a.cpython-313.pyc"
    assert not target.parent.is_symlink()


def test_a_second_name_of_a_file_is_not_written_into(root: Path) -> None:
    (root / "a").write_text("a", encoding="utf-8")
    (root / "b").hardlink_to(root / "a")
    beneath.write(root, "b", "b")
    assert (root / "a").read_text(encoding="utf-8") == "a"


def test_a_file_where_a_folder_has_to_be_and_the_other_way_round(root: Path) -> None:
    (root / "a").touch()
    (root / "b").mkdir()
    with pytest.raises(UsageError, match=r"^a in .* is no folder, and has to be one: choose another version"):
        beneath.write(root, "a/c", "")
    with pytest.raises(UsageError, match="/b is no file, and lastgood has to write one there: choose another version"):
        beneath.write(root, "b", "")


def test_removing(root: Path) -> None:
    before = state(root)
    unpacked(root, ("a", "OUTSIDE"), ("b/c", "OUTSIDE"))
    beneath.remove(root, "nothing/here")
    beneath.remove(root, "a")
    beneath.remove(root, "b")
    assert not (root / "a").is_symlink()
    assert not (root / "b").exists()
    assert state(root) == before


def test_a_path_of_a_layer_that_is_searched_for_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    key = b"key = '-----BEGIN RSA PRIVATE KEY-----\n" + b"A" * 64 + b"\n'\n"
    names = ("../../outside.py", "a/../../b.py", "app/x", "app/x/y.py", "app/" + "n" * 300 + ".py", "..")
    found = secrets.search(dict.fromkeys(names, key))
    assert set(found) == set(names), "every one was read"
    assert list(tmp_path.iterdir()) == []
