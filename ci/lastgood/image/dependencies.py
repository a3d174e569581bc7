"""The dependencies layer: what requirements.txt locks, installed for the image's Python, trimmed, and byte-compiled.

`whole` is the installation as it is, with its sources: what the project runs on while its image is built. `prepare` is what ships. Beside
each tree lies owners.json: {path in the image: the distribution it is of, as "python:django"}.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from dataclasses import asdict
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from lastgood.cache import store
from lastgood.config.project import Project
from lastgood.errors import UsageError
from lastgood.image import choices, roots, trim
from lastgood.platform import Platform, native
from lastgood.python import bytecode, imports, interpreter, wheels

RECIPE = 7


def requirements(project: Project) -> Path:
    """The project's lock. Raises UsageError where it is missing."""
    file = project.root / "requirements.txt"
    if not file.is_file():
        raise UsageError(f"{file} does not exist: run `lastgood lock` to make it from requirements.in")
    return file


def whole_key(project: Project, platform: Platform) -> str:
    """A sha256 of all that the whole tree is made from."""
    facts = [RECIPE, platform.name, wheels.key(project, platform), roots.lock(project).key("runtime", platform.debian)]
    # Without comments: the header names the hash of all inputs, which changes with every word in requirements.in.
    lines = requirements(project).read_text(encoding="utf-8").splitlines()
    body = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    return hashlib.sha256(f"{body}\0{json.dumps(facts)}".encode()).hexdigest()


def whole(project: Project, platform: Platform | None = None) -> Path:
    """The tree as it was installed, byte-compiled; of this machine's platform unless another is asked for."""
    platform = platform or native()

    def make(folder: Path) -> None:
        tree = folder / "tree"
        target = tree / interpreter.DIST_PACKAGES
        wheels.install(project, requirements(project), platform, folder / "wheels", target)
        shutil.rmtree(folder / "wheels")
        root = roots.runtime(project, native())
        bytecode.compile_files(
            tree, (path for path in target.rglob("*.py") if path.is_file() and not path.is_symlink()), root
        )
        owners = recorded(target)
        roots.write_owners(tree, owners, "python:unknown")
        by_owner = imports.modules(_below(json.loads((folder / "owners.json").read_text(encoding="utf-8"))))
        facts: dict[str, Any] = {"services": sorted(choices.services_of_distributions(tree)), "modules": by_owner}
        facts["finders"] = choices.finders_of_distributions(tree)
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    return store.entry(store.cache() / "dependencies" / f"whole-{whole_key(project, platform)[:24]}", make) / "tree"


def _below(owners: dict[str, str]) -> dict[str, str]:
    top = f"{interpreter.DIST_PACKAGES}/"
    return {path.removeprefix(top): owner for path, owner in owners.items() if path.startswith(top)}


def recorded(target: Path) -> dict[str, str]:
    """{path in the image: owner} of every file that a distribution in `target` names in its RECORD."""
    owners = {}
    for record in sorted(target.glob("*.dist-info/RECORD")):
        owner = f"python:{canonicalize_name(_metadata(record.parent)['Name'] or record.parent.name.split('-')[0])}"
        with record.open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                if row:
                    owners[f"{interpreter.DIST_PACKAGES}/{row[0].removeprefix('../../')}"] = owner
    return owners


def _metadata(info: Path) -> Any:
    file = info / "METADATA"
    return BytesHeaderParser().parsebytes(file.read_bytes() if file.is_file() else b"")


def on_django(target: Path) -> frozenset[str]:
    """The owners in `target` that are Django, or ask for it."""
    found = set()
    for info in target.glob("*.dist-info"):
        facts = _metadata(info)
        names = [canonicalize_name(facts["Name"] or "")]
        for text in facts.get_all("Requires-Dist") or ():
            try:
                names.append(canonicalize_name(Requirement(text).name))
            except InvalidRequirement:
                continue
        if "django" in names:
            found.add(f"python:{names[0]}")
    return frozenset(found)


def chosen(project: Project) -> trim.Choices:
    """What of the data stays, by the configuration and by reading the project."""
    tree = whole(project)
    facts = json.loads((tree.parent / "facts.json").read_text(encoding="utf-8"))
    known = choices.known_services(tree)
    name = whole_key(project, native())
    return trim.Choices(
        services=choices.services(project, known, frozenset(facts["services"])),
        languages=choices.languages(project, tree, name),
        static=project.image.static
        or ("contrib" if choices.static_collected(project, tree, name, facts["finders"]) else "all"),
        sources=project.image.sources,
        keep=tuple(sorted(project.image.keep)),
    )


def key(project: Project, platform: Platform) -> str:
    """A sha256 of all that the layer is made from. Installs the whole tree where it is missing: the project is read with its help."""
    return _key(project, platform, chosen(project))


def _key(project: Project, platform: Platform, choice: trim.Choices) -> str:
    facts = [trim.RECIPE, whole_key(project, platform), roots.runtime_key(project, platform), asdict(choice)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def prepare(project: Project, platform: Platform) -> Path:
    """The layer's tree for `platform`; installed, trimmed and proven unless it is in the cache.

    Raises UsageError for what can't be fetched, compiled or installed, and where a module can't be imported once the tree is trimmed.
    """
    choice = chosen(project)

    def make(folder: Path) -> None:
        origin = whole(project, platform)
        tree = folder / "tree"
        trim.copy(origin, tree)
        work = opened(project, platform, tree, choice)
        for step in trim.STEPS:
            trim.apply(work, step)
        roots.write_owners(tree, work.owners, "python:unknown")
        (folder / "failed.json").write_text(json.dumps(_prove(project, platform, tree)), encoding="utf-8")

    return store.entry(store.cache() / "dependencies" / _key(project, platform, choice)[:24], make) / "tree"


def opened(project: Project, platform: Platform, tree: Path, choice: trim.Choices) -> trim.Tree:
    """`tree`, a copy of the whole one, ready to be trimmed."""
    owners = json.loads((whole(project, platform).parent / "owners.json").read_text(encoding="utf-8"))
    bundle = roots.runtime(project, platform) / "etc/ssl/certs/ca-certificates.crt"
    return trim.Tree(tree, owners, choice, bundle, on_django(tree / interpreter.DIST_PACKAGES))


def _prove(project: Project, platform: Platform, tree: Path) -> dict[str, str]:
    origin = whole(project, platform)
    facts = json.loads((origin.parent / "facts.json").read_text(encoding="utf-8"))
    if platform == native():
        return imports.prove(origin, tree, roots.runtime(project, platform), facts["modules"])
    # Another platform's modules can't be imported here.
    top = tree / interpreter.DIST_PACKAGES
    names = {path.relative_to(top).as_posix(): "" for path in top.rglob("*") if path.is_file()}
    before = dict.fromkeys(name for of_it in facts["modules"].values() for name in of_it)
    gone = imports.missing(before, names)
    if gone:
        raise UsageError(
            f"trimming took the module {gone[0]} of {platform.name}: add it to keep in [tool.lastgood.image]"
        )
    return {}


def without(project: Project) -> list[str]:
    """The modules of dependencies that can't be imported for want of what the project says it does without."""
    failed = json.loads((prepare(project, native()).parent / "failed.json").read_text(encoding="utf-8"))
    absent = [re.compile(roots.ABSENT[part]) for part in project.image.without]
    return sorted(name for name, error in failed.items() if any(one.search(error) for one in absent))
