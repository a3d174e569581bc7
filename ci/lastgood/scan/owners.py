"""Whose each byte is: `debian:NAME`, `python:NAME` (names normalised), `project`, `lastgood`, or `unattributed`, which is shown, too.

What the build wrote down as it put the files there (owners.json) is believed first. Without it: a distribution's RECORD, exactly; of
Debian the lists that dpkg keeps, a package's copyright file, and the name that policy gives a library's package
(https://www.debian.org/doc/debian-policy/ch-sharedlibs.html). Byte-code belongs to its source, also where the source was left out.
"""

from __future__ import annotations

import base64
import csv
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import PurePosixPath

from lastgood.scan.layer import Facts
from lastgood.scan.view import View

PROJECT, LASTGOOD, UNATTRIBUTED = "project", "lastgood", "unattributed"
_PROJECTS = ("app/", "static/", "srv/", "code/", "src/")
_CACHE_TAG = re.compile(r"\.(cpython|pypy)-?\d+(\.opt-[12])?$")
_SERVED = re.compile(r"^(?:app/)?static\w*/")
# The build leaves django.contrib's static files out of the distribution once they are collected, and so out of its RECORD.
_CONTRIB = frozenset({"admin", "gis"})
_HASHED = re.compile(r"\.[0-9a-f]{12}(?=\.[^./]+$)")
_SONAME = re.compile(r"^(?P<stem>lib.+?)(?P<dash>-[\d.]+)?\.so(\.(?P<version>\d+))?")


@dataclass(frozen=True)
class Distribution:
    """One Python distribution: `name` is normalised; `metadata` its METADATA; `folder` where its files are counted from."""

    name: str
    version: str
    folder: str
    info: str
    metadata: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    record: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Package:
    """One binary package of Debian. `source_version` differs from `version` where a package was built again."""

    name: str
    version: str
    architecture: str
    source: str = ""
    source_version: str = ""
    homepage: str = ""


def normalised(name: str) -> str:
    """A distribution's name as the index has it: https://packaging.python.org/specifications/name-normalization/."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(view: View) -> tuple[Distribution, ...]:
    """The Python distributions of an image, by name."""
    found = []
    for facts in view.layers:
        for path, text in facts.texts.items():
            if path.endswith(("/METADATA", "/PKG-INFO")) and path in view.entries:
                headers = HeaderParser().parsestr(text)
                info = posixpath.dirname(path)
                metadata = {key: tuple(str(value) for value in headers.get_all(key, ())) for key in set(headers)}
                record = facts.texts.get(f"{info}/RECORD", "")
                found.append(
                    Distribution(
                        normalised(str(headers["Name"])),
                        str(headers["Version"]),
                        posixpath.dirname(info),
                        info,
                        metadata,
                        tuple((row[0], row[1]) for row in csv.reader(record.splitlines()) if len(row) > 1),
                    )
                )
    return tuple(sorted(found, key=lambda one: (one.name, one.info)))


def packages(view: View) -> tuple[Package, ...]:
    """The Debian packages of an image by dpkg's status files, by name."""
    found = {}
    for facts in view.layers:
        for path, text in facts.texts.items():
            if path == "var/lib/dpkg/status" or (
                path.startswith("var/lib/dpkg/status.d/") and not path.endswith(".md5sums")
            ):
                for part in text.split("\n\n"):
                    fields = HeaderParser().parsestr(part.strip() + "\n")
                    if fields["Package"] and "deinstall" not in str(fields["Status"] or ""):
                        name = str(fields["Package"])
                        version = str(fields["Version"])
                        source, _, own = str(fields["Source"] or name).partition(" ")
                        found[name] = Package(
                            name, version, str(fields["Architecture"]), source, own.strip("()") or version,
                            str(fields["Homepage"] or ""),
                        )  # fmt: skip
    return tuple(found[name] for name in sorted(found))


def source_of(path: str) -> str | None:
    """The source whose byte-code `path` is: of `a/__pycache__/b.cpython-313.pyc` and of `a/b.pyc` it is `a/b.py`."""
    if not path.endswith(".pyc"):
        return None
    folder, name = posixpath.split(path.removesuffix(".pyc"))
    if posixpath.basename(folder) == "__pycache__":
        return posixpath.join(posixpath.dirname(folder), _CACHE_TAG.sub("", name) + ".py")
    return f"{path.removesuffix('.pyc')}.py"


