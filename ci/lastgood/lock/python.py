"""The Python lock: requirements.in, or another source, → requirements.txt by pip-compile, run by the image's Python for its platforms."""

from __future__ import annotations

import difflib
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from lastgood.config.project import BUILDS, LockSettings, Project
from lastgood.debian.stages import Stages
from lastgood.errors import Refused, UsageError
from lastgood.lock import inputs, sources
from lastgood.lock.inputs import Inputs
from lastgood.lock.sources import Source
from lastgood.python import merge, requirements


@dataclass(frozen=True)
class Compiled:
    """The texts of the lock and of the build requirements (empty: none are needed)."""

    lock: str
    builds: str


@dataclass(frozen=True)
class PythonLock:
    """The Python lock of the project at `root`. `cooldown` is how many days old a file must be to be taken."""

    root: Path
    platforms: tuple[str, ...]
    cooldown: int = 0
    settings: LockSettings = field(default_factory=LockSettings)

    @classmethod
    def of(cls, project: Project) -> PythonLock:
        """The lock of a project."""
        return cls(project.root, tuple(project.image.platforms), project.lock.cooldown, project.lock)

    @property
    def file(self) -> str:
        """The lock's name below the root."""
        return self.settings.file

    def source(self) -> Source:
        """What the project names as the source of its lock. Raises UsageError where it can't be read."""
        one = self.settings
        return sources.read(self.root, one.source, one.extras, one.groups, one.also)

    def own(self) -> bool:
        """Whether the lock's file is not there, or was written by us."""
        text = _text(self.root / self.file)
        return not text or inputs.recorded(text)[0] is not None

    def read(self) -> Compiled:
        """What the project has; empty texts where there is none."""
        return Compiled(_text(self.root / self.file), _text(self.root / BUILDS))

    def write(self, after: Compiled) -> None:
        """Writes both files, the lock last: until then its hash does not fit, which a check sees."""
        _write(self.root / BUILDS, after.builds)
        _write(self.root / self.file, after.lock)

    def inputs(self) -> Inputs:
        """What the lock is made from. Raises UsageError for an input that can't be read."""
        return inputs.read(self.root, self.platforms, self.cooldown, self.source(), self.file)

    def check(self) -> None:
        """Raises Refused where the lock is not what its inputs compile to, by the hashes in its header."""
        now = self._existing()
        digest, content, body = inputs.recorded(now.lock)
        if digest is None or content is None:
            raise Refused(f"{self.file} does not say what it was made from: run `lastgood lock` and commit it")
        if digest != self.inputs().digest:
            raise Refused(
                f"{self.file} is stale: {self.settings.source}, a file it includes, or the settings of the lock changed since; run "
                "`lastgood lock` and commit it"
            )
        if content != inputs.content(body, now.builds):
            edited = f"{self.file} or {BUILDS}"
            raise Refused(f"{edited} was edited or merged by hand: run `lastgood lock`, which mends it, and commit it")

    def prove(self, stages: Stages) -> None:
        """Compiles anew by the Python of `stages`, with no hash taken over from the lock: each must be one that the index has of it.

        Raises Refused, with the difference, where the lock is not that. A file that was added at the index since is none.
        """
        now = self._existing()
        after = self.compiled(stages, frozenset(), hashes=False)
        for name, old, new in ((self.file, now.lock, after.lock), (BUILDS, now.builds, after.builds)):
            invented = _invented(old, new)
            if invented:
                raise Refused(
                    f"{name}: {invented}, which no file of it at the index has: find out who wrote it, restore the file from git, and run "
                    "`lastgood lock`"
                )
        if (_bare(after.lock), _bare(after.builds)) != (_bare(now.lock), _bare(now.builds)):
            raise Refused(
                f"{self.file} is stale: run `lastgood lock` and commit it; the difference is\n{_difference(self.file, now, after)}"
            )
        self.check()

    def compiled(self, stages: Stages, upgrade: frozenset[str] | None, *, hashes: bool = True) -> Compiled:
        """What the inputs compile to by the Python of `stages`, for every platform of the image; nothing is written to the project.

        Versions that still fit stay, but for those of the requirements (normalised names) in `upgrade` (None: all), and so do their hashes,
        unless `hashes` is false: then all come from the index. Raises UsageError for a requirement that does not exist or fit, or an index
        that does not answer.
        """
        from lastgood import parallel, platform
        from lastgood.lock import builds
        from lastgood.python.compiling import Compiler
        from lastgood.python.pip_compile import Tools

        found = self.inputs()
        before = self.read()
        _, _, existing = inputs.recorded(before.lock)
        # pip-compile takes over the hashes of a version that stays, whoever wrote them.
        kept_builds = before.builds if upgrade is not None else ""
        if not hashes:
            existing, kept_builds = merge.written(merge.bare(existing)), merge.written(merge.bare(kept_builds))
        flags = [f"--upgrade-package={name}" for name in sorted(upgrade or ())]
        with tempfile.TemporaryDirectory(prefix="lastgood-lock-") as name:
            work = Path(name)
            tools = Tools(Compiler(stages, self.root / BUILDS), work, self.cooldown)

            def compile_for(one: str) -> str:
                # Compiled under its own name in an empty folder, so that the comments (“via -r requirements.in”) name no path of a machine.
                folder = work / one.replace("/", "-")
                for path, content in found.files.items():
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    (folder / path).write_text(content, encoding="utf-8")
                (folder / self.file).parent.mkdir(parents=True, exist_ok=True)
                if existing and upgrade is not None:
                    kept = merge.written(merge.of_platform(existing, platform.ALL[one]))
                    (folder / self.file).write_text(kept, encoding="utf-8")
                try:
                    tools.compile(folder, platform.ALL[one], [*flags, "--output-file", self.file, found.entry])
                except UsageError as error:
                    raise UsageError(_named(str(error), self.settings)) from None
                return sources.told((folder / self.file).read_text(encoding="utf-8"))

            names = self.platforms
            texts = dict(zip(names, parallel.each(compile_for, names, len(names)), strict=True))
            body = merge.merged(texts)
            try:
                requirements.locked(self.file, body)
            except UsageError as error:
                raise UsageError(_named(str(error), self.settings)) from None
            build_text = builds.lock(tools, texts, kept_builds, work, flags)
        return Compiled(inputs.header(found.digest, body, build_text) + body, build_text)

    def _existing(self) -> Compiled:
        target = self.root / self.file
        if not target.is_file():
            raise Refused(f"{target} does not exist: run `lastgood lock` and commit it")
        return self.read()


