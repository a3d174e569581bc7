"""Brings what a Python lock names, checked by hash, as wheels for the image's Python.

Wheels come from pip's own indexes. What has only a source distribution comes as that: its metadata is never made on this machine, since
that would run its code here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

from lastgood.errors import UsageError
from lastgood.platform import Platform
from lastgood.python import indexes
from lastgood.python.interpreter import VERSION
from lastgood.python.locked import Locked
from lastgood.python.sources import Source
from lastgood.report.text import masked

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


def download(lock: Path, named: Sequence[Locked], platform: Platform, wheels: Path) -> list[Source]:
    """Fetches what `lock` names for `platform` into the folder: wheels, and for what has none, or shall not come as one, its source
    distribution, which is returned.
    """
    wheels.mkdir(parents=True, exist_ok=True)
    sources = [one for one in named if one.from_source and not one.requirement.url]
    while True:
        wanted = [one for one in named if one not in sources]
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
            *target(platform),
        ]
        done = pip(arguments)
        file.unlink()
        if not done.returncode:
            break
        output = done.stderr + done.stdout
        lacking = re.search(_NO_MATCH, output)
        name = canonicalize_name(re.split(r"[=<>!~\[]", lacking.group(1))[0]) if lacking else ""
        one = next((one for one in wanted if one.name == name), None)
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


def _source(one: Locked, lock: Path, platform: Platform, folder: Path) -> Source:
    name = one.name
    given = json.dumps([name, one.version, one.hashes, str(folder)])
    command = [*indexes.PYTHON, "-c", _SDIST]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, env=_environment())
    if done.returncode:
        raise UsageError(explain(done.stderr + done.stdout, lock, platform))
    answer = json.loads(done.stdout.splitlines()[-1])
    if not answer["found"]:
        raise UsageError(nothing_fits(f"{name}=={one.version}", platform))
    if "file" not in answer:
        raise UsageError(_changed(f"{name}=={one.version}", lock))
    return Source(name, one.version, folder / answer["file"])


def target(platform: Platform) -> Iterator[str]:
    """The options of pip that name the image's Python and platform."""
    yield from ("--python-version", VERSION, "--implementation", "cp", "--only-binary", ":all:")
    for tag in (*platform.wheels, f"linux_{platform.machine}"):
        yield from ("--platform", tag)


def _environment() -> dict[str, str]:
    return indexes.settings() | {"PATH": os.environ.get("PATH", os.defpath), "PIP_NO_COLOR": "1"}


def pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs this machine's pip, with what its settings say of indexes."""
    command = [*indexes.PYTHON, "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())


def nothing_fits(name: str, platform: Platform) -> str:
    """What is said of a release that the index does not have for the image."""
    return (
        f"{name} has no wheel for Python {VERSION} on {platform.name} at the index, nor a source distribution (or does not "
        "exist): choose another version in requirements.in and run `lastgood lock`"
    )


def _changed(name: str, lock: Path) -> str:
    return (
        f"{name}: the file that the index gave does not have a hash that {lock.name} names; nothing was installed: find out why "
        "it changed, then run `lastgood lock`"
    )


def explain(output: str, lock: Path, platform: Platform) -> str:
    """One sentence for what pip could not do with the lock."""
    output = masked(output)
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
