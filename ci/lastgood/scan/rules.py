"""The rules of a distroless image: pure functions of what a container sees and of the image's configuration."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from lastgood.scan import secrets
from lastgood.scan.closure import Hole
from lastgood.scan.elf import Elf
from lastgood.scan.findings import Finding
from lastgood.scan.layer import Entry
from lastgood.scan.owners import Owners
from lastgood.scan.view import View

USER = 65532
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"})
_TOOLS = frozenset({"pip", "pip3", "apt", "apt-get", "dpkg", "apk", "uv"})
_PROGRAMS = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")
_LIBCRYPTO = re.compile(r"^lib(crypto|ssl)\b")
# Distributions that can take Debian's OpenSSL, and how.
_WAYS_OUT = {
    "psycopg-binary": 'lock psycopg[c] instead of psycopg[binary], and add packages = ["libpq5"] to [tool.lastgood.image]',
    "psycopg2-binary": 'lock psycopg2 instead of psycopg2-binary, and add packages = ["libpq5"] to [tool.lastgood.image]',
}


def entries(view: View) -> Iterator[Finding]:
    """What must not be in a container, and what its user must not be able to change."""
    for path, entry in view.entries.items():
        layer = view.layer(path).name
        yield from _programs(layer, path, entry)
        yield from _modes(layer, path, entry)


def _programs(layer: str, path: str, entry: Entry) -> Iterator[Finding]:
    place = PurePosixPath(path)
    if entry.kind != "folder" and place.parent.as_posix() in _PROGRAMS:
        if place.name in _SHELLS:
            yield Finding("shell", path, f"layer {layer} holds the shell /{path}", "leave its package out", layer, path)
        if re.sub(r"[\d.]+$", "", place.name) in _TOOLS or place.name in _TOOLS:
            yield Finding("package-manager", path, f"layer {layer} holds /{path}", "leave it out", layer, path)
    if place.match("*-packages/pip/__main__.py*"):
        yield Finding("package-manager", path, f"layer {layer} holds /{path}", "leave it out", layer, path)


def _modes(layer: str, path: str, entry: Entry) -> Iterator[Finding]:
    where = f"layer {layer}: /{path}"
    if entry.is_file and entry.mode & 0o6000:
        yield Finding("setuid", path, f"{where} is setuid or setgid", "clear the bit", layer, path)
    if entry.uid or entry.gid:
        text = f"{where} belongs to {entry.uid}:{entry.gid}, not root"
        yield Finding("owner", path, text, "give it to 0:0", layer, path)
    if entry.kind == "device":
        yield Finding(
            "device", path, f"{where} is a device", "leave it out: the container's host makes /dev", layer, path
        )
    if entry.kind == "link" or path == "tmp":
        return
    mine = (
        (entry.uid == USER and entry.mode & 0o200) or (entry.gid == USER and entry.mode & 0o020) or entry.mode & 0o002
    )
    if mine or entry.mode & 0o020:
        text = f"{where} can be written to by {'the user' if mine else 'its group'} (mode {entry.mode:04o})"
        do = "set it to 0755 or 0644; what has to be written belongs below /tmp or in a volume"
        yield Finding("writable", path, text, do, layer, path)


def configuration(data: Mapping[str, Any]) -> Iterator[Finding]:
    """The rules of the image's settings and history; `data` is the OCI configuration, empty where it is not known."""
    if not data:
        return
    settings: dict[str, Any] = data.get("config") or {}
    user = str(settings.get("User") or "root")
    if user.split(":")[0] in ("0", "root"):
        yield Finding("user", user, "the image runs as root", f"add USER {USER}:{USER} to its Dockerfile")
    elif user.split(":")[0] != str(USER):
        yield Finding(
            "user", user, f"the image runs as user {user}, not {USER}", f"add USER {USER}:{USER} to its Dockerfile"
        )
    lines = {f"Env {one.partition('=')[0]}": one for one in settings.get("Env") or ()}
    lines |= {f"label {key}": f"{key}={value}" for key, value in (settings.get("Labels") or {}).items()}
    lines |= {
        f"history line {number}": str(one.get("created_by", ""))
        for number, one in enumerate(data.get("history") or (), 1)
    }
    lines["command"] = " ".join([*(settings.get("Entrypoint") or ()), *(settings.get("Cmd") or ())])
    for what, hits in secrets.in_configuration(lines).items():
        text = f"the image's configuration holds a secret ({hits[0].kind}) in its {what}"
        yield Finding("secret", what, text, "give it to the container when it starts, and make the secret itself anew")


def layers(view: View) -> Iterator[Finding]:
    """Secrets in every layer, also in files that a later layer hides: who has the image can read them all."""
    for facts in view.layers:
        for path, hits in facts.secrets.items():
            kinds = " and ".join(sorted({hit.kind for hit in hits}))
            lines = sorted({hit.line for hit in hits if hit.line})
            where = (
                f" on line {lines[0]}"
                if len(lines) == 1
                else f" on lines {', '.join(map(str, lines[:5]))}"
                if lines
                else ""
            )
            do = (
                "keep it out of the commit, read it from the environment, and make the secret itself anew; where it is none, add "
                + ("`# pragma: allowlist secret` to the line" if lines else f'accept = ["secret: {path}"]')
            )
            text = f"layer {facts.name}: /{path} holds a secret ({kinds}){where}"
            yield Finding("secret", path, text, do, facts.name, path, lines[0] if lines else 0)


