"""Brings what requirements.txt locks, checked by hash, as wheels for the image's Python, and installs them into a folder.

Wheels come from pip's own indexes. What has only a source distribution is compiled in a container (`compiling`); its metadata is never
made on this machine, since that would run its code here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from lastgood.config.project import Project
from lastgood.debian.unpack import leaves
from lastgood.errors import UsageError
from lastgood.platform import Platform
from lastgood.python import compiling, interpreter

_NO_MATCH = r"No matching distribution found for ([^\s(]+)"

# Brings the source distribution of one release, found as pip finds it: pip's own command would run its code to read its metadata.
_SDIST = """
import hashlib, json, sys
from pathlib import Path
from pip._internal.commands import create_command
from pip._internal.models.target_python import TargetPython
from pip._vendor.packaging.version import Version
name, version, hashes, folder = json.load(sys.stdin)
command = create_command("download")
with command.main_context():
    options, _ = command.parse_args(["--no-input", "--quiet", name])
    session = command.get_default_session(options)
    finder = command._build_package_finder(options, session, target_python=TargetPython(), ignore_requires_python=True)
    links = [one.link for one in finder.find_all_candidates(name) if one.version == Version(version) and not one.link.is_wheel]
    answer = {"found": len(links)}
    for link in links:
        body = session.get(link.url_without_fragment).content
        if hashlib.sha256(body).hexdigest() in hashes:
            (Path(folder) / link.filename).write_bytes(body)
            answer["file"] = link.filename
            break
print(json.dumps(answer))
"""


@dataclass(frozen=True)
class Locked:
    """One requirement of a lock: its line without hashes, what it names, and the sha256 of the files that may be it."""

    line: str
    requirement: Requirement | None  # None where the line is none: pip says what is wrong with it
    hashes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The line for pip, without a marker: those are evaluated here, for the image's platform."""
        wanted = self.line.partition(";")[0].strip() if self.requirement else self.line
        return " ".join([wanted, *(f"--hash=sha256:{one}" for one in self.hashes)])

    @property
    def version(self) -> str:
        """The exact version, or nothing where the line names none."""
        found = [one.version for one in self.requirement.specifier] if self.requirement else []
        return found[0] if len(found) == 1 else ""


def read(lock: Path, platform: Platform) -> list[Locked]:
    """What `lock` names for `platform`; lines whose marker is false there are left out. Raises UsageError where it is no text."""
    try:
        text = lock.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{lock} is not UTF-8 ({error.reason} at byte {error.start}): run `lastgood lock`") from None
    joined = re.sub(r"\\\n", " ", re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE))
    found = []
    for raw in filter(None, map(str.strip, joined.splitlines())):
        hashes = tuple(re.findall(r"--hash=sha256:(\w+)", raw))
        line = re.sub(r"\s*--hash=\S+", "", raw).strip()
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            found.append(Locked(line, None, hashes))
            continue
        if requirement.marker is None or requirement.marker.evaluate(environment(platform)):
            found.append(Locked(line, requirement, hashes))
    return found


def environment(platform: Platform) -> dict[str, str]:
    """The values of environment markers in the image (https://packaging.python.org/en/latest/specifications/dependency-specifiers/)."""
    return {
        "implementation_name": "cpython", "implementation_version": f"{interpreter.VERSION}.0", "os_name": "posix",
        "platform_machine": platform.machine, "platform_python_implementation": "CPython", "platform_release": "",
        "platform_system": "Linux", "platform_version": "", "python_full_version": f"{interpreter.VERSION}.0",
        "python_version": interpreter.VERSION, "sys_platform": "linux", "extra": "",
    }  # fmt: skip


def key(project: Project, platform: Platform) -> list[str]:
    """What compiled wheels depend on but for their own sources; empty where nothing is compiled."""
    return compiling.key(project, platform) if compiling.requirements(project).is_file() else []


def install(project: Project, lock: Path, platform: Platform, wheels: Path, target: Path) -> None:
    """Installs what `lock` names into `target`; `wheels` is an empty or missing folder to work in.

    Raises UsageError for what can't be fetched, is not what the lock names, does not compile, or would leave `target`.
    """
    for name, version, sdist in download(lock, platform, wheels):
        compiling.wheel(project, platform, compiling.Source(name, version, sdist), wheels)
        sdist.unlink()
    files = sorted(wheels.glob("*.whl"))
    for file in files:
        check(file)
    arguments = ["install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--target", str(target)]
    _pip([*arguments, *_target(platform), *map(str, files)] if files else ["--version"], lock, platform)


