"""The Debian lock: exact versions and sha256 of the packages of each stage, from indices whose signature was checked.

Formats: https://wiki.debian.org/DebianRepository/Format. Signatures are checked by Sequoia, control data read by python-debian.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import lzma
import re
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from debian.deb822 import Packages, Release
from debian.debian_support import version_compare
from pysequoia import Cert, verify

from lastgood.errors import UsageError
from lastgood.lock import parallel
from lastgood.lock.mirror import Mirror

SCHEMA = 1
_KEYRING = Path(__file__).with_name("debian-archive-keyring.pgp")
_TIMEOUT = 60  # seconds, for one answer of the mirror


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
class Seeds:
    """What a person asks for: the packages of each stage, and those left out of the closure on purpose."""

    suite: str
    stages: Mapping[str, tuple[tuple[str, ...], frozenset[str]]]

    @classmethod
    def read(cls, file: Path) -> Seeds:
        """Reads `base.toml`. Raises UsageError naming the file."""
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8"))
            stages = {
                name: (tuple(table["packages"]), frozenset(table.get("without", ())))
                for name, table in data.items()
                if isinstance(table, dict)
            }
            return cls(suite=data["suite"], stages=stages)
        except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise UsageError(
                f"{file} can't be read as a list of Debian packages: {error}; see docker/base.toml"
            ) from None


@dataclass(frozen=True)
class Lock:
    """The packages of every stage of one architecture, and the sha256 of the seeds they were resolved from."""

    suite: str
    architecture: str
    seeds: str
    stages: Mapping[str, tuple[Package, ...]]

    @classmethod
    def read(cls, file: Path) -> Lock:
        """Reads a lock file. Raises UsageError where it is missing, damaged or of another schema."""
        command = f"lastgood lock-base --seeds {file.with_suffix('.toml')}"
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            if data["schema"] != SCHEMA:
                raise UsageError(f"{file} has schema {data['schema']}, this lastgood reads {SCHEMA}: run `{command}`")
            stages = {name: tuple(Package(**entry) for entry in entries) for name, entries in data["stages"].items()}
            return cls(data["suite"], data["architecture"], data["seeds"], stages)
        except FileNotFoundError:
            raise UsageError(f"{file} does not exist: run `{command}` to make it") from None
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise UsageError(f"{file} is not a Debian lock ({error}): restore it from git or run `{command}`") from None

    def text(self) -> str:
        """The lock file's content: JSON with one package a line, so that a diff reads like a list of changes."""
        lines = ["{"]
        lines += [f'  "{key}": {json.dumps(getattr(self, key))},' for key in ("suite", "architecture", "seeds")]
        lines.append(f'  "schema": {SCHEMA},\n  "stages": {{')
        for position, (name, packages) in enumerate(self.stages.items()):
            body = ",\n".join(f"      {json.dumps(asdict(package))}" for package in packages)
            comma = "," if position + 1 < len(self.stages) else ""
            lines.append(f'    "{name}": [\n{body}\n    ]{comma}')
        return "\n".join([*lines, "  }", "}", ""])

    def key(self, stage: str) -> str:
        """A sha256 that changes when any package of the stage does."""
        return hashlib.sha256("".join(package.sha256 for package in self.stages[stage]).encode()).hexdigest()


def seeds_hash(file: Path) -> str:
    """The sha256 of the seeds' meaning (comments and order of keys do not count)."""
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def resolve(file: Path, mirror: Mirror, architecture: str = "amd64") -> Lock:
    """Resolves the seeds in `file` against the suite, its updates and its security archive.

    Raises UsageError for a mirror that does not answer, a signature, hash or date that is wrong, or a package that does not exist.
    """
    seeds = Seeds.read(file)
    suites = [
        ("debian", seeds.suite),
        ("debian", f"{seeds.suite}-updates"),
        ("debian-security", f"{seeds.suite}-security"),
    ]
    texts = parallel.each(
        lambda suite: (suite[0], _packages(mirror, suite[0], suite[1], architecture)), suites, len(suites)
    )
    index = _Index(texts)
    stages = {name: tuple(index.closure(names, without, file)) for name, (names, without) in seeds.stages.items()}
    return Lock(seeds.suite, architecture, seeds_hash(file), stages)


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310  the scheme is checked where mirrors are named
            body: bytes = answer.read()
            return body
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = getattr(error, "reason", error)
        raise UsageError(
            f"the Debian mirror did not give {url}: {reason}; check the network, or name another mirror"
        ) from None


