"""Known vulnerabilities of exactly what is in the image, asked of public services; what could not be asked is said, never passed.

Distributions: pip-audit's services (OSV, else the index's own advisories). Debian packages: the security tracker's data, by source package
and release. A vulnerability of Debian's that has no fix in the release yet is counted, not refused: there is nothing to upgrade to.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.cache import store
from lastgood.report.text import masked
from lastgood.scan.findings import Finding
from lastgood.scan.owners import Distribution, Owners, Package

OSV = "https://api.osv.dev/v1/query"
TRACKER = "https://security-tracker.debian.org/tracker/data/json"
_TIMEOUT = 20  # seconds, for one answer
_FRESH = 12 * 3600  # seconds that the tracker's data (some 70 MB) are used for


@dataclass(frozen=True)
class Services:
    """Where to ask, and the Debian release that the image is made of. `index` also asks the Python index where OSV does not answer."""

    suite: str
    osv: str = OSV
    tracker: str = TRACKER
    index: bool = True


@dataclass(frozen=True)
class Audited:
    """What came of it: `waiting` counts Debian's vulnerabilities without a fix, `not_checked` says what nobody answered."""

    findings: tuple[Finding, ...] = ()
    checked: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    waiting: int = 0

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts; the findings are among the scan's."""
        return {"checked": list(self.checked), "not_checked": list(self.not_checked), "without_a_fix": self.waiting}


NOTHING = Audited()


def audit(owners: Owners, services: Services) -> Audited:
    """Asks about every distribution and every Debian package of the image."""
    python = _python(owners.distributions, services)
    debian = _debian(owners.packages, services)
    return Audited(
        python.findings + debian.findings,
        python.checked + debian.checked,
        python.not_checked + debian.not_checked,
        debian.waiting,
    )


def _python(distributions: Sequence[Distribution], services: Services) -> Audited:
    import requests
    from packaging.version import InvalidVersion, Version
    from pip_audit._service.interface import ResolvedDependency, ServiceError, VulnerabilityService
    from pip_audit._service.osv import OsvService
    from pip_audit._service.pypi import PyPIService

    folder = store.cache() / "audit"
    what = f"{len(distributions)} Python distributions"
    try:
        exact = [ResolvedDependency(name=one.name, version=Version(one.version)) for one in distributions]
    except InvalidVersion as error:
        return Audited(not_checked=(f"{what}: {error}",))
    reasons = []
    asked: list[tuple[str, VulnerabilityService]] = [("OSV", OsvService(folder, _TIMEOUT, services.osv))]
    if services.index:
        asked.append(("the Python index", PyPIService(folder, _TIMEOUT)))
    for name, service in asked:
        try:
            answers = [(one, *service.query(one)) for one in exact]
        except (requests.RequestException, ServiceError, ValueError, KeyError) as error:
            reasons.append(f"{name} did not answer ({_cause(error)})")
            continue
        skipped = [one.name for one, answer, _ in answers if answer.is_skipped()]
        if len(skipped) == len(exact) > 0:
            reasons.append(f"{name} knows none of them")
            continue
        findings = [
            _vulnerable(one.name, str(one.version), found.id, [str(fix) for fix in found.fix_versions])
            for one, _, results in answers
            for found in results
        ]
        checked = f"{len(exact) - len(skipped)} Python distributions ({name})"
        unknown = (f"{', '.join(skipped)}: {name} does not know them",) if skipped else ()
        return Audited(tuple(findings), (checked,), unknown)
    return Audited(not_checked=(f"{what}: {'; '.join(reasons)}",))


def _vulnerable(name: str, version: str, identity: str, fixed: Sequence[str]) -> Finding:
    do = f"lock {name} {fixed[0]} or newer with `lastgood lock --upgrade`" if fixed else (
        f'no release mends it yet: leave {name} out, or accept it with accept = ["vulnerability: {name} {identity}"]'
    )  # fmt: skip
    return Finding(
        "vulnerability", f"{name} {identity}", f"{name} {version} has the known vulnerability {identity}", do
    )


def _cause(error: BaseException) -> str:
    """The innermost reason in one line, without addresses that a proxy may have put into it."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    text = masked(str(error)).split("\n", 1)[0]
    return f"{type(error).__name__}: {text}"[:160] if text else type(error).__name__


def _debian(packages: Sequence[Package], services: Services) -> Audited:
    what = f"{len(packages)} Debian packages"
    try:
        data = _tracker(services.tracker, store.cache() / "audit/debian.json")
    except (OSError, ValueError) as error:
        return Audited(not_checked=(f"{what}: Debian's security tracker did not answer ({_cause(error)})",))
    findings = []
    waiting: set[str] = set()
    for package in packages:
        for identity, fixed in _open(package, data, services.suite):
            if fixed is None:
                waiting.add(f"{package.source} {identity}")
                continue
            text = f"{package.name} {package.version} has the known vulnerability {identity}"
            do = f"{package.source} {fixed} mends it: lock it with `lastgood lock --upgrade`"
            findings.append(Finding("vulnerability", f"{package.name} {identity}", text, do))
    return Audited(tuple(findings), (f"{what} (Debian's security tracker)",), waiting=len(waiting))


def _tracker(url: str, kept: Path) -> dict[str, Any]:
    if not kept.is_file() or time.time() - kept.stat().st_mtime > _FRESH:
        if not url.startswith(("https://", "http://")):
            raise ValueError(f"{url} is no address")
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310  the scheme is checked above
            body = answer.read()
        json.loads(body)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with store.replacing(kept) as part:
            part.write_bytes(body)
    data: dict[str, Any] = json.loads(kept.read_bytes())
    return data


def _open(package: Package, data: Mapping[str, Any], suite: str) -> Iterator[tuple[str, str | None]]:
    """(CVE, version that mends it or None) of what the package's version is still open to."""
    from debian.debian_support import version_compare

    for identity, entry in sorted(data.get(package.source, {}).items()):
        release = entry.get("releases", {}).get(suite)
        if not release:
            continue
        fixed = release.get("fixed_version")
        if release.get("status") == "resolved":
            # "0" is the tracker's word for: this release was never affected.
            if fixed and fixed != "0" and version_compare(package.source_version, fixed) < 0:
                yield identity, str(fixed)
        elif release.get("urgency") != "unimportant":
            yield identity, None
