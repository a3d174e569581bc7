"""The Python lock: requirements.in → requirements.txt by pip-compile, run by the Python that the image has, for its platforms."""

from __future__ import annotations

import difflib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lastgood.config.project import Project
from lastgood.errors import Refused, UsageError
from lastgood.lock import inputs

LOCK = "requirements.txt"
BUILDS = "docker/build-requirements.txt"


@dataclass(frozen=True)
class Compiled:
    """The texts of the lock and of the build requirements (empty: none are needed)."""

    lock: str
    builds: str

    @classmethod
    def read(cls, project: Project) -> Compiled:
        """What the project has; empty texts where there is none."""
        return cls(_text(project.root / LOCK), _text(project.root / BUILDS))


def compile_lock(project: Project, *, upgrade: frozenset[str] | None = frozenset()) -> bool:
    """Compiles the lock anew and writes it; returns whether it changed.

    Versions that still fit stay, but for those of the requirements (normalised names) in `upgrade` (None: all).
    """
    after = compiled(project, upgrade)
    if after == Compiled.read(project):
        return False
    write(project, after)
    return True


def write(project: Project, after: Compiled) -> None:
    """Writes both files, the lock last: until then its hash does not fit, which a check sees."""
    _write(project.root / BUILDS, after.builds)
    _write(project.root / LOCK, after.lock)


def check(project: Project, *, prove: bool = False) -> None:
    """Raises Refused where requirements.txt is not what its inputs compile to.

    The answer comes from the hashes in its header; `prove` compiles anew, and shows the difference.
    """
    target = project.root / LOCK
    now = Compiled.read(project)
    if not target.is_file():
        raise Refused(f"{target} does not exist: run `lastgood lock` and commit it")
    if prove:
        after = compiled(project, frozenset())
        if after != now:
            raise Refused(
                f"{LOCK} is stale: run `lastgood lock` and commit it; the difference is\n{_difference(now, after)}"
            )
        return
    digest, content, body = inputs.recorded(now.lock)
    if digest is None or content is None:
        raise Refused(f"{LOCK} does not say what it was made from: run `lastgood lock` and commit it")
    if digest != inputs.read(project).digest:
        raise Refused(
            f"{LOCK} is stale: {inputs.SOURCE}, a file it includes, or the settings of the lock changed since; run `lastgood lock` and "
            "commit it"
        )
    if content != inputs.content(body, now.builds):
        edited = f"{LOCK} or {BUILDS}"
        raise Refused(f"{edited} was edited or merged by hand: run `lastgood lock`, which mends it, and commit it")


def _difference(before: Compiled, after: Compiled) -> str:
    lines: list[str] = []
    for name, old, new in ((LOCK, before.lock, after.lock), (BUILDS, before.builds, after.builds)):
        lines += difflib.unified_diff(old.splitlines(), new.splitlines(), name, "as compiled", lineterm="", n=1)
    return "\n".join(lines[:60])


def compiled(project: Project, upgrade: frozenset[str] | None) -> Compiled:
    """What the inputs compile to, for every platform of the image; nothing is written to the project.

    Raises UsageError for a requirement that does not exist or fit, or an index that does not answer.
    """
    from lastgood import parallel, platform
    from lastgood.lock import builds
    from lastgood.python import merge
    from lastgood.python.pip_compile import Tools

    found = inputs.read(project)
    before = Compiled.read(project)
    _, _, existing = inputs.recorded(before.lock)
    flags = [f"--upgrade-package={name}" for name in sorted(upgrade or ())]
    with tempfile.TemporaryDirectory(prefix="lastgood-lock-") as name:
        work = Path(name)
        tools = Tools(project, work)

        def compile_for(one: str) -> str:
            # Compiled under its own name in an empty folder, so that the comments (“via -r requirements.in”) name no path of a machine.
            folder = work / one.replace("/", "-")
            for path, content in found.files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
            if existing and upgrade is not None:
                kept = merge.written(merge.of_platform(existing, platform.ALL[one]))
                (folder / LOCK).write_text(kept, encoding="utf-8")
            tools.compile(folder, platform.ALL[one], [*flags, "--output-file", LOCK, inputs.SOURCE])
            return (folder / LOCK).read_text(encoding="utf-8")

        names = project.image.platforms
        texts = dict(zip(names, parallel.each(compile_for, names, len(names)), strict=True))
        body = merge.merged(texts)
        _no_secrets(body)
        kept_builds = before.builds if upgrade is not None else ""
        build_text = builds.lock(tools, texts, kept_builds, work, flags)
    return Compiled(inputs.header(found.digest, body, build_text) + body, build_text)


def _no_secrets(body: str) -> None:
    from lastgood.report.text import masked

    for line in body.splitlines():
        shown = masked(line)
        if shown != line:
            named = shown.removesuffix("\\").strip()
            raise UsageError(
                f"{inputs.SOURCE} asks for {named} by an address that holds a user or password, which would stand in the lock: leave them "
                "out (pip reads them from netrc or its keyring)"
            )


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _write(file: Path, text: str) -> None:
    if not text:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
