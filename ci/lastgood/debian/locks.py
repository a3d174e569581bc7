"""The Debian lock: exact versions and sha256 of the packages of each stage and architecture."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from debian.deb822 import Release

from lastgood import parallel
from lastgood.debian import archive
from lastgood.debian.closure import Candidate, Index, Resolver
from lastgood.debian.mirror import STAMP, Mirror
from lastgood.debian.seeds import ARCHITECTURES, Seeds
from lastgood.errors import UsageError

SCHEMA = 2
PROJECT_LOCK = "docker/packages.lock"  # below the project's root


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
            content = data["content"]
        except FileNotFoundError:
            raise UsageError(f"{file} does not exist: run `{command}` to make it") from None
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise UsageError(f"{file} is not a Debian lock ({error}): restore it from git or run `{command}`") from None
        if content != found.content:
            raise UsageError(f"{file} was edited by hand or merged: restore it from git or run `{command}`")
        return found

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
    seeds: Seeds, mirror: Mirror, before: Lock | None = None, upgrade: frozenset[str] | None = frozenset()
) -> Lock:
    """Resolves the seeds against the suite, its updates and its security archive, for all architectures.

    The versions of `before` stay as long as they exist and fit, but for those of the packages named in `upgrade` (None: all).
    Raises UsageError for a mirror that does not answer, a signature, hash or date that is wrong, or a package that does not exist.
    """
    indices, newest = _indices(seeds.suite, mirror)
    keep = {
        (package.name, one): package.version
        for _, architecture, package in (before.all() if before and upgrade is not None else ())
        for one in ([package.architecture] if package.architecture != "all" else [architecture, *ARCHITECTURES])
        if package.name not in (upgrade or ())
    }
    found = Resolver(indices, keep).resolve(seeds)
    stages = {
        stage: {one: tuple(_package(entry) for entry in entries) for one, entries in table.items()}
        for stage, table in found.items()
    }
    if before and (before.suite, before.seeds, before.stages) == (seeds.suite, seeds.digest, stages):
        return before
    return Lock(seeds.suite, seeds.digest, newest.strftime(STAMP), stages)


def _indices(suite: str, mirror: Mirror) -> tuple[dict[str, Index], datetime]:
    """The index of each architecture, and when the newest Release was made."""
    suites = archive.suites(suite)
    releases = parallel.each(lambda one: archive.release(mirror, *one), suites, len(suites))
    wanted = [(one, *pair) for one in ARCHITECTURES for pair in zip(suites, releases, strict=True)]

    def text(job: tuple[str, tuple[str, str], Release]) -> tuple[str, str]:
        architecture, (where, name), release = job
        body = archive.index(mirror, where, name, release, f"main/binary-{architecture}/Packages.xz")
        return where, lzma.decompress(body).decode()

    texts = parallel.each(text, wanted, len(wanted))
    count = len(suites)
    indices = {one: Index(texts[at * count : (at + 1) * count]) for at, one in enumerate(ARCHITECTURES)}
    return indices, max(archive.dated(release) for release in releases)


def _package(found: Candidate) -> Package:
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
