"""Which version of which architecture is taken: cross compilers, versions that stay, versions that must move together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lastgood.debian import locks
from lastgood.debian.locks import Lock
from lastgood.debian.seeds import Seeds
from lastgood.errors import UsageError

if TYPE_CHECKING:
    from fixtures.archive import Archive

CROSS = """
suite = "trixie"
[wheels]
packages = ["python"]
[compiler]
on = "wheels"
packages = ["libc-dev", "make"]
without = ["docs"]
[compiler.amd64]
packages = ["gcc"]
[compiler.arm64]
machine = "amd64"
packages = ["gcc-arm64"]
"""
ONE = 'suite = "trixie"\n[runtime]\npackages = {packages!r}\n'


def seeds(folder: Path, text: str) -> Seeds:
    """The seeds of a base.toml with that text."""
    file = folder / "base.toml"
    file.write_text(text, encoding="utf-8")
    return Seeds.read(file)


def names(lock: Lock, stage: str, architecture: str) -> list[str]:
    """`name:architecture` of a stage."""
    return [f"{package.name}:{package.architecture}" for package in lock.packages(stage, architecture)]


def versions(lock: Lock) -> dict[str, str]:
    """{name: version} of the runtime of amd64."""
    return {package.name: package.version for package in lock.packages("runtime", "amd64")}


def test_a_cross_compiler_runs_on_this_machine_and_links_the_others_libraries(archive: Archive, tmp_path: Path) -> None:
    archive.add("python", fields={"Depends": "libc"})
    archive.add("libc", fields={"Multi-Arch": "same", "Section": "libs"})
    archive.add("libc-dev", fields={"Multi-Arch": "same", "Depends": "libc, headers, libc-tool"})
    archive.add("headers", fields={"Architecture": "all", "Depends": "docs"})
    archive.add("libc-tool", fields={"Multi-Arch": "foreign"})
    archive.add("make", fields={"Multi-Arch": "allowed", "Section": "devel"})
    archive.add("gcc", fields={"Depends": "libc"})
    archive.add("gcc-arm64", fields={"Depends": "libc"}, architectures=("amd64",))
    lock = locks.resolve(seeds(tmp_path, CROSS), archive.publish().mirror)
    assert names(lock, "wheels", "arm64") == ["libc:arm64", "python:arm64"]
    assert names(lock, "compiler", "amd64") == [
        "gcc:amd64", "headers:all", "libc:amd64", "libc-dev:amd64", "libc-tool:amd64", "make:amd64", "python:amd64",
    ]  # fmt: skip
    assert names(lock, "compiler", "arm64") == [
        "gcc-arm64:amd64", "headers:all", "libc:amd64", "libc:arm64", "libc-dev:arm64", "libc-tool:amd64", "make:amd64", "python:amd64",
    ]  # fmt: skip


def test_a_project_adds_libraries_and_what_is_compiled_against_them(archive: Archive, tmp_path: Path) -> None:
    archive.add("python")
    for name in ("libc-dev", "make", "gcc", "gcc-arm64"):
        archive.add(name)
    archive.add("libpq5", fields={"Section": "libs"})
    archive.add("libpq-dev", fields={"Section": "libdevel", "Depends": "libpq5 (= 1.0-1)"})
    text = CROSS.replace("[wheels]", "[runtime]\npackages = []\n[wheels]")
    added = seeds(tmp_path, text).add(Path("pyproject.toml"), ["libpq5"], ["libpq-dev"], ["arm64"])
    lock = locks.resolve(added, archive.publish().mirror)
    assert names(lock, "runtime", "amd64") == [], "the project does not ship it"
    assert names(lock, "runtime", "arm64") == ["libpq5:arm64"]
    assert names(lock, "compiler", "arm64")[-4:] == ["libpq-dev:arm64", "libpq5:arm64", "make:amd64", "python:amd64"]
    assert added.digest != seeds(tmp_path, text).digest


def test_what_is_asked_for_by_name_is_not_left_out(archive: Archive, tmp_path: Path) -> None:
    archive.add("python")
    archive.add("docs")
    for name in ("libc-dev", "make", "gcc", "gcc-arm64"):
        archive.add(name)
    added = seeds(tmp_path, CROSS).add(Path("pyproject.toml"), [], ["docs"], ["amd64"])
    assert "docs:amd64" in names(locks.resolve(added, archive.publish().mirror), "compiler", "amd64")


def test_an_unknown_package_and_the_nearest_names(archive: Archive, tmp_path: Path) -> None:
    for name in ("libpq5", "libpq-dev", "zlib1g"):
        archive.add(name)
    added = seeds(tmp_path, ONE.format(packages=[])).add(Path("x/pyproject.toml"), ["libpq-5"], [], ["amd64"])
    with pytest.raises(UsageError) as caught:
        locks.resolve(added, archive.publish().mirror)
    assert str(caught.value) == (
        "pyproject.toml: [tool.lastgood.image] packages asks for the Debian package 'libpq-5', which does not exist in trixie for amd64 "
        "(the nearest names are libpq5, libpq-dev): mend the name in pyproject.toml"
    )


@pytest.mark.parametrize("name", ["libpq5; rm -rf", "LibPQ5", "x", "libpq5:sparc", "--force"])
def test_what_can_not_be_the_name_of_a_package(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        seeds(tmp_path, ONE.format(packages=[])).add(Path("pyproject.toml"), [], [name], ["amd64"])
    assert str(caught.value) == (
        f"pyproject.toml: [tool.lastgood.image] build-packages: {name!r} is not the name of a Debian package: mend it"
    )


def test_versions_stay_as_long_as_they_exist(archive: Archive, tmp_path: Path) -> None:
    wanted = seeds(tmp_path, ONE.format(packages=["libssl", "zlib1g", "tzdata"]))
    archive.add("libssl", "3.5.1")
    archive.add("zlib1g", "1.2")
    archive.add("tzdata", "2026a", fields={"Architecture": "all"})
    first = locks.resolve(wanted, archive.publish().mirror)
    archive.add("libssl", "3.5.2", suite="trixie-security")
    archive.add("zlib1g", "1.3", suite="trixie-updates")
    archive.add("tzdata", "2026b", suite="trixie-updates", fields={"Architecture": "all"})
    mirror = archive.publish().mirror
    assert locks.resolve(wanted, mirror, first) == first
    one = locks.resolve(wanted, mirror, first, frozenset({"libssl"}))
    assert versions(one) == {"libssl": "3.5.2", "zlib1g": "1.2", "tzdata": "2026a"}
    everything = locks.resolve(wanted, mirror, first, None)
    assert versions(everything) == {"libssl": "3.5.2", "zlib1g": "1.3", "tzdata": "2026b"}
    for stanzas in archive.stanzas.values():
        stanzas[:] = [text for text in stanzas if "Version: 1.2\n" not in text]
    gone = locks.resolve(wanted, archive.publish().mirror, first)
    assert versions(gone) == {"libssl": "3.5.1", "zlib1g": "1.3", "tzdata": "2026a"}


def test_a_version_that_no_longer_fits_gives_way(archive: Archive, tmp_path: Path) -> None:
    """libpq-dev wants libpq5 of just its own version, and only the new libpq-dev is there."""
    archive.add("libpq5", "17.1")
    archive.add("zlib1g", "1.2")
    first = locks.resolve(seeds(tmp_path, ONE.format(packages=["libpq5", "zlib1g"])), archive.publish().mirror)
    archive.add("libpq5", "17.2", suite="trixie-security")
    archive.add("zlib1g", "1.3", suite="trixie-updates")
    archive.add("libpq-dev", "17.2", suite="trixie-security", fields={"Depends": "libpq5 (= 17.2)"})
    wanted = seeds(tmp_path, ONE.format(packages=["libpq5", "libpq-dev", "zlib1g"]))
    found = locks.resolve(wanted, archive.publish().mirror, first)
    assert versions(found) == {"libpq5": "17.2", "libpq-dev": "17.2", "zlib1g": "1.2"}


def test_a_mirror_amid_an_update(archive: Archive, tmp_path: Path) -> None:
    archive.add("libpq5", "17.1")
    archive.add("libpq-dev", "17.2", fields={"Depends": "libpq5 (= 17.2)"})
    with pytest.raises(UsageError) as caught:
        locks.resolve(seeds(tmp_path, ONE.format(packages=["libpq-dev"])), archive.publish().mirror)
    assert str(caught.value) == (
        "libpq-dev 17.2 asks for libpq5 (= 17.2), and the Debian mirror has 17.1: the mirror is amid an update; try again later, or "
        "name another mirror"
    )


def test_a_virtual_package_of_a_version_is_believed(archive: Archive, tmp_path: Path) -> None:
    archive.add("app", fields={"Depends": "libz (>= 2) | libz-ng"})
    archive.add("libz", "1.0")
    archive.add("ng", fields={"Provides": "libz (= 2.5)"})
    lock = locks.resolve(seeds(tmp_path, ONE.format(packages=["ng", "libz", "app"])), archive.publish().mirror)
    assert sorted(versions(lock)) == ["app", "libz", "ng"]
