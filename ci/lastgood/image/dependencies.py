"""The dependencies layer: what requirements.txt locks, as it ships: trimmed, with the proof that no code was lost, and byte-compiled."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.image import owners, runtime, trim
from lastgood.image.installed import Installed, on_django
from lastgood.platform import Platform, native
from lastgood.python import imports
from lastgood.python.interpreter import DIST_PACKAGES


@dataclass(frozen=True)
class Dependencies:
    """What ships of `installed`; `choice` says which of the data stays."""

    installed: Installed
    choice: trim.Choices

    def key(self, platform: Platform) -> str:
        """A sha256 of all that the layer is made from."""
        keys = [self.installed.key(platform), self.installed.runtime.key(platform)]
        return hashlib.sha256(json.dumps([trim.RECIPE, *keys, asdict(self.choice)]).encode()).hexdigest()

    def tree(self, platform: Platform) -> Path:
        """The layer's tree for `platform`; installed, trimmed and proven unless it is in the cache. Beside it lies owners.json.

        Raises UsageError for what can't be fetched, compiled or installed, and where a module can't be imported once the tree is trimmed.
        """

        def make(folder: Path) -> None:
            tree = folder / "tree"
            trim.copy(self.installed.tree(platform), tree)
            work = self.opened(platform, tree)
            left_out = {}
            for step in trim.STEPS:
                known = len(work.removed)
                trim.apply(work, step)
                left_out[step.name] = work.removed[known:]
            (folder / "left-out.json").write_text(json.dumps(left_out), encoding="utf-8")
            owners.write(tree, work.owners, "python:unknown")
            (folder / "failed.json").write_text(json.dumps(self._prove(platform, tree)), encoding="utf-8")

        return store.entry(store.cache() / "dependencies" / self.key(platform)[:24], make) / "tree"

    def opened(self, platform: Platform, tree: Path) -> trim.Tree:
        """`tree`, a copy of the installed one, ready to be trimmed."""
        known = owners.read(self.installed.tree(platform))
        bundle = self.installed.runtime.root(platform) / "etc/ssl/certs/ca-certificates.crt"
        return trim.Tree(tree, known, self.choice, bundle, on_django(tree / DIST_PACKAGES))

    def left_out(self, platform: Platform) -> dict[str, list[str]]:
        """{step: the files that it took} of the tree for `platform`."""
        found: dict[str, list[str]] = json.loads((self.tree(platform).parent / "left-out.json").read_text("utf-8"))
        return {step: names for step, names in found.items() if names}

    def unimportable(self) -> list[str]:
        """What is said of each distribution that can't be imported, trimmed or not: a library is missing, most of the time."""
        failed = json.loads((self.tree(native()).parent / "failed.json").read_text(encoding="utf-8"))
        return imports.unimportable(failed, self.installed.facts(native())["modules"])

    def lost(self, parts: Iterable[str]) -> list[str]:
        """The modules that can't be imported for want of `parts` of Python, which the project does without."""
        failed = json.loads((self.tree(native()).parent / "failed.json").read_text(encoding="utf-8"))
        absent = [re.compile(runtime.ABSENT[part]) for part in parts]
        return sorted(name for name, error in failed.items() if any(one.search(error) for one in absent))

    def _prove(self, platform: Platform, tree: Path) -> dict[str, str]:
        modules = self.installed.facts(platform)["modules"]
        if platform == native():
            return imports.prove(self.installed.tree(platform), tree, self.installed.runtime.contained, modules)
        # Another platform's modules can't be imported here.
        top = tree / DIST_PACKAGES
        names = {path.relative_to(top).as_posix(): "" for path in top.rglob("*") if path.is_file()}
        before = dict.fromkeys(name for of_it in modules.values() for name in of_it)
        gone = imports.missing(before, names)
        if gone:
            raise UsageError(
                f"trimming took the module {gone[0]} of {platform.name}: add it to keep in [tool.lastgood.image]"
            )
        return {}
