"""The Debian lock: exact versions and sha256 of the packages of each stage and architecture."""

from __future__ import annotations

import hashlib
import json
import lzma
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from debian.deb822 import Release
from debian.debian_support import version_compare

from lastgood import parallel
from lastgood.debian import archive
from lastgood.debian.closure import Candidate, Index, Resolver
from lastgood.debian.mirror import STAMP, Mirror
from lastgood.debian.seeds import ARCHITECTURES, Seeds
from lastgood.errors import UsageError
from lastgood.report.text import line, masked

SCHEMA = 2
PROJECT_LOCK = "docker/packages.lock"  # below the project's root
_NAME = r"[a-z0-9][a-z0-9+.-]+"
# What each field of an entry may be: names and hashes become the names of files here, and a pull request writes them.
_FIELDS: Mapping[str, str] = {
    "name": _NAME, "version": r"[A-Za-z0-9.+:~-]+", "architecture": rf"all|{'|'.join(ARCHITECTURES)}", "source": _NAME,
    "archive": "debian|debian-security", "path": r"pool/(?!.*(^|/)\.\.(/|$))[\w./+~%:-]+\.deb", "sha256": "[0-9a-f]{64}",
}  # fmt: skip


@dataclass(frozen=True)
class Package:
    """One binary package, exactly. `path` is below the archive (`debian` or `debian-security`); `size` is in bytes."""

    name: str
    version: str
    architecture: str
    source: str
    archive: str
    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Lock:
    """The packages of every stage and architecture.

    `seeds` is the digest of the seeds they were resolved from; `resolved` is the date of the newest index that was read, as in the
    address of a snapshot archive (20261124T160000Z).
    """

    suite: str
    seeds: str
    resolved: str
    stages: Mapping[str, Mapping[str, tuple[Package, ...]]]

    @classmethod
    def read(cls, file: Path) -> Lock:
        """Reads a lock file. Raises UsageError where it is missing, damaged, edited or of another schema."""
        command = command_for(file)
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            if data["schema"] != SCHEMA:
                raise UsageError(f"{file} has schema {data['schema']}, this lastgood reads {SCHEMA}: run `{command}`")
            stages = {
                stage: {one: tuple(Package(**entry) for entry in entries) for one, entries in table.items()}
                for stage, table in data["stages"].items()
            }
            found = cls(data["suite"], data["seeds"], data["resolved"], stages)
            datetime.strptime(found.resolved, STAMP).replace(tzinfo=UTC)
            found.check()
            content = data["content"]
        except FileNotFoundError:
            raise UsageError(f"{file} does not exist: run `{command}` to make it") from None
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise UsageError(f"{file} is not a Debian lock ({error}): restore it from git or run `{command}`") from None
        if content != found.content:
            raise UsageError(f"{file} was edited by hand or merged: restore it from git or run `{command}`")
        return found

    def check(self) -> None:
        """Raises ValueError for an entry that no package of Debian's could have, or that is there twice."""
        seen = set()
        for stage, one, package in self.all():
            for key, value in asdict(package).items():
                right = (
                    re.fullmatch(_FIELDS[key], value, re.ASCII) if key in _FIELDS and isinstance(value, str) else None
                )
                if not (right if key in _FIELDS else isinstance(value, int) and value > 0):
                    raise ValueError(f"{line(str(package.name))} has the {key} {line(repr(value))}")
            place = (stage, one, package.name, package.architecture)
            if place in seen:
                raise ValueError(f"{package.name} is there twice")
            seen.add(place)

    def packages(self, stage: str, architecture: str) -> tuple[Package, ...]:
        """The packages of one stage for one architecture, by name. Raises UsageError where the lock does not have them."""
        try:
            return self.stages[stage][architecture]
        except KeyError:
            raise UsageError(
                f"the Debian lock has no stage {stage!r} for {architecture}: run `lastgood lock`"
            ) from None

    def all(self) -> Iterator[tuple[str, str, Package]]:
        """(stage, architecture, package) of everything in the lock."""
        for stage, table in self.stages.items():
            for architecture, packages in table.items():
                for package in packages:
                    yield stage, architecture, package

    @property
    def content(self) -> str:
        """A sha256 of all packages, which tells a lock that was edited."""
        lines = [json.dumps([stage, one, asdict(package)], sort_keys=True) for stage, one, package in self.all()]
        return hashlib.sha256("\n".join([self.suite, self.seeds, self.resolved, *lines]).encode()).hexdigest()

    def text(self) -> str:
        """The lock file's content: JSON with one package a line, so that a diff reads like a list of changes."""
        lines = ["{"]
        lines += [f'  "{key}": {json.dumps(getattr(self, key))},' for key in ("suite", "seeds", "resolved", "content")]
        lines.append(f'  "schema": {SCHEMA},\n  "stages": {{')
        tables = []
        for stage, table in self.stages.items():
            lists = []
            for architecture, packages in table.items():
                body = ",\n".join(f"        {json.dumps(asdict(package))}" for package in packages)
                lists.append(f'      "{architecture}": [\n{body}\n      ]')
            inner = ",\n".join(lists)
            tables.append(f'    "{stage}": {{\n{inner}\n    }}')
        return "\n".join([*lines, ",\n".join(tables), "  }", "}", ""])

    def key(self, stage: str, architecture: str) -> str:
        """A sha256 that changes when any package of the stage does."""
        hashes = "".join(package.sha256 for package in self.packages(stage, architecture))
        return hashlib.sha256(hashes.encode()).hexdigest()


