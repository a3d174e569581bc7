"""Debian's archive, proven: the signature and date of a suite's Release file, and the sha256 of the indices that it names.

Formats: https://wiki.debian.org/DebianRepository/Format. Signatures are checked by Sequoia.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from debian.deb822 import Release
from pysequoia import Cert, verify

from lastgood.cache import store
from lastgood.debian.mirror import Mirror
from lastgood.errors import UsageError
from lastgood.report.text import masked

_KEYRING = Path(__file__).with_name("debian-archive-keyring.pgp")
_TIMEOUT = 60  # seconds, for one answer of the mirror
_RELEASE = 8_000_000  # bytes; Debian's are below 300,000


class NotThere(UsageError):
    """The mirror answers, and does not have the file."""


def suites(suite: str) -> tuple[tuple[str, str], ...]:
    """(archive, suite) of all that a machine of this suite installs from."""
    return ("debian", suite), ("debian", f"{suite}-updates"), ("debian-security", f"{suite}-security")


def release(mirror: Mirror, archive: str, suite: str, at: datetime | None = None) -> Release:
    """The suite's Release file. Raises UsageError for a wrong signature, another suite, or one that has expired `at` that moment (now)."""
    url = mirror.url(archive, f"dists/{suite}/InRelease")
    found = Release(verified(_get(url, _RELEASE), masked(url)))
    check_suite(found, masked(url), suite)
    check_date(found, masked(url), at or datetime.now(UTC))
    return found


def index(mirror: Mirror, archive: str, suite: str, found: Release, name: str) -> bytes:
    """The file `name` (below the suite's folder) with the sha256 that `found` names; kept in the cache by that hash.

    Raises UsageError where it is not listed, not given, or another.
    """
    origin = masked(mirror.url(archive, f"dists/{suite}/InRelease"))
    entry = next((entry for entry in found.get("SHA256", []) if entry["name"] == name), None)
    if entry is None:
        raise UsageError(f"{origin} lists no {name}: the mirror does not carry it; name another mirror")
    digest, size = entry["sha256"], int(entry["size"])
    kept = store.cache() / "indices" / f"{digest}{Path(name).suffix}"
    if kept.is_file():
        body = kept.read_bytes()
        if hashlib.sha256(body).hexdigest() == digest:
            return body
    path = f"dists/{suite}/{name}"
    url = mirror.url(archive, f"{path.rpartition('/')[0]}/by-hash/SHA256/{digest}")
    try:
        body = _get(url, size)
    except NotThere:  # not every mirror keeps every index by its hash, too
        url = mirror.url(archive, path)
        body = _get(url, size)
    if hashlib.sha256(body).hexdigest() != digest:
        raise UsageError(f"{masked(url)} does not have the sha256 that the signed {origin} names: try another mirror")
    _keep(kept, body)
    return body


def _keep(file: Path, body: bytes) -> None:
    """Writes a file of the cache, whole or not at all, also where another thread writes the same one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as part:
            part.write(body)
        Path(name).replace(file)
    finally:
        Path(name).unlink(missing_ok=True)


def dated(found: Release) -> datetime:
    """When the Release file was made."""
    text = found.get("Date")
    return parsedate_to_datetime(text).astimezone(UTC) if text else datetime.now(UTC)


def _get(url: str, most: int) -> bytes:
    """What is at `url`, but never more than a byte beyond `most`: then its hash is wrong anyway."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310  the scheme is checked where mirrors are named
            body: bytes = answer.read(most + 1)
            missing = getattr(answer, "length", None)
            if missing and len(body) <= most:
                raise http.client.IncompleteRead(body, missing)
            return body
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        cause = getattr(error, "reason", error)
        gone = isinstance(cause, FileNotFoundError) or getattr(error, "code", None) == 404
        kind, reason = NotThere if gone else UsageError, masked(str(cause))
        raise kind(
            f"the Debian mirror did not give {masked(url)}: {reason}; check the network, or name another mirror"
        ) from None


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


def check_suite(found: Release, url: str, suite: str) -> None:
    """Raises UsageError for a Release of another suite (signed by the same keys, so the signature would not tell)."""
    if suite not in (found.get("Codename"), found.get("Suite")):
        raise UsageError(f"{url} is the index of {found.get('Codename')!r}, not of {suite!r}: name another mirror")


def check_date(found: Release, url: str, now: datetime) -> None:
    """Raises UsageError for a Release whose Valid-Until has passed (someone may be replaying old indices)."""
    until = found.get("Valid-Until")
    if until and parsedate_to_datetime(until) < now:
        raise UsageError(
            f"{url} expired on {until}: the mirror is stale (or this machine's clock is wrong); name another mirror"
        )