def openssl(view: View, owned: Mapping[tuple[int, str], str], owners: Owners) -> Iterator[Finding]:
    """Distributions with an OpenSSL of their own: a version is in a file that Debian did not bring and that links to no libcrypto."""
    system = ""
    brought: dict[str, dict[str, str]] = {}
    for path, (number, elf) in _elves(view).items():
        owner = owned[number, path]
        if elf.openssl and not any(_LIBCRYPTO.match(name) for name in elf.needed):
            if owner.startswith("debian:") or (
                not owner.startswith("python:") and path.startswith(("usr/lib/", "lib/"))
            ):
                system = elf.openssl
            else:
                brought.setdefault(owner, {})[path] = elf.openssl
    for owner, files in brought.items():
        name = owner.partition(":")[2] or owner
        path, version = next(iter(files.items()))
        beside = f" beside Debian's {system}" if system else ""
        text = f"{name} {owners.version(owner)}".strip() + f" brings its own OpenSSL {version}{beside} (/{path})"
        do = _WAYS_OUT.get(
            name,
            "only its next release brings the next security update of it; lock a release or a build that uses Debian's, or follow its "
            f'releases and accept it with accept = ["second-openssl: {name}"]',
        )
        yield Finding("second-openssl", name, text, do, view.layer(path).name, path)


def _elves(view: View) -> dict[str, tuple[int, Elf]]:
    return {
        path: (number, elf)
        for number, facts in enumerate(view.layers)
        for path, elf in facts.elves.items()
        if view.where.get(path) == number
    }


def hole(view: View, found: Sequence[Hole], packages: tuple[str, ...], present: Collection[str] = ()) -> Finding:
    """One thing that is missing as a finding; `found` are the files that need it.

    `packages` are the Debian packages that hold it, empty where nobody knows; `present` are those that the image has.
    """
    first = found[0]
    layer = view.layer(first.path).name
    others = f" and {len(found) - 1} other file{'s' * (len(found) > 2)}" if len(found) > 1 else ""
    where = f"layer {layer}: /{first.path}{others}"
    need = "need" if others else "needs"
    if first.kind == "library":
        text = f"{where} {need} {first.needs}, which is not in the image"
        do = _add(packages, first.wanted_at, present)
        return Finding("missing-library", first.needs, text, do, layer, first.path)
    if first.kind == "version":
        text = f"{where} {need} {first.needs}, which /{first.provider} does not have"
        do = "lock a build of it that is made for this Debian or an older one"
        return Finding(
            "missing-version", f"{PurePosixPath(first.provider).name} {first.needs}", text, do, layer, first.path
        )
    if first.kind == "machine":
        text, do = f"{where} {'are' if others else 'is'} for {first.needs}", "lock a wheel for the image's platform"
        return Finding("wrong-machine", first.needs, text, do, layer, first.path)
    text = f"{where} {need} the interpreter {first.needs}, which is not in the image"
    return Finding(
        "missing-interpreter", first.needs, text, _add(packages, first.wanted_at, present), layer, first.path
    )


def together(found: Iterable[Hole]) -> list[list[Hole]]:
    """The holes by what is missing: one library that ten files lack is one thing to mend."""
    groups: dict[tuple[str, str, str], list[Hole]] = {}
    for one in found:
        groups.setdefault((one.kind, one.needs, one.provider), []).append(one)
    return list(groups.values())


def _add(packages: tuple[str, ...], path: str, present: Collection[str]) -> str:
    here = [name for name in packages if name in present]
    if here:
        return (
            f"`{here[0]}` is in the image, but this file of it was left out: add {path!r} to [tool.lastgood.image] keep"
        )
    if not packages:
        return f"look for the Debian package that has {path} and add it to [tool.lastgood.image] packages"
    return f"add {' or '.join(f'`{name}`' for name in packages)} to [tool.lastgood.image] packages"


def scripts(view: View, data: Mapping[str, Any]) -> tuple[list[Finding], dict[str, str]]:
    """Programs whose first line names an interpreter that is not in the image: findings for the one that the image starts, and
    {path: interpreter} of the others, which nobody starts by name (manage.py says `#!/usr/bin/env python` everywhere)."""
    settings: dict[str, Any] = data.get("config") or {}
    started = (*(settings.get("Entrypoint") or ()), *(settings.get("Cmd") or ()))[:1]
    found: list[Finding] = []
    notes: dict[str, str] = {}
    for facts in view.layers:
        for path, line in facts.shebangs.items():
            interpreter = line.split(" ")[0]
            if path not in view.entries or not interpreter or view.resolve(interpreter.strip("/")):
                continue
            if f"/{path}" in started:
                found.append(hole(view, [Hole("interpreter", path, interpreter, interpreter.strip("/"))], ()))
            else:
                notes[path] = interpreter
    return found, notes
