"""`make survey [ONLY=name,name]`: published packages, locked and built, compared with what their own wheels promise.

For every distribution that a lock names, the wheel is fetched a second time by pip alone, and each of its files is looked for in the
unpacked image. It is there, there as byte-code, or of a kind that docs/image.md says is left out; anything else is a loss, and so is an
entry point that loads from what was installed and does not in the image. docs/survey.md is written from the answers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from lastgood.cache import store
from lastgood.config import project as projects
from lastgood.image import compress
from lastgood.image.materials import Materials
from lastgood.platform import native
from lastgood.python.interpreter import DIST_PACKAGES, VERSION, Python

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PAGE = REPOSITORY / "docs/survey.md"
TOGETHER = 6  # packages in one lock; one that can't be locked or built beside the others is tried alone

# What may be absent, by kind: docs/image.md, “what is left out”. Paths are those in the wheel.
KINDS = (
    ("programs", re.compile(r"[^/]+\.data/(scripts|headers|data)/|bin/")),
    ("AWS", re.compile(r"(botocore|boto3)/(data|examples)/")),
    ("translations", re.compile(r"(?:.+/)?locale/[\w@-]+/LC_MESSAGES/[^/]+\.(po|mo)$")),
    ("collected", re.compile(r"django/contrib/\w+/static/")),
    ("developers' files", re.compile(r".+\.(pyi|pxd|pyx|pxi|h|hpp|hh|c|cc|cpp|a|o|lib|la)$")),
    ("data of tests", re.compile(r"(?!(?:.+/)?(templates|static)/).+/tests/(?!.*\.(py|so)$).+")),
    ("documentation", re.compile(r".+/(docs?|man)/[^/]+\.(rst|md|html|1)$")),
)


@dataclass(frozen=True)
class Package:
    """A line of packages.txt: what to ask pip for, and the Debian packages to compile it with and to run it on."""

    name: str
    build: tuple[str, ...] = ()
    run: tuple[str, ...] = ()


@dataclass
class Answer:
    """What came out for one package: `outcome` is "", or the sentence of the refusal."""

    name: str
    version: str = ""
    distributions: int = 0
    files: int = 0
    points: int = 0
    outcome: str = ""
    left_out: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


def packages(text: str) -> list[Package]:
    """The packages that the file names."""
    found = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words:
            named = dict(word.split(":") for word in words[1:])
            found.append(
                Package(words[0], *(tuple(filter(None, named.get(k, "").split(","))) for k in ("build", "run")))
            )
    return found


def left_out(name: str) -> str | None:
    """The kind by which a file of a wheel may be absent, or None."""
    return next((kind for kind, pattern in KINDS if pattern.match(name)), None)


def compare(promised: Iterable[str], there: frozenset[str]) -> tuple[Counter[str], list[str]]:
    """Of the files that a wheel holds: how many are left out, by kind, and the names of those that are lost."""
    counted: Counter[str] = Counter()
    lost = []
    for name in promised:
        placed = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", name)
        if placed in there or (placed.endswith(".py") and f"{placed}c" in there):
            continue
        kind = left_out(placed)
        if kind:
            counted[kind] += 1
        else:
            lost.append(placed)
    return counted, lost


def make(folder: Path, wanted: Sequence[Package]) -> None:
    """Makes a Django project that depends on the packages, as small as one can be."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    debian = {name: sorted({one for each in wanted for one in getattr(each, name)}) for name in ("run", "build")}
    (folder / "pyproject.toml").write_text(
        '[tool.lastgood]\nproject = "survey"\napp = "."\nsettings = "settings"\n[tool.lastgood.image]\nbudget = "900 MB"\n'
        f"packages = {json.dumps(debian['run'])}\nbuild-packages = {json.dumps(debian['build'])}\n",
        encoding="utf-8",
    )
    (folder / "manage.py").write_text("", encoding="utf-8")
    (folder / "settings.py").write_text('SECRET_KEY = "x"\nINSTALLED_APPS = []\nUSE_TZ = True\n', encoding="utf-8")
    (folder / "requirements.in").write_text(
        "\n".join(["django", "gunicorn", *(one.name for one in wanted), ""]), encoding="utf-8"
    )
    (folder / ".gitignore").write_text("/.lastgood/\n/out/\n/wheels/\n/root/\n", encoding="utf-8")
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "survey"]):
        _git(folder, *command)


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=survey", "-c", "user.email=survey@example.invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def lastgood(folder: Path, *arguments: str) -> str:
    """Runs the command on the project as a person would; returns its refusal, empty where it did it."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "ci"), "LASTGOOD_STATE": str(folder / ".lastgood")}
    done = subprocess.run(
        [sys.executable, "-m", "lastgood", *arguments, "--project", str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if "lastgood:" in line] or done.stderr.splitlines()[-1:] or ["?"]
    return lines[-1].partition("lastgood: ")[2] or lines[-1]


def unpack(layout: Path, target: Path) -> None:
    """Unpacks the image of an OCI layout of one platform, layer over layer."""

    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    top = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
    target.mkdir()
    for layer in json.loads(blob(top).read_bytes())["layers"]:
        with blob(layer["digest"]).open("rb") as packed:
            raw = cast(Any, compress.expanding(packed, layer["mediaType"]))
            with tarfile.open(fileobj=raw, mode="r|") as archive:
                archive.extractall(target, filter="tar")


def promised(folder: Path, lock: Path) -> dict[str, list[str]]:
    """{distribution: files of its wheel}, fetched by pip alone; distributions without a wheel are not in it."""
    target = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (36, 35, 34, 31, 28, 27, 24, 17, 12, 5)]
    target += [
        "--platform=manylinux2014_x86_64",
        "--implementation=cp",
        f"--python-version={VERSION}",
        "--only-binary=:all:",
    ]
    folder.mkdir()
    found: dict[str, list[str]] = {}
    names = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder), *target]
    together = subprocess.run([*command, *(f"{a}=={b}" for a, b in names)], capture_output=True, check=False)
    for name, version in names if together.returncode else ():  # one of them has no wheel
        subprocess.run([*command, f"{name}=={version}"], capture_output=True, check=False)
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as opened:
            found[wheel.name.split("-")[0].lower().replace("_", "-")] = [
                n for n in opened.namelist() if not n.endswith("/")
            ]
    return found


def points(python: Python, packages_: Path, folder: Path) -> dict[str, str]:
    """{entry point: "" or the error of loading it}, by that Python from these packages."""
    environment = {"PYTHONPATH": str(packages_), "HOME": str(folder), "TMPDIR": str(folder)}
    done = python.run([str(HERE / "asked.py")], environment=environment, cwd=folder)
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))


def survey(folder: Path, wanted: Sequence[Package]) -> list[Answer]:
    """The answers for packages that are locked together; alone where that is refused."""
    make(folder, wanted)
    refusal = lastgood(folder, "lock") or _built(folder)
    if refusal:
        if len(wanted) == 1:
            return [Answer(wanted[0].name, outcome=refusal)]
        return [answer for one in wanted for answer in survey(folder, [one])]
    unpack(folder / "out", folder / "root")
    lock = folder / "requirements.txt"
    top = folder / "root" / DIST_PACKAGES
    there = frozenset(path.relative_to(top).as_posix() for path in top.rglob("*"))
    wheels = promised(folder / "wheels", lock)
    os.environ["LASTGOOD_STATE"] = str(folder / ".lastgood")
    materials = Materials.of(projects.load(folder))
    with store.using(store.cache()):
        whole = materials.installed.tree(native()) / DIST_PACKAGES
        after, before = (
            points(Python(folder / "root"), top, folder),
            points(materials.runtime.python(), whole, folder),
        )
    counted: Counter[str] = Counter()
    lost = [f"entry point {key}: {text}" for key, text in after.items() if text and not before.get(key)]
    for files in wheels.values():
        kinds, gone = compare(files, there)
        counted += kinds
        lost += gone
    versions = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE))
    bare = [re.sub(r"\[.*", "", one.name) for one in wanted]
    return [
        Answer(
            one.name,
            versions.get(name.lower().replace("_", "-"), "?"),
            len(versions),
            sum(map(len, wheels.values())),
            len(after),
            "",
            dict(counted),
            sorted(lost),
        )
        for one, name in zip(wanted, bare, strict=True)
    ]


def _built(folder: Path) -> str:
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message", "locked")
    return lastgood(folder, "build", "--layout", str(folder / "out"))


def page(answers: Mapping[str, Mapping[str, Any]]) -> str:
    """docs/survey.md."""
    rows = [answers[name] for name in answers]
    refused = [row for row in rows if row["outcome"]]
    lost = [row for row in rows if row["lost"]]
    whole = len(rows) - len(refused) - len(lost)
    counts = f"{len(rows)} packages: {whole} whole, {len(refused)} refused with a sentence, {len(lost)}"
    lines = [
        "# What packages promise, and what the image holds",
        "",
        f"Made by `make survey`, never edited by hand. {counts} with a loss that nothing announced.",
        "",
        "Each package was locked and built, up to six in one project. Every file of every wheel that its lock names was looked for in the",
        "unpacked image, and every entry point was loaded there and from what was installed before trimming. “Left out” are files of the",
        "kinds that [image.md](image.md) names; the figures of packages that were built together are those of all of them.",
        "",
        "| package | version | files in wheels | entry points | left out | lost, or refused |",
        "| --- | --- | ---: | ---: | --- | --- |",
    ]
    for row in rows:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(row["left_out"].items())) or "nothing"
        said = row["outcome"] or "; ".join(f"`{one}`" for one in row["lost"][:5]) or "–"
        if len(row["lost"]) > 5:
            said += f" and {len(row['lost']) - 5} more"
        said = said.replace("|", "\\|").replace("\n", " ")
        cells = (row["name"], row["version"], row["files"], row["points"], kinds if not row["outcome"] else "", said)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + f"\n\nLast run: {datetime.now(UTC):%Y-%m-%d}.\n"


def batches(wanted: Sequence[Package]) -> Iterator[Sequence[Package]]:
    """The packages in the order of the file, TOGETHER at a time; what needs Debian packages is alone."""
    plain = [one for one in wanted if not one.build and not one.run]
    yield from (plain[at : at + TOGETHER] for at in range(0, len(plain), TOGETHER))
    yield from ([one] for one in wanted if one.build or one.run)


def main(arguments: Sequence[str]) -> int:
    """Returns 0, or 1 where something was lost in silence."""
    parser = argparse.ArgumentParser(prog="make survey", description=__doc__)
    parser.add_argument("--only", default="", help="names of packages, with commas")
    options = parser.parse_args(arguments)
    only = [name for name in options.only.split(",") if name]
    wanted = [
        one for one in packages((HERE / "packages.txt").read_text(encoding="utf-8")) if not only or one.name in only
    ]
    work = REPOSITORY / ".lastgood/survey"
    kept = work / "answers.json"
    work.mkdir(parents=True, exist_ok=True)
    answers: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    wanted = [one for one in wanted if only or one.name not in answers]
    for batch in batches(wanted):
        for one in survey(work / "project", batch):
            answers[one.name] = asdict(one)
            print(one.name, one.version, one.outcome or (one.lost[:3] if one.lost else "whole"), flush=True)
        kept.write_text(json.dumps(answers, indent=1), encoding="utf-8")
    order = [one.name for one in packages((HERE / "packages.txt").read_text(encoding="utf-8"))]
    PAGE.write_text(page({name: answers[name] for name in order if name in answers}), encoding="utf-8")
    return int(any(one["lost"] for one in answers.values()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
