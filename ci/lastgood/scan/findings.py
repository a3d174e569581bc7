"""What a scan finds wrong: one shape for every rule, and which of them a project has accepted."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

# Every rule, with what it says of an image. `[tool.lastgood.image] accept` names them as "rule: subject", or a pattern of such.
RULES = {
    "budget": "The image, or a part of it, weighs more than its budget",
    "growth": "The image grew by more than its budget since last good",
    "missing-library": "A native file needs a library that is not in the image",
    "missing-version": "A native file needs a symbol version that the library in the image does not have",
    "missing-interpreter": "A program's interpreter or loader is not in the image",
    "wrong-machine": "A native file is for another machine than the image",
    "second-openssl": "A distribution brings its own OpenSSL, which Debian's security updates do not reach",
    "secret": "A layer, or the image's settings, hold a secret",
    "shell": "The image holds a shell",
    "package-manager": "The image holds a package manager",
    "setuid": "A file is setuid or setgid",
    "owner": "A file does not belong to root",
    "user": "The image does not run as user 65532",
    "writable": "The user can write to a file or folder other than /tmp",
    "device": "The image holds a device",
    "vulnerability": "A known vulnerability",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `subject` is what `accept` names; `text` says what and where, `do` what to do about it."""

    rule: str
    subject: str
    text: str
    do: str
    layer: str = ""
    path: str = ""
    line: int = 0
    platform: str = ""

    @property
    def key(self) -> str:
        """How `accept` names it."""
        return f"{self.rule}: {self.subject}"

    @property
    def sentence(self) -> str:
        """What, where, and what to do."""
        return f"{self.text}: {self.do}" if self.do else self.text

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts, without what is empty."""
        return {key: value for key, value in asdict(self).items() if value}


@dataclass(frozen=True)
class Judged:
    """Findings that refuse the image, those that are accepted, and what is accepted but no longer found."""

    findings: tuple[Finding, ...]
    accepted: tuple[Finding, ...]
    stale: tuple[str, ...]


def judge(found: Iterable[Finding], accept: Sequence[str], audited: Iterable[Finding] = ()) -> Judged:
    """Sorts findings by what the project accepts; one that two platforms have is told once, without a platform."""
    merged: dict[tuple[str, str], Finding] = {}
    for one in (*found, *audited):
        known = merged.setdefault((one.key, one.text), one)
        if known.platform != one.platform:
            merged[one.key, one.text] = replace(known, platform="")
    known_keys = {_plain(entry): entry for entry in accept}
    by = {one: [key for key in known_keys if _accepts(key, _plain(one.key))] for one in merged.values()}
    accepted = tuple(one for one, keys in by.items() if keys)
    occurring = {key for keys in by.values() for key in keys}
    order = {rule: number for number, rule in enumerate(RULES)}
    refused = sorted((one for one in merged.values() if one not in accepted), key=lambda one: order.get(one.rule, 99))
    return Judged(tuple(refused), accepted, tuple(entry for key, entry in known_keys.items() if key not in occurring))


def _accepts(pattern: str, key: str) -> bool:
    """Whether an entry of `accept` means a finding; the rule is always named, its subject may be a pattern."""
    rule, _, subject = pattern.partition(": ")
    of_rule, _, of_subject = key.partition(": ")
    return rule == of_rule and (subject == of_subject or fnmatch.fnmatchcase(of_subject, subject))


def _plain(key: str) -> str:
    rule, _, subject = key.partition(":")
    return f"{rule.strip()}: {subject.strip().lstrip('/')}"