def _packages(mirror: Mirror, archive: str, suite: str, architecture: str) -> str:
    """The text of one Packages index, proven by the Release file's signature and hash."""
    url = mirror.url(archive, f"dists/{suite}/InRelease")
    release = Release(verified(_get(url), url))
    check_suite(release, url, suite)
    check_date(release, url, datetime.now(UTC))
    name = f"main/binary-{architecture}/Packages.xz"
    wanted = next((entry for entry in release.get("SHA256", []) if entry["name"] == name), None)
    if wanted is None:
        raise UsageError(f"{url} lists no {name}: the mirror does not carry {architecture}; name another mirror")
    path = f"dists/{suite}/main/binary-{architecture}/by-hash/SHA256/{wanted['sha256']}"
    body = _get(mirror.url(archive, path))
    if hashlib.sha256(body).hexdigest() != wanted["sha256"]:
        raise UsageError(
            f"{mirror.url(archive, path)} does not have the sha256 that the signed {url} names: try another mirror"
        )
    return lzma.decompress(body).decode()


def verified(signed: bytes, url: str) -> bytes:
    """The text inside a clear-signed InRelease. Raises UsageError unless at least one of Debian's archive keys signed it."""
    certificates = Cert.split_file(str(_KEYRING))
    try:
        opened = verify(signed, lambda _ids: certificates)
    except Exception as error:  # noqa: BLE001, RUF100  the library raises bare RuntimeErrors of many kinds; all mean “not proven”
        reason = str(error).strip().splitlines()[0].rstrip(".")  # a stack follows
        raise UsageError(f"{url} is not signed by a Debian archive key ({reason}): do not use this mirror") from None
    if not opened.valid_sigs:
        raise UsageError(f"{url} is not signed by a Debian archive key: do not use this mirror")
    return bytes(opened.bytes or b"")


def check_suite(release: Release, url: str, suite: str) -> None:
    """Raises UsageError for a Release of another suite (signed by the same keys, so the signature would not tell)."""
    if suite not in (release.get("Codename"), release.get("Suite")):
        raise UsageError(f"{url} is the index of {release.get('Codename')!r}, not of {suite!r}: name another mirror")


def check_date(release: Release, url: str, now: datetime) -> None:
    """Raises UsageError for a Release whose Valid-Until has passed (someone may be replaying old indices)."""
    until = release.get("Valid-Until")
    if until and parsedate_to_datetime(until) < now:
        raise UsageError(
            f"{url} expired on {until}: the mirror is stale (or this machine's clock is wrong); name another mirror"
        )


class _Index:
    """All versions of all packages; stanzas are parsed only when they are asked for (60,000 of them would take 15 s)."""

    def __init__(self, texts: Iterable[tuple[str, str]]) -> None:
        self._stanzas: dict[str, list[tuple[str, str]]] = {}
        self._providers: dict[str, list[str]] = {}
        for archive, text in texts:
            for stanza in text.split("\n\n"):
                found = re.match(r"Package: (\S+)", stanza)
                if not found:
                    continue
                self._stanzas.setdefault(found.group(1), []).append((archive, stanza))
                provides = re.search(r"^Provides: (.+)$", stanza, re.MULTILINE)
                for part in provides.group(1).split(",") if provides else ():
                    self._providers.setdefault(part.split()[0].split(":")[0], []).append(found.group(1))

    def newest(self, name: str) -> tuple[str, Packages] | None:
        best: tuple[str, Packages] | None = None
        for archive, text in self._stanzas.get(name, ()):
            stanza = Packages(text)
            if best is None or version_compare(stanza["Version"], best[1]["Version"]) > 0:
                best = archive, stanza
        return best

    def closure(self, names: Iterable[str], without: frozenset[str], file: Path) -> list[Package]:
        """The packages that `names` need (Depends and Pre-Depends), but for those in `without` and what only they need."""
        chosen: dict[str, tuple[str, Packages]] = {}
        waiting = [(name, str(file)) for name in names]
        while waiting:
            name, asker = waiting.pop(0)
            if name in chosen:
                continue
            found = self.newest(name)
            if found is None:
                raise UsageError(
                    f"{asker} asks for the Debian package {name!r}, which does not exist: mend the name in {file}"
                )
            chosen[name] = found
            relations = found[1].relations
            for group in [*(relations["pre-depends"] or ()), *(relations["depends"] or ())]:
                alternatives = [relation["name"] for relation in group]
                if not any(one in chosen or one in without for one in alternatives):
                    waiting.append((self._pick(alternatives, chosen, without), name))
        return [_package(archive, stanza) for _, (archive, stanza) in sorted(chosen.items())]

    def _pick(self, alternatives: list[str], chosen: Mapping[str, object], without: frozenset[str]) -> str:
        for one in alternatives:
            if one in self._stanzas:
                return one
            providers = self._providers.get(one, [])
            taken = [name for name in providers if name in chosen or name in without]
            if taken or providers:
                return (taken or providers)[0]
        return alternatives[0]


def _package(archive: str, stanza: Packages) -> Package:
    source = stanza.get("Source", stanza["Package"]).split()[0]
    return Package(
        name=stanza["Package"],
        version=stanza["Version"],
        architecture=stanza["Architecture"],
        source=source,
        archive=archive,
        path=stanza["Filename"],
        sha256=stanza["SHA256"],
        size=int(stanza["Size"]),
    )