class Owners:
    """Who owns what of an image."""

    def __init__(self, view: View) -> None:
        self.distributions = distributions(view)
        self.packages = packages(view)
        self._known: dict[str, str] = {}
        self._hashes: dict[str, str] = {}
        self._tops: dict[str, set[str]] = {}
        self._named = {package.name for package in self.packages}
        for one in self.distributions:
            self._record(one)
        self._debian(view)

    def _record(self, one: Distribution) -> None:
        owner = f"python:{one.name}"
        for name, digest in one.record:
            path = posixpath.normpath(posixpath.join(one.folder, name))
            self._known[path] = owner
            if digest.startswith("sha256="):
                raw = base64.urlsafe_b64decode(digest.removeprefix("sha256=") + "=")
                self._hashes.setdefault(raw.hex(), owner)
            top = path.removeprefix(f"{one.folder}/").split("/", 1)
            if len(top) == 2 and path.startswith(f"{one.folder}/"):
                self._tops.setdefault(f"{one.folder}/{top[0]}", set()).add(owner)
        self._tops[one.info] = {owner}

    def _debian(self, view: View) -> None:
        for facts in view.layers:
            for path, text in facts.texts.items():
                name = posixpath.basename(path)
                if path.startswith("var/lib/dpkg/info/"):
                    package = name.removesuffix(".list").split(":")[0]
                    self._known |= {line.strip("/"): f"debian:{package}" for line in text.splitlines()}
                elif path.endswith(".md5sums"):
                    for line in text.splitlines():
                        self._known[line.partition(" ")[2].strip()] = f"debian:{name.removesuffix('.md5sums')}"

    def of(self, facts: Facts, path: str, sha256: str = "", *, claims: bool = True) -> str:
        """The owner of a file in a layer; what is only claimed counts where nothing else says it, if `claims` may count at all."""
        found = self._of(facts, path, sha256)
        if found == UNATTRIBUTED and claims:
            return facts.claims.get(path) or facts.claims.get(source_of(path) or "") or found
        return found

    def _of(self, facts: Facts, path: str, sha256: str) -> str:
        given = facts.owners
        for one in (path, source_of(path)):
            if one and given.get(one):
                return given[one]
        for one in (path, source_of(path)):
            if one and one in self._known:
                return self._known[one]
        return self._by_place(path, sha256)

    def _by_place(self, path: str, sha256: str) -> str:
        if path.startswith("opt/lastgood/") or path.endswith("-packages/lastgood.pth"):
            return LASTGOOD
        if path.startswith("var/lib/dpkg/"):
            name = posixpath.basename(path).split(".")[0]
            return f"debian:{name}" if name in self._named else "debian:dpkg"
        if path.startswith("usr/share/doc/") and path.split("/")[3] in self._named:
            return f"debian:{path.split('/')[3]}"
        for owner in self._library(path):
            return owner
        parts = path.split("/")
        for number in range(len(parts) - 1, 0, -1):
            owners = self._tops.get("/".join(parts[:number]))
            if owners:  # every recorded file of this folder is of one distribution
                return next(iter(owners)) if len(owners) == 1 else UNATTRIBUTED
        if path.startswith(_PROJECTS):
            return self._hashes.get(sha256, PROJECT) if _SERVED.match(path) else PROJECT
        return UNATTRIBUTED

    def _library(self, path: str) -> Iterable[str]:
        """The package of a library by policy 8.1: the name with its version, `libssl.so.3` in libssl3 or, since 2024, libssl3t64."""
        found = _SONAME.match(posixpath.basename(path))
        if not found or "/" not in path or "packages/" in path:
            return
        stem, dash, version = found["stem"].lower().replace("_", "-"), found["dash"] or "", found["version"] or ""
        hyphen = "-" if stem[-1:].isdigit() else ""
        for base in (f"{stem}{dash}{hyphen}{version}", f"{stem}{dash}", f"{stem}{dash}-{version}"):
            for name in (base, f"{base}t64"):
                if name in self._named:
                    yield f"debian:{name}"

    def version(self, owner: str) -> str:
        """The version of an owner, empty for those that have none."""
        kind, _, name = owner.partition(":")
        known: tuple[Distribution | Package, ...] = (*self.distributions,) if kind == "python" else (*self.packages,)
        return next((one.version for one in known if name and one.name == name), "")


def attribute(view: View, owners: Owners, *, claims: bool = True) -> dict[tuple[int, str], str]:
    """{(layer's number, path): owner} of every entry, each exactly once; without `claims` as if nobody had claimed anything.

    A folder has no bytes but its header, which belongs to the first file in it (an empty one was made by lastgood). A static file that
    was copied belongs to whose it is by its hash; one whose name or content collectstatic or a compressor changed belongs to the owner of
    the file of the same name beside it, else of its folder where that is one distribution's alone.
    """
    found: dict[tuple[int, str], str] = {}
    for number, facts in enumerate(view.layers):
        for entry in facts.entries:
            if entry.kind != "folder":
                found[number, entry.path] = owners.of(facts, entry.path, entry.sha256, claims=claims)
        if not facts.owners:
            _static(number, facts, found, any(one.name == "django" for one in owners.distributions))
        first: dict[str, str] = {}
        for entry in facts.entries:
            for parent in PurePosixPath(entry.path).parents if entry.kind != "folder" else ():
                first.setdefault(parent.as_posix(), found[number, entry.path])
        for entry in facts.entries:
            if entry.kind == "folder":
                found[number, entry.path] = first.get(entry.path, LASTGOOD)
    return found


def _static(number: int, facts: Facts, found: dict[tuple[int, str], str], django: bool) -> None:
    plain: dict[str, str] = {}
    folders: dict[str, set[str]] = {}
    files = {
        entry.path: _SERVED.sub("", entry.path)
        for entry in facts.entries
        if entry.is_file and _SERVED.match(entry.path)
    }
    for path, name in files.items():
        owner = found[number, path]
        if owner != PROJECT:
            plain[_HASHED.sub("", name)] = owner
            folders.setdefault(name.split("/")[0], set()).add(owner)
    for path, name in files.items():
        if found[number, path] == PROJECT:
            same = plain.get(_HASHED.sub("", re.sub(r"\.(gz|br|zst)$", "", name)))
            folder = name.split("/")[0]
            beside = folders.get(folder, {"python:django"} if django and folder in _CONTRIB else set())
            beside = beside if facts.name == "static" else set()
            found[number, path] = same or (next(iter(beside)) if len(beside) == 1 else PROJECT)
