"""The findings of a scan as SARIF 2.1.0, for code scanning: each at the line of the repository where it can be mended.

Format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/. What is accepted is in it too, as suppressed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lastgood import __version__
from lastgood.report.text import line

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_SETTINGS = "pyproject.toml"
_LOCK = "requirements.txt"


@dataclass(frozen=True)
class Sources:
    """Where a finding can be mended: the folder that holds pyproject.toml, the app's, and the name of a Dockerfile of the project's own."""

    root: Path
    app: Path
    dockerfile: str | None = None


def write(target: Path, facts: Mapping[str, Any], sources: Sources, rules: Mapping[str, str]) -> None:
    """Writes the findings of a scan to `target`; `rules` is {rule: what it says of an image}."""
    target.write_text(
        json.dumps(document(facts, sources, rules), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def document(facts: Mapping[str, Any], sources: Sources, rules: Mapping[str, str]) -> dict[str, Any]:
    """The SARIF log of a scan."""
    order = list(rules)
    results = [_result(one, sources, order) for one in facts["findings"]]
    for one in facts["accepted"]:
        suppressed = {"suppressions": [{"kind": "external", "justification": "[tool.lastgood.image] accept"}]}
        results.append(_result(one, sources, order) | suppressed)
    driver = {
        "name": "lastgood",
        "version": __version__,
        "rules": [{"id": rule, "shortDescription": {"text": text}} for rule, text in rules.items()],
    }
    run = {
        "tool": {"driver": driver},
        "originalUriBaseIds": {"SRCROOT": {"description": {"text": "the folder that holds pyproject.toml"}}},
        "columnKind": "unicodeCodePoints",
        "properties": {"build": facts["build"], "digest": facts["digest"]},
        "results": results,
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(finding: Mapping[str, Any], sources: Sources, rules: Sequence[str]) -> dict[str, Any]:
    file, number = place(finding, sources)
    key = f"{finding['rule']}: {finding['subject']}"
    physical = {"artifactLocation": {"uri": quote(file), "uriBaseId": "SRCROOT"}, "region": {"startLine": number}}
    location: dict[str, Any] = {"physicalLocation": physical}
    if finding.get("path"):
        name = line(f"/{finding['path']}")
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "resource"}]
    return {
        "ruleId": finding["rule"],
        "ruleIndex": rules.index(finding["rule"]),
        "level": "error",
        "message": {"text": _message(f"{finding['text']}: {finding['do']}" if finding.get("do") else finding["text"])},
        "locations": [location],
        # The same finding of a later build is the same alert.
        "partialFingerprints": {"lastgood/v1": hashlib.sha256(key.encode()).hexdigest()},
    }


def _message(text: str) -> str:
    """Text alone: in a message, what stands in brackets could be a link."""
    return re.sub(r"([\\\[\]])", r"\\\1", line(text))


def place(finding: Mapping[str, Any], sources: Sources) -> tuple[str, int]:
    """The file below the project's root and the line, counted from 1, where a finding is to be mended."""
    rule, path = finding["rule"], finding.get("path", "")
    own = sources.app / path.removeprefix("app/")
    if path.startswith("app/") and own.is_file():
        return own.relative_to(sources.root).as_posix(), finding.get("line") or 1
    if rule in ("second-openssl", "vulnerability"):
        found = _line(sources, _LOCK, rf"^{re.escape(finding['subject'].split(' ')[0])}(\[[^\]]*\])?==")
        if found:
            return _LOCK, found
    if rule == "budget" and finding["subject"] not in ("total", "files"):
        found = _line(sources, _SETTINGS, rf"^\s*['\"]?{re.escape(finding['subject'])}['\"]?\s*=")
        return _SETTINGS, found or _image_table(sources)
    if rule in ("budget", "growth"):
        key = {"total": "(budget|total)", "files": "files", "growth": "growth"}[finding["subject"]]
        return _SETTINGS, _line(sources, _SETTINGS, rf"^\s*{key}\s*=") or _image_table(sources)
    dockerfile = sources.dockerfile
    if rule in ("user", "shell", "package-manager") and dockerfile and (sources.root / dockerfile).is_file():
        return dockerfile, (_line(sources, dockerfile, r"(?i)^USER\b") or 1) if rule == "user" else 1
    packages = _line(sources, _SETTINGS, r"^\s*packages\s*=") if rule.startswith("missing-") else 0
    return _SETTINGS, packages or _image_table(sources)


def _image_table(sources: Sources) -> int:
    return (
        _line(sources, _SETTINGS, r"^\[tool\.lastgood\.image") or _line(sources, _SETTINGS, r"^\[tool\.lastgood") or 1
    )


def _line(sources: Sources, name: str, pattern: str) -> int:
    """The first line of a file of the project that matches, 0 for none."""
    file = sources.root / name
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return next((number for number, one in enumerate(lines, 1) if re.search(pattern, one)), 0)
