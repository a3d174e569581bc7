"""What requirements.txt locks, installed as it is: what the project runs on while its image is built, and what is trimmed for it."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.image import choices, owners
from lastgood.image.runtime import Runtime
from lastgood.platform import Platform, native
from lastgood.python import bytecode, imports, requirements
from lastgood.python.compiling import Compiler
from lastgood.python.install import install, metadata
from lastgood.python.interpreter import DIST_PACKAGES

RECIPE = 8


@dataclass(frozen=True)
class Installed:
    """The installation of what `lock` (requirements.txt) names, for the Python of `runtime`; what has no wheel by `compiler`."""

    lock: Path
    runtime: Runtime
    compiler: Compiler

    def key(self, platform: Platform) -> str:
        """A sha256 of all that the tree is made from. Raises UsageError where there is no lock."""
        compiled = self.compiler.key(platform) if self.compiler.lock.is_file() else []
        facts = [RECIPE, platform.name, compiled, self.runtime.stages.key("runtime", platform)]
        if not self.lock.is_file():
            raise UsageError(f"{self.lock} does not exist: run `lastgood lock`, which makes it")
        # Without comments: the header names the hash of all inputs, which changes with every word in requirements.in.
        body = requirements.meaning(requirements.text(self.lock.name, self.lock.read_bytes()))
        return hashlib.sha256(f"{body}\0{json.dumps(facts)}".encode()).hexdigest()

    def tree(self, platform: Platform) -> Path:
        """The tree as it was installed, byte-compiled; beside it lie owners.json and facts.json.

        Raises UsageError for what can't be fetched, compiled or installed.
        """
        name = f"whole-{self.key(platform)[:24]}"
        return store.entry(store.cache() / "dependencies" / name, lambda folder: self._make(platform, folder)) / "tree"

    def packages(self) -> Path:
        """Where Python finds the packages that run on this machine's own platform."""
        return self.tree(native()) / DIST_PACKAGES

    def facts(self, platform: Platform) -> dict[str, Any]:
        """What was found in the tree: `services` of AWS that it names, `modules` by owner, whether it asks static files' `finders`."""
        found: dict[str, Any] = json.loads((self.tree(platform).parent / "facts.json").read_text(encoding="utf-8"))
        return found

    def _make(self, platform: Platform, folder: Path) -> None:
        tree = folder / "tree"
        target = tree / DIST_PACKAGES
        install(self.lock, self.compiler, platform, folder / "wheels", target)
        shutil.rmtree(folder / "wheels")
        sources = (path for path in target.rglob("*.py") if path.is_file() and not path.is_symlink())
        bytecode.compile_files(tree, sources, self.runtime.python())
        owners.write(tree, recorded(target), "python:unknown")
        facts = {
            "services": sorted(choices.services_of_distributions(tree)),
            "modules": imports.modules(_below(owners.read(tree))),
            "finders": choices.finders_of_distributions(tree),
        }
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _below(owners: dict[str, str]) -> dict[str, str]:
    top = f"{DIST_PACKAGES}/"
    return {path.removeprefix(top): owner for path, owner in owners.items() if path.startswith(top)}


def recorded(target: Path) -> dict[str, str]:
    """{path in the image: owner} of every file that a distribution in `target` names in its RECORD."""
    owners = {}
    for record in sorted(target.glob("*.dist-info/RECORD")):
        owner = f"python:{canonicalize_name(metadata(record.parent)['Name'] or record.parent.name.split('-')[0])}"
        with record.open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                if row:
                    owners[f"{DIST_PACKAGES}/{row[0].removeprefix('../../')}"] = owner
    return owners


def on_django(target: Path) -> frozenset[str]:
    """The owners in `target` that are Django, or ask for it."""
    found = set()
    for info in target.glob("*.dist-info"):
        facts = metadata(info)
        names = [canonicalize_name(facts["Name"] or "")]
        for text in facts.get_all("Requires-Dist") or ():
            try:
                names.append(canonicalize_name(Requirement(text).name))
            except InvalidRequirement:
                continue
        if "django" in names:
            found.add(f"python:{names[0]}")
    return frozenset(found)
