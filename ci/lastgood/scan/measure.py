"""Measures a build by layer, and checks it against its budget and the rules of a distroless image."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lastgood.image.build import Image
from lastgood.report.terminal import megabytes, table

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "busybox"})
_TOOLS = frozenset({"pip", "pip3", "apt", "apt-get", "dpkg", "apk"})
_PROGRAMS = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")


@dataclass(frozen=True)
class Finding:
    """One rule that the image breaks."""

    rule: str
    text: str


def scan(image: Image, budget: int) -> dict[str, Any]:
    """Facts and findings of a build; `budget` is in bytes, compressed. Rules: budget, shell, package-manager, setuid, owner."""
    findings: list[Finding] = []
    rows = []
    for layer in image.layers:
        files = 0
        with tarfile.open(layer.tar) as archive:
            for member in archive:
                files += member.isfile()
                findings += _rules(layer.name, member)
        rows.append({"layer": layer.name, "compressed": layer.compressed, "unpacked": layer.size, "files": files})
    if image.size > budget:
        over = megabytes(image.size - budget)
        text = f"the image is {megabytes(image.size)} compressed, {over} over its budget of {megabytes(budget)}"
        findings.append(Finding("budget", text))
    return {
        "build": image.build,
        "digest": image.digest,
        "layers": rows,
        "compressed": image.size,
        "unpacked": image.unpacked,
        "budget": budget,
        "findings": [{"rule": finding.rule, "text": finding.text} for finding in findings],
    }


def _rules(layer: str, member: tarfile.TarInfo) -> list[Finding]:
    path = PurePosixPath(member.name)
    found = []
    if not member.isdir() and path.parent.as_posix() in _PROGRAMS:
        if path.name in _SHELLS:
            found.append(Finding("shell", f"layer {layer} holds the shell /{path}: leave its package out"))
        if path.name in _TOOLS:
            found.append(Finding("package-manager", f"layer {layer} holds /{path}: leave it out"))
    if path.match("*-packages/pip/__main__.py*"):
        found.append(Finding("package-manager", f"layer {layer} holds /{path}: leave it out"))
    if member.isfile() and member.mode & 0o6000:
        found.append(Finding("setuid", f"layer {layer}: /{path} is setuid or setgid: clear the bit"))
    if member.uid or member.gid:
        found.append(Finding("owner", f"layer {layer}: /{path} belongs to {member.uid}:{member.gid}, not root"))
    return found


def render(facts: dict[str, Any]) -> str:
    """The table for a terminal."""
    rows = [
        [row["layer"], megabytes(row["compressed"]), megabytes(row["unpacked"]), str(row["files"])]
        for row in facts["layers"]
    ]
    files = sum(row["files"] for row in facts["layers"])
    rows.append(["total", megabytes(facts["compressed"]), megabytes(facts["unpacked"]), str(files)])
    share = 100 * facts["compressed"] / facts["budget"]
    lines = [table(["layer", "compressed", "unpacked", "files"], rows, right=(1, 2, 3)), ""]
    lines.append(f"budget {megabytes(facts['budget'])}, {share:.0f} % used")
    lines += [f"✗ {finding['text']}" for finding in facts["findings"]]
    return "\n".join(lines)
