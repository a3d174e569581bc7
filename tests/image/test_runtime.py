"""The runtime root: as small as it gets without taking code, the same in both modes, every file with its owner."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from lastgood.debian import chosen
from lastgood.debian.stages import Stages
from lastgood.image import runtime as module
from lastgood.image.runtime import Runtime
from lastgood.platform import AMD64, ARM64, Platform, native
from lastgood.python import imports
from lastgood.python.contained import Contained
from lastgood.python.interpreter import DIST_PACKAGES, STDLIB, Python

pytestmark = pytest.mark.slow


def runtime(**settings: Any) -> Runtime:
    """The bundle's own, with these settings."""
    return Runtime(Stages(chosen.bundled()), **settings)


def owners(root: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((root.parent / "owners.json").read_text(encoding="utf-8"))
    return found


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_symlink() or path.is_file()}


@pytest.mark.parametrize("platform", [AMD64, ARM64], ids=["amd64", "arm64"])
def test_every_file_has_an_owner(platform: Platform) -> None:
    root = runtime().root(platform)
    found = owners(root)
    assert set(found) == files(root)
    assert {owner.partition(":")[0] for owner in found.values()} == {"debian"}
    assert found["usr/bin/python3.13"] == "debian:python3.13-minimal"
    assert found["etc/ssl/certs/ca-certificates.crt"] == "debian:ca-certificates"
    assert found[f"{STDLIB}/json/decoder.pyc"] in (
        "debian:libpython3.13-stdlib",
        "debian:libpython3.13-minimal",
    )
    assert found[f"{platform.libraries}/libc.so.6"] == "debian:libc6"
    assert found["var/lib/dpkg/status.d/libc6"] == "debian:libc6"
    assert found["etc/passwd"] == "debian:base-files"


def test_the_standard_library_is_sourceless() -> None:
    root = runtime().root(native())
    left = [path.relative_to(root).as_posix() for path in (root / "usr/lib").rglob("*.py")]
    assert left == [f"{STDLIB}/sitecustomize.py"], "a link to /etc"
    alias = root / STDLIB / f"_sysconfigdata__{native().triplet}.pyc"
    assert alias.is_symlink()
    assert alias.is_file()
    assert not list((root / STDLIB).rglob("__pycache__"))


def test_byte_code_is_the_same_for_every_platform() -> None:
    """What was compiled by this machine's Python for both."""
    one, two = (
        {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (root / STDLIB).rglob("*.pyc")
        }
        for root in (runtime().root(AMD64), runtime().root(ARM64))
    )
    differing = {name for name in one if name in two and one[name] != two[name]}
    assert len(one) > 400
    assert {Path(name).name for name in set(one) ^ set(two)} == {
        f"_sysconfigdata__{prefix}{platform.triplet}.pyc" for platform in (AMD64, ARM64) for prefix in ("", "linux_")
    }
    assert differing == set()


def test_every_module_of_the_standard_library_is_imported_without_sources(tmp_path: Path) -> None:
    """As it is from the whole library, but for those that the image leaves out with the library or data that they need."""
    whole, root = Stages(chosen.bundled()).wheels(), runtime().root(native())
    names = [
        path for path in files(whole / STDLIB) if not path.startswith(("test/", "idlelib/", "lib-dynload/", "config-"))
    ]
    by_owner = imports.modules(dict.fromkeys(names, "debian:python"))
    by_owner["debian:python"] = [name for name in by_owner["debian:python"] if name not in ("antigravity", "this")]
    (tmp_path / DIST_PACKAGES).mkdir(parents=True)
    before, after = (imports.survey(tmp_path, Contained(Python(one)), by_owner) for one in (whole, root))
    lost = {
        name if name.startswith("dbm") else name.partition(".")[0]
        for name, error in after.items()
        if error is not None and before[name] is None
    }
    assert lost == {"_pyrepl", "curses", "dbm.ndbm", "pydoc_data", "venv"}


def test_without() -> None:
    """What a project says it does without goes, with its Debian package and that one's entry in the status; all else is as it was."""
    whole, root = runtime().root(native()), runtime(without=("sqlite3", "cjk-codecs")).root(native())
    gone = files(whole) - files(root)
    assert files(root) < files(whole)
    assert {"var/lib/dpkg/status.d/libsqlite3-0", f"{STDLIB}/encodings/gbk.pyc"} <= gone
    short = {name.replace(native().libraries, "LIB").replace(STDLIB, "PY") for name in gone}
    assert {name for name in short if not name.startswith(("PY/sqlite3/", "LIB/libsqlite3.so", "PY/encodings/"))} == {
        "PY/dbm/sqlite3.pyc",
        *(f"PY/lib-dynload/{name}.cpython-313-{native().triplet}.so" for name in (
            "_codecs_cn", "_codecs_hk", "_codecs_iso2022", "_codecs_jp", "_codecs_kr", "_codecs_tw", "_multibytecodec", "_sqlite3")),
        "usr/share/doc/libsqlite3-0/copyright",
        "var/lib/dpkg/status.d/libsqlite3-0",
    }  # fmt: skip
    assert owners(root).keys() == files(root)


def test_encodings_that_stay_work_without_those_that_went(tmp_path: Path) -> None:
    """Every encoding whose module is left can be looked up: none of them needs what `cjk-codecs` took."""
    root = runtime(without=("sqlite3", "cjk-codecs")).root(native())
    ask = "import codecs, pathlib, sys; [codecs.lookup(n) for n in sys.argv[1:]]; print('all')"
    names = [path.stem for path in (root / STDLIB / "encodings").glob("*.pyc")]
    left = sorted(set(names) - {"__init__", "aliases", "mbcs", "oem", "_win_cp_codecs"})
    assert len(left) > 60
    done = Python(root).run(["-c", ask, *left], environment={})
    assert (done.stdout, done.stderr) == ("all\n", "")


def test_a_library_that_is_asked_for_stays() -> None:
    root = runtime(without=("sqlite3",), keep=("usr/lib/python3.13/sqlite3",)).root(native())
    assert (root / STDLIB / "sqlite3/__init__.py").is_file()
    assert not (root / STDLIB / "dbm/sqlite3.pyc").is_file()
    assert not module._asked_for(root, "libsqlite3-0")
    assert module._asked_for(root, "libc6")


def test_libraries_are_found_by_name_as_on_debian(tmp_path: Path) -> None:
    """Against Debian's own ldconfig, of the same root; the newest where there are several, and nothing that is no library."""
    root = runtime().root(native())
    folder = root / native().libraries
    names = sorted({path.name[3:].partition(".so")[0] for path in folder.glob("lib*.so*")})
    ask = "import sys, json; from ctypes.util import find_library; print(json.dumps({n: find_library(n) for n in sys.argv[1:]}))"
    done = Python(root).run(["-c", ask, *names, "nothing-like-it"], environment={})
    found = json.loads(done.stdout)
    assert found.pop("nothing-like-it") is None
    for name, library in found.items():
        with (folder / library).open("rb") as file:
            dynamic = ELFFile(file).get_section_by_name(".dynamic")
            assert [tag.soname for tag in dynamic.iter_tags("DT_SONAME")] == [library], name
    assert {name: found[name] for name in ("c", "z", "ssl")} == {
        "c": "libc.so.6",
        "z": "libz.so.1",
        "ssl": "libssl.so.3",
    }
