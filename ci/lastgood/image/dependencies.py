"""The dependencies layer: what requirements.txt locks, as wheels for the image's Python, checked by hash, and byte-compiled."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from lastgood.errors import UsageError
from lastgood.image import base, python, store
from lastgood.project import Project, cache

RECIPE = 2
_PLATFORMS = ("manylinux_2_36_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
_BOTOCORE_KEPT = ("cloudformation", "ssm", "sts", "s3", "sqs", "secretsmanager")


def key(project: Project) -> str:
    """A sha256 of all that the layer is made from."""
    lock = requirements(project).read_bytes()
    return hashlib.sha256(
        b"\0".join([lock, base.runtime_key().encode(), repr((RECIPE, _BOTOCORE_KEPT)).encode()])
    ).hexdigest()


def requirements(project: Project) -> Path:
    """The project's lock. Raises UsageError where it is missing."""
    file = project.root / "requirements.txt"
    if not file.is_file():
        raise UsageError(f"{file} does not exist: run `lastgood lock` to make it from requirements.in")
    return file


def prepare(project: Project) -> Path:
    """The folder whose `tree` is the layer's content; installed unless it is in the cache."""

    def make(folder: Path) -> None:
        wheels = folder / "wheels"
        target = folder / "tree" / python.DIST_PACKAGES
        _download(requirements(project), wheels)
        _install(requirements(project), wheels, target)
        shutil.rmtree(wheels)
        _trim(target)
        base.compile_tree(folder / "tree", [python.DIST_PACKAGES], base.runtime(project.image))

    return store.entry(cache() / "dependencies" / key(project)[:24], make) / "tree"


def _pip(arguments: list[str], lock: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "ignore", "PIP_NO_COLOR": "1"},
    )
    if done.returncode:
        raise UsageError(explain(done.stderr + done.stdout, lock))


def explain(output: str, lock: Path) -> str:
    """One sentence for what pip could not do with the lock."""
    if "WARNING: Retrying" in output:
        return f"the Python index does not answer, so what {lock.name} locks could not be fetched: check the network and pip's settings"
    mismatch = re.search(r"^\s*(\S+) from \S+.*:\s*$\s*Expected sha256 (\w+)", output, re.MULTILINE)
    if mismatch or "DO NOT MATCH THE HASHES" in output:
        name = mismatch.group(1) if mismatch else "a requirement"
        return (
            f"{name}: the file that the index gave does not have a hash that {lock.name} names; nothing was installed: find out why "
            "it changed, then run `lastgood lock`"
        )
    bare = re.search(r"^ERROR: Hashes are required[^\n]*\n\s*(\S+)", output, re.MULTILINE)
    if bare:
        return f"{lock.name} names {bare.group(1)} without a hash: run `lastgood lock`, which writes the hash of every file"
    missing = re.search(r"No matching distribution found for ([^\s(]+)", output)
    if missing:
        return (
            f"{missing.group(1)} has no wheel for Python {python.VERSION} on linux x86_64 at the index (or does not exist): choose "
            f"another version in requirements.in and run `lastgood lock`"
        )
    lines = [line for line in output.splitlines() if line.startswith("ERROR")] or output.strip().splitlines()[-1:]
    return (
        f"{lock}: pip could not fetch what is locked: {' '.join(lines) or 'it said nothing'}; mend it and build again"
    )


def _download(lock: Path, wheels: Path) -> None:
    target = ["--python-version", python.VERSION, "--implementation", "cp", "--only-binary", ":all:"]
    for platform in _PLATFORMS:
        target += ["--platform", platform]
    _pip(["download", "--quiet", "--require-hashes", "--no-deps", "-r", str(lock), "-d", str(wheels), *target], lock)


def _install(lock: Path, wheels: Path, target: Path) -> None:
    arguments = [
        "install",
        "--quiet",
        "--no-index",
        "--find-links",
        str(wheels),
        "--require-hashes",
        "--no-deps",
        "--no-compile",
    ]
    arguments += ["--target", str(target), "--python-version", python.VERSION, "--implementation", "cp"]
    for platform in _PLATFORMS:
        arguments += ["--platform", platform]
    _pip([*arguments, "--only-binary", ":all:", "-r", str(lock)], lock)


def _trim(target: Path) -> None:
    """Removes data, never code that can be imported: AWS models of services that are not used, programs, what names this machine."""
    shutil.rmtree(target / "bin", ignore_errors=True)
    data = target / "botocore/data"
    if data.is_dir():
        for folder in data.iterdir():
            if folder.is_dir() and folder.name not in _BOTOCORE_KEPT:
                shutil.rmtree(folder)
    for pattern in ("*.dist-info/direct_url.json", "*.dist-info/REQUESTED", "*.dist-info/INSTALLER"):
        for file in target.glob(pattern):
            file.unlink()
    for catalogue in target.rglob("locale/*/LC_MESSAGES/*.po"):
        catalogue.unlink()
    for record in target.glob("*.dist-info/RECORD"):
        _keep_record(record, target)


def _keep_record(record: Path, target: Path) -> None:
    """Leaves in a RECORD what is there: the hash of a program's first line, which names this machine's Python, must not stay behind."""
    with record.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row and (target / row[0]).is_file()]
    with record.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(sorted(rows))
