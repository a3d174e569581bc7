"""Where Debian packages come from. No host stands in our files: the machine or its owner names the mirror."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from debian.deb822 import Deb822

from lastgood.errors import UsageError
from lastgood.report.text import masked

STAMP = "%Y%m%dT%H%M%SZ"  # how a snapshot archive writes a moment
_APT = Path("/etc/apt")
_DEBOOTSTRAP = (Path("/usr/share/debootstrap/scripts"), Path("/usr/sbin/debootstrap"))
_OS_RELEASE = Path("/etc/os-release")
_ADDRESS = re.compile(r"(https?|file)://")
_OFF = frozenset({"no", "false", "without", "off", "disable", "0"})  # apt's words for it


@dataclass(frozen=True)
class Mirror:
    """The two archives of Debian. `origin` says who named them."""

    debian: str
    security: str
    origin: str

    def url(self, archive: str, path: str) -> str:
        """The address of `path` in `archive`, which is `debian` or `debian-security`."""
        base = self.security if archive == "debian-security" else self.debian
        return f"{base.rstrip('/')}/{path}"


@dataclass(frozen=True)
class Snapshot:
    """A dated archive of all that Debian ever published. `resolved` is the lock's date (20261124T160000Z)."""

    base: str
    resolved: str

    def urls(self, archive: str, path: str) -> tuple[str, ...]:
        """The addresses of `path`, in the order to try them: https://snapshot.debian.org describes the layout.

        A snapshot is taken some hours after the mirrors have changed, so the day after the lock is asked, too.
        """
        moment = datetime.strptime(self.resolved, STAMP).replace(tzinfo=UTC)
        stamps = [(moment + timedelta(days=days)).strftime(STAMP) for days in (0, 1)]
        return tuple(f"{self.base.rstrip('/')}/{archive}/{stamp}/{path}" for stamp in stamps)

    def mirror(self, at: datetime) -> Mirror:
        """Both archives as they were at that moment."""
        debian, security = (
            f"{self.base.rstrip('/')}/{name}/{at.strftime(STAMP)}" for name in ("debian", "debian-security")
        )
        return Mirror(debian, security, "the snapshot archive")


def snapshot(configured: str | None, resolved: str) -> Snapshot | None:
    """The snapshot archive of [tool.lastgood.image] snapshot, else of LASTGOOD_DEBIAN_SNAPSHOT, if there is one.

    Raises UsageError for what is no address.
    """
    for value, origin in (
        (configured, "[tool.lastgood.image] snapshot"),
        (os.environ.get("LASTGOOD_DEBIAN_SNAPSHOT"), "LASTGOOD_DEBIAN_SNAPSHOT"),
    ):
        if value:
            if not _ADDRESS.match(value):
                raise UsageError(f"{origin} is {masked(value)!r}: it must be one address (http, https or file)")
            return Snapshot(value, resolved)
    return None


def find(configured: str | None, suite: str) -> Mirror:
    """The mirror to use for `suite`.

    In this order: `configured` ([tool.lastgood.image] mirror), LASTGOOD_DEBIAN_MIRROR, a Debian machine's own apt sources, the default of
    the installed debootstrap. The first two may name the security archive as a second word; without it, it is `debian-security` beside
    the first. Raises UsageError where none is known.
    """
    for value, origin in (
        (configured, "[tool.lastgood.image] mirror"),
        (os.environ.get("LASTGOOD_DEBIAN_MIRROR"), "LASTGOOD_DEBIAN_MIRROR"),
    ):
        if value:
            return _named(value, origin)
    found = _from_apt() or _from_debootstrap(suite)
    if found:
        return found
    raise UsageError(
        "no Debian mirror is known on this machine: set [tool.lastgood.image] mirror or LASTGOOD_DEBIAN_MIRROR to the address of "
        "one, or install the package debootstrap, which knows a default"
    )


def _named(value: str, origin: str) -> Mirror:
    words = value.split()
    if len(words) > 2 or not all(_ADDRESS.match(word) for word in words):
        raise UsageError(
            f"{origin} is {masked(value)!r}: it must be one address (http, https or file), or two with a space between"
        )
    main = words[0].rstrip("/")
    return Mirror(main, words[1] if len(words) == 2 else f"{main.rpartition('/')[0]}/debian-security", origin)


def _from_apt() -> Mirror | None:
    if not re.search(r"^ID=\"?debian\"?$", _read(_OS_RELEASE), re.MULTILINE):
        return None
    debian = security = None
    for uri, suite in _apt_entries():
        if not _ADDRESS.match(uri):  # apt knows more, as cdrom: and mirror+file:
            continue
        if suite.endswith(("-security", "/updates")):
            security = security or uri
        elif uri.rstrip("/").endswith("/debian"):
            debian = debian or uri
    if not debian:
        return None
    return Mirror(debian, security or f"{debian.rstrip('/').rpartition('/')[0]}/debian-security", "apt sources")


def _apt_entries() -> Iterator[tuple[str, str]]:
    """(address, suite) of every binary source that apt on this machine knows, in both of apt's formats."""
    for file in [_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*.list"))]:
        for line in _read(file).splitlines():
            found = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)", line)
            if found:
                yield found.group(1), found.group(2)
    for file in sorted((_APT / "sources.list.d").glob("*.sources")):
        for stanza in Deb822.iter_paragraphs(_read(file).splitlines()):
            if "deb" in stanza.get("Types", "").split() and stanza.get("Enabled", "yes").lower() not in _OFF:
                for uri in stanza.get("URIs", "").split():
                    for suite in stanza.get("Suites", "").split():
                        yield uri, suite


def _from_debootstrap(suite: str) -> Mirror | None:
    scripts, program = _DEBOOTSTRAP
    for file in (scripts / suite, scripts / "debian-common", scripts / "sid", program):
        for found in re.finditer(r"^\s*(?:default_mirror\s+|DEF_MIRROR=)[\"']?([^\s\"']+)", _read(file), re.MULTILINE):
            address = found.group(1).rstrip("/")
            if _ADDRESS.match(address) and address.endswith("/debian"):  # Ubuntu's knows Ubuntu's archive, too
                return _named(address, "debootstrap's default")
    return None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