def command_for(file: Path) -> str:
    """What a person runs to make this lock."""
    if file.parts[-2:] == tuple(PROJECT_LOCK.split("/")):
        return "lastgood lock"
    return f"lastgood lock-base --seeds {file.with_suffix('.toml')}"


def resolve(
    seeds: Seeds,
    mirror: Mirror,
    before: Lock | None = None,
    upgrade: frozenset[str] | None = frozenset(),
    floor: Iterable[Lock] = (),
) -> Lock:
    """Resolves the seeds against the suite, its updates and its security archive, for all architectures.

    The versions of `before` stay as long as they exist and fit, but for those of the packages named in `upgrade` (None: all). The mirror
    must be as new as `before` and the locks of `floor`. Raises UsageError for a mirror that does not answer or is older, a signature, hash
    or date that is wrong, or a package that does not exist.
    """
    return resolve_from(read(seeds.suite, mirror), seeds, before, upgrade, floor)


@dataclass(frozen=True)
class Signed:
    """What a suite holds, all of it signed: the indices by architecture, when the newest Release was made, the mirror's address."""

    indices: Mapping[str, Index]
    made: datetime
    origin: str


def resolve_from(
    signed: Signed,
    seeds: Seeds,
    before: Lock | None = None,
    upgrade: frozenset[str] | None = frozenset(),
    floor: Iterable[Lock] = (),
) -> Lock:
    """As `resolve`, with indices that were read already."""
    for lock in filter(None, (before, *floor)):
        if lock.suite == seeds.suite:
            _check_age(signed, lock)
    keep = {
        (package.name, one): package.version
        for _, architecture, package in (before.all() if before and upgrade is not None else ())
        for one in ([package.architecture] if package.architecture != "all" else [architecture, *ARCHITECTURES])
        if package.name not in (upgrade or ())
    }
    found = Resolver(signed.indices, keep).resolve(seeds)
    stages = {
        stage: {one: tuple(of(entry) for entry in entries) for one, entries in table.items()}
        for stage, table in found.items()
    }
    if before and (before.suite, before.seeds, before.stages) == (seeds.suite, seeds.digest, stages):
        return before
    return Lock(seeds.suite, seeds.digest, signed.made.strftime(STAMP), stages)


def _check_age(signed: Signed, lock: Lock) -> None:
    """Raises UsageError for indices that are older than a lock's: Debian's main suite never expires, so a mirror could stay in the past.

    The date is that of the newest suite, so the versions are compared, too.
    """
    advice = "the mirror stands still, or someone holds it back; name another mirror"
    if signed.made.strftime(STAMP) < lock.resolved:
        raise UsageError(
            f"{signed.origin} is of {signed.made.strftime(STAMP)}, and the lock of {lock.resolved}: {advice} (or try again later)"
        )
    for _, architecture, package in lock.all():
        index = signed.indices[architecture if package.architecture == "all" else package.architecture]
        newest = index.newest(package.name)
        if newest and version_compare(newest.version, package.version) < 0:
            raise UsageError(
                f"the newest {package.name} at {signed.origin} is {newest.version}, and the lock has {package.version}: {advice}"
            )


def read(suite: str, mirror: Mirror, at: datetime | None = None) -> Signed:
    """The indices of the suite, its updates and its security archive, as `mirror` gives them; `at` is when they must be in date (now)."""
    suites = archive.suites(suite)
    releases = parallel.each(lambda one: archive.release(mirror, *one, at), suites, len(suites))
    wanted = [(one, *pair) for one in ARCHITECTURES for pair in zip(suites, releases, strict=True)]

    def text(job: tuple[str, tuple[str, str], Release]) -> tuple[str, str]:
        architecture, (where, name), release = job
        body = archive.index(mirror, where, name, release, f"main/binary-{architecture}/Packages.xz")
        return where, lzma.decompress(body).decode()

    texts = parallel.each(text, wanted, len(wanted))
    count = len(suites)
    indices = {one: Index(texts[place * count : (place + 1) * count]) for place, one in enumerate(ARCHITECTURES)}
    return Signed(indices, max(archive.dated(release) for release in releases), masked(mirror.debian))


def of(found: Candidate) -> Package:
    """What a lock says of a version in an archive."""
    stanza = found.stanza
    return Package(
        name=stanza["Package"],
        version=stanza["Version"],
        architecture=stanza["Architecture"],
        source=stanza.get("Source", stanza["Package"]).split()[0],
        archive=found.archive,
        path=stanza["Filename"],
        sha256=stanza["SHA256"],
        size=int(stanza["Size"]),
    )
