"""The files that follow from what was found: planned first, then written, and nothing that is there is ever overwritten."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lastgood.adopt import texts
from lastgood.adopt.found import Found
from lastgood.config.tables import Project
from lastgood.errors import UsageError

NEW, ADDED, SAME, LEFT = "new", "added to", "as it should be", "left as it is"


@dataclass(frozen=True)
class File:
    """One file of the plan: `state` is what becomes of it, `text` what is written behind its `before` bytes."""

    path: Path
    state: str
    text: str
    before: bytes = b""

    @property
    def written(self) -> bool:
        """Whether anything is written."""
        return self.state in (NEW, ADDED)


def plan(root: Path, found: Found, bundle: str, version: str) -> list[File]:
    """What `init` would write for a project below `root`. Raises UsageError for a pyproject.toml that nothing can be added to."""
    top = git(root, "rev-parse", "--show-toplevel")
    home = Path(top) if top else root
    folder = root.resolve().relative_to(home.resolve()).as_posix()
    files = [_pyproject(root / "pyproject.toml", texts.tables(found))]
    for name, text in texts.workflows(bundle, version, _branch(root), folder):
        files.append(_whole(home / ".github/workflows" / name, text))
    files.append(_lines(root / ".gitignore", texts.IGNORED))
    return files


def write(files: Sequence[File]) -> None:
    """Writes what the plan says. A file that changed meanwhile is not touched: raises UsageError naming it."""
    for file in files:
        if file.written and (file.path.read_bytes() if file.path.exists() else b"") != file.before:
            raise UsageError(f"{file.path} changed while it was read: run the command again")
    for file in files:
        if file.written:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            with file.path.open("ab") as opened:  # what is there keeps every byte
                opened.write(file.text.encode())


def git(root: Path, *arguments: str) -> str:
    """What git says; empty where it says nothing, or there is none."""
    command = ["git", "-c", "safe.bareRepository=explicit", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def _branch(root: Path) -> str:
    remote = git(root, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD").removeprefix("origin/")
    return remote or git(root, "symbolic-ref", "--quiet", "--short", "HEAD") or "main"


def _pyproject(file: Path, text: str) -> File:
    if not file.exists():
        return File(file, NEW, text)
    before = file.read_bytes()
    try:
        whole = before.decode("utf-8")
        tool = tomllib.loads(whole).get("tool", {})
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file} can't be read ({error}): mend it, and nothing of it will be changed") from None
    if isinstance(tool, dict) and "lastgood" in tool:
        return File(file, LEFT, text, before)
    end = "\r\n" if "\r\n" in whole else "\n"
    joint = "" if not whole else end if whole.endswith("\n") else 2 * end
    added = joint + text.replace("\n", end)
    try:
        tomllib.loads(whole + added)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{file} takes no [tool.lastgood] at its end ({error}): write `[tool.…]` tables there, not `tool = {{ … }}`, and run it again"
        ) from None
    return File(file, ADDED, added, before)


def _whole(file: Path, text: str) -> File:
    if not file.exists():
        return File(file, NEW, text)
    before = file.read_bytes()
    return File(file, SAME if before == text.encode() else LEFT, text, before)


def _lines(file: Path, lines: Sequence[str]) -> File:
    before = file.read_bytes() if file.exists() else b""
    known = {line.strip().strip("/") for line in before.decode("utf-8", "replace").splitlines()}
    missing = [line for line in lines if line.strip("/") not in known]
    if not missing:
        return File(file, SAME, "", before)
    end = "\r\n" if b"\r\n" in before else "\n"
    joint = end if before and not before.endswith(b"\n") else ""
    return File(file, ADDED if before else NEW, joint + "".join(f"{line}{end}" for line in missing), before)


def drift(project: Project, found: Found, files: Sequence[File]) -> Iterator[str]:
    """What the repository says by now and the configuration does not, a sentence each."""
    known = project.image.environment
    for one in found.variables:
        if one.name not in known:
            yield (
                f"{one.origin} reads {one.name}, which has no default: add it to [tool.lastgood.image.environment], as "
                f'{one.name} = "{texts.placeholder(one)}"'
            )
    for native in found.native:
        for key, wanted, has in (
            ("packages", native.packages, project.image.packages),
            ("build-packages", native.build_packages, project.image.build_packages),
        ):
            missing = [one for one in wanted if one not in has]
            if missing:
                yield f"{native.requirement} needs {', '.join(missing)}: add it to {key} in [tool.lastgood.image]"
    if found.source and project.lock.source != found.source and not (project.root / project.lock.source).is_file():
        yield f"[tool.lastgood.lock] source is {project.lock.source}, which is gone, and {found.source} is there: name it"
    running: Collection[str] | None = getattr(project, "processes", None)
    for process in found.processes if running else ():
        if process.name not in (running or ()):
            yield f"{process.origin} runs {process.name} ({process.command}), which [tool.lastgood.processes] does not have: add it"
    for file in files:
        if file.written and file.path.name != "pyproject.toml":
            yield f"{file.path} lacks what `lastgood init` writes: run it"