def _invented(old: str, new: str) -> str:
    """The first entry of `old` with a hash that `new`, as the index has it, does not know: a phrase; empty where there is none."""
    known: dict[tuple[str, str], set[str]] = {}
    for entry in merge.entries(new):
        known.setdefault((entry.name, entry.spec), set()).update(entry.hashes)
    for entry in merge.entries(old):
        for one in entry.hashes:
            if one not in known.get((entry.name, entry.spec), {one}):
                return f"{entry.name} {entry.version} has the hash {one[:23]}…"
    return ""


def _bare(text: str) -> str:
    """What a lock means, without hashes, which `_invented` has compared: the index may have more of them by now."""
    return re.sub(r" --hash=sha256:[0-9a-f]{64}", "", requirements.meaning(text))


def _difference(file: str, before: Compiled, after: Compiled) -> str:
    lines: list[str] = []
    for name, old, new in ((file, before.lock, after.lock), (BUILDS, before.builds, after.builds)):
        lines += difflib.unified_diff(old.splitlines(), new.splitlines(), name, "as compiled", lineterm="", n=1)
    return "\n".join(lines[:60])


def _named(text: str, settings: LockSettings) -> str:
    """An error of pip-compile with the project's own names of its files."""
    return text.replace("requirements.in", settings.source).replace("requirements.txt", settings.file)


def _text(file: Path) -> str:
    return requirements.text(file.name, file.read_bytes()) if file.is_file() else ""


def _write(file: Path, text: str) -> None:
    if not text:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