def download(lock: Path, platform: Platform, wheels: Path) -> list[tuple[str, str, Path]]:
    """Fetches the wheels into the folder, and for what has none its source distribution: (name, version, file) of each of those."""
    wheels.mkdir(parents=True, exist_ok=True)
    locked = read(lock, platform)
    sources: list[Locked] = []
    while True:
        wanted = [one for one in locked if one not in sources]
        if not wanted:
            break
        file = wheels / lock.name
        file.write_text("".join(f"{one.text}\n" for one in wanted), encoding="utf-8")
        arguments = [
            "download",
            "--quiet",
            "--require-hashes",
            "--no-deps",
            "-r",
            str(file),
            "-d",
            str(wheels),
            *_target(platform),
        ]
        done = _run(arguments)
        file.unlink()
        if not done.returncode:
            break
        output = done.stderr + done.stdout
        lacking = re.search(_NO_MATCH, output)
        name = canonicalize_name(re.split(r"[=<>!~\[]", lacking.group(1))[0]) if lacking else ""
        one = next((one for one in wanted if one.requirement and canonicalize_name(one.requirement.name) == name), None)
        if one is None or not one.version or not one.hashes or "WARNING: Retrying" in output:
            _clear(wheels)
            raise UsageError(explain(output.replace(str(file), str(lock)), lock, platform))
        sources.append(one)
    try:
        return [_source(one, lock, platform, wheels) for one in sources]
    except UsageError:
        _clear(wheels)
        raise


def _clear(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _source(one: Locked, lock: Path, platform: Platform, folder: Path) -> tuple[str, str, Path]:
    assert one.requirement is not None
    name = canonicalize_name(one.requirement.name)
    given = json.dumps([name, one.version, one.hashes, str(folder)])
    done = subprocess.run(
        [sys.executable, "-c", _SDIST], input=given, capture_output=True, text=True, check=False, env=_environment()
    )
    if done.returncode:
        raise UsageError(explain(done.stderr + done.stdout, lock, platform))
    answer = json.loads(done.stdout.splitlines()[-1])
    if not answer["found"]:
        raise UsageError(nothing_fits(f"{name}=={one.version}", platform))
    if "file" not in answer:
        raise UsageError(_changed(f"{name}=={one.version}", lock))
    return name, one.version, folder / answer["file"]


def _target(platform: Platform) -> Iterator[str]:
    yield from ("--python-version", interpreter.VERSION, "--implementation", "cp", "--only-binary", ":all:")
    for tag in (*platform.wheels, f"linux_{platform.machine}"):
        yield from ("--platform", tag)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONWARNINGS": "ignore", "PIP_NO_COLOR": "1"}


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())


def _pip(arguments: list[str], lock: Path, platform: Platform) -> None:
    done = _run(arguments)
    if done.returncode:
        raise UsageError(explain(done.stderr + done.stdout, lock, platform))


def check(wheel: Path) -> None:
    """Raises UsageError for a wheel that is damaged, or holds a name in no encoding, outside of its folder, or a link that leaves it."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for info in archive.infolist():
                _check_entry(wheel, archive, info)
    except UnicodeDecodeError as error:
        raw = bytes(error.object)
        raise UsageError(
            f"{wheel.name} holds a file whose name is no UTF-8 ({raw!r}): it is not installed; choose another version of it"
        ) from None
    except (zipfile.BadZipFile, EOFError) as error:
        raise UsageError(f"{wheel.name} is no wheel ({error}): choose another version of it") from None


def _check_entry(wheel: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
        raise UsageError(
            f"{wheel.name} holds {info.filename}, which lies outside its folder: it is not installed; choose another version"
        )
    if any(ord(letter) < 32 or "\ud800" <= letter <= "\udfff" for letter in info.filename):
        raise UsageError(
            f"{wheel.name} holds a file whose name can't be written ({info.filename!r}): it is not installed; choose another version of it"
        )
    if stat.S_ISLNK(info.external_attr >> 16):
        link = archive.read(info).decode(errors="replace")
        if link.startswith("/") or leaves(info.filename, link):
            raise UsageError(
                f"{wheel.name} holds {info.filename}, a link to {link}, which lies outside its folder: it is not installed; choose "
                "another version"
            )


def digest(file: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def nothing_fits(name: str, platform: Platform) -> str:
    """What is said of a release that the index does not have for the image."""
    return (
        f"{name} has no wheel for Python {interpreter.VERSION} on {platform.name} at the index, nor a source distribution (or does not "
        "exist): choose another version in requirements.in and run `lastgood lock`"
    )


def _changed(name: str, lock: Path) -> str:
    return (
        f"{name}: the file that the index gave does not have a hash that {lock.name} names; nothing was installed: find out why "
        "it changed, then run `lastgood lock`"
    )


def explain(output: str, lock: Path, platform: Platform) -> str:
    """One sentence for what pip could not do with the lock."""
    if "WARNING: Retrying" in output:
        return f"the Python index does not answer, so what {lock.name} locks could not be fetched: check the network and pip's settings"
    mismatch = re.search(r"^\s*(\S+) from \S+.*:\s*$\s*Expected sha256 (\w+)", output, re.MULTILINE)
    if mismatch or "DO NOT MATCH THE HASHES" in output:
        name = mismatch.group(1) if mismatch else "a requirement"
        return _changed(name, lock)
    bare = re.search(r"^ERROR: Hashes are required[^\n]*\n\s*(\S+)", output, re.MULTILINE)
    if bare:
        return f"{lock.name} names {bare.group(1)} without a hash: run `lastgood lock`, which writes the hash of every file"
    missing = re.search(_NO_MATCH, output)
    if missing:
        return nothing_fits(missing.group(1), platform)
    lines = [line for line in output.splitlines() if line.startswith("ERROR")] or output.strip().splitlines()[-1:]
    return (
        f"{lock}: pip could not fetch what is locked: {' '.join(lines) or 'it said nothing'}; mend it and build again"
    )
