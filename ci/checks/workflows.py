"""Checks `.github` with zizmor, GitHub's own parser, the schemas of check-jsonschema, and our own rules of trust. All must find nothing.

Usage: python ci/checks/workflows.py [FOLDER]    (the folder that holds `.github`; this repository's, unless told)
Exit status: 0 nothing found · 1 findings · 2 a checker can't run.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import trust
from node import CannotCheckError, find, last_words, modules, run

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Finding:
    """What a checker found. `line` counts from 1; None where the checker names none."""

    file: str
    line: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


@dataclass(frozen=True)
class Files:
    """The workflows and actions below `root`/.github."""

    root: Path
    workflows: tuple[Path, ...]
    actions: tuple[Path, ...]

    @classmethod
    def of(cls, root: Path) -> Files:
        """Raises CannotCheckError where there is none: nothing checked is not nothing found."""
        folder = root.resolve() / ".github"
        found = cls(
            root.resolve(),
            tuple(sorted(folder.glob("workflows/*.y*ml"))),
            tuple(sorted(folder.glob("actions/*/action.y*ml"))),
        )
        if not found.workflows:
            raise CannotCheckError(f"{folder} holds no workflow: name the folder that holds .github")
        return found

    @property
    def all(self) -> tuple[Path, ...]:
        return self.workflows + self.actions

    def name(self, path: str) -> str:
        """The path below the root, for people."""
        return os.path.relpath(self.root / path, self.root)


def zizmor(files: Files) -> list[Finding]:
    """Security: injection, permissions, pinning, and more; the pedantic persona, without network."""
    arguments = ["--offline", "--quiet", "--no-config", "--strict-collection", "--persona", "pedantic"]
    done = run([_program("zizmor"), *arguments, "--format", "json", "--no-exit-codes", *map(str, files.all)])
    if done.returncode:
        # A file that it can't read at all ends it; the first line below "fatal" names the file, the last one the reason.
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return [Finding(".github", None, f"{lines[1].replace(f'file://{files.root}/', '')}: {lines[-1]}")]
    found = []
    for entry in json.loads(done.stdout):
        place = next(at for at in entry["locations"] if at["symbolic"]["kind"] == "Primary")
        file = place["symbolic"]["key"]["Local"]["verbatim_path"]
        line = place["concrete"]["location"]["start_point"]["row"] + 1
        found.append(Finding(files.name(file), line, f"{entry['ident']}: {entry['desc']}"))
    return found


def schema(files: Files) -> list[Finding]:
    """Keys and types, by the schemas that editors use (vendored in check-jsonschema)."""
    found: list[Finding] = []
    for name, group in (("vendor.github-workflows", files.workflows), ("vendor.github-actions", files.actions)):
        if not group:
            continue
        done = run(
            [_program("check-jsonschema"), "--output-format", "json", "--builtin-schema", name, *map(str, group)]
        )
        try:
            report = json.loads(done.stdout)
        except ValueError:
            raise CannotCheckError(f"check-jsonschema broke: {last_words(done)}") from None
        for entry in report.get("errors", []):
            text = (entry.get("best_deep_match") or entry)["message"]
            found.append(Finding(files.name(entry["filename"]), None, f"{entry['path']}: {text}"))
        found += [
            Finding(files.name(entry["filename"]), None, entry["message"]) for entry in report.get("parse_errors", [])
        ]
    return found


def parser(files: Files) -> list[Finding]:
    """Expressions, contexts, needs and inputs, by the parser that GitHub itself uses."""
    node = find()
    server = modules(HERE) / "node_modules/@actions/languageserver/bin/actions-languageserver"
    done = run([node.program, str(HERE / "parser.mjs"), str(server), str(files.root), *map(str, files.all)])
    if done.returncode:
        raise CannotCheckError(f"GitHub's parser broke: {last_words(done)}")
    return [Finding(files.name(entry["file"]), entry["line"], entry["text"]) for entry in json.loads(done.stdout)]


def trusted(files: Files) -> list[Finding]:
    """Code of a project and an identity never meet in a job."""
    found = []
    for file in files.workflows:
        try:
            found += [Finding(files.name(str(file)), line, text) for line, text in trust.findings(file)]
        except (trust.yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
            found.append(Finding(files.name(str(file)), None, f"trust: it can't be read ({type(error).__name__})"))
    return found


CHECKS: tuple[tuple[str, Callable[[Files], list[Finding]]], ...] = (
    ("zizmor", zizmor),
    ("schema", schema),
    ("GitHub's parser", parser),
    ("trust", trusted),
)


def _program(name: str) -> str:
    found = Path(sys.executable).parent / name
    if not found.is_file():
        raise CannotCheckError(f"{name} is not in {found.parent}: run `make .venv/tests`")
    return str(found)


def main(arguments: Sequence[str]) -> int:
    """Runs the checks; one line each on standard output, findings below it."""
    status = 0
    try:
        files = Files.of(Path(arguments[0]) if arguments else ROOT)
        for name, check in CHECKS:
            found = check(files)
            print(f"{'✗' if found else '✓'} {name}: {len(files.all)} files, {len(found) or 'no'} findings", flush=True)
            for finding in found:
                print(f"  {finding}", flush=True)
            status = status or bool(found)
    except CannotCheckError as error:
        print(f"workflows: {error}", file=sys.stderr)
        return 2
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
