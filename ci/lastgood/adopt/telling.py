"""What `lastgood init` says: what was found and where, what became of each file, what nobody could know, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lastgood.adopt.found import Found
from lastgood.adopt.texts import ENVIRONMENT
from lastgood.adopt.writing import LEFT, File
from lastgood.config import keys
from lastgood.config.tables import Project
from lastgood.report.terminal import table


def rows(found: Found) -> Iterator[tuple[str, str]]:
    """(what, value) of what was found."""
    yield "project", found.name
    yield "application", f"{found.app}/manage.py".removeprefix("./")
    yield "settings", f"{found.settings} ({found.settings_origin})"
    yield "server", f"{found.server} {found.module}".strip()
    for one in found.processes:
        yield f"process {one.name}", f"{one.command} ({one.origin})"
    if found.source:
        yield "needs", f"{found.source} → {found.lock}, {len(found.requirements)} requirements"
    yield "database", found.database or "not found"
    if found.celery:
        yield "Celery", found.celery
    for native in found.native:
        wanted = ", ".join((*native.packages, *native.build_packages)) or "brings its own OpenSSL"
        yield f"Debian for {native.requirement}", wanted
    if found.node:
        yield "Node", f"{' && '.join(found.node.commands)} → {', '.join(found.node.outputs) or '?'}"
    if found.variables:
        yield "no default", ", ".join(one.name for one in found.variables)


def following(found: Found, files: Sequence[File], bundle: str) -> Iterator[str]:
    """What a person has to do next, in that order."""
    if any(file.state == LEFT and file.path.name == "pyproject.toml" for file in files):
        yield "pyproject.toml has [tool.lastgood] already, which stays: `lastgood init --check` says what it lacks"
    for file in files:
        if file.state == LEFT and file.path.name != "pyproject.toml":
            yield f"{file.path.name} is there and another one than init writes: compare it with `lastgood init --dry-run`"
    if bundle.startswith("OWNER/"):
        yield "in the workflows, OWNER is whoever keeps the bundle in your organisation (or run init with --bundle)"
    if found.node and not found.node.outputs:
        yield "say what the build by Node makes, as before-static-makes in [tool.lastgood.image]"
    if not found.source:
        yield "list what the image needs in requirements.in"
    if "processes" not in keys.of(Project):
        yield "let the application answer /livez and /healthz, and give it a gunicorn.conf.py with wsgi_app (README, “adopt it”)"
    yield f"`lastgood lock{' --take-over' if found.take_over else ''}`, then commit, then `lastgood build` and `lastgood scan`"
    yield f"fill in [tool.lastgood.environments.{ENVIRONMENT}], and let an administrator run `lastgood bootstrap` (docs/aws.md)"
    yield "set the variables AWS_REGION, LASTGOOD_DEPLOY_ROLE and LASTGOOD_PUSH_ROLE of the repository on GitHub"


def text(root: Path, found: Found, files: Sequence[File], bundle: str, *, dry_run: bool) -> str:
    """All of it, for a terminal."""
    lines = [table(("found", "what"), list(rows(found))), ""]
    for file in files:
        name = file.path.relative_to(root).as_posix() if file.path.is_relative_to(root) else str(file.path)
        lines.append(f"{name}: {file.state}")
        if dry_run and file.text:
            lines += [f"    {line}".rstrip() for line in file.text.strip("\r\n").splitlines()]
    if found.doubts:
        lines += ["", "To be looked at:", *(f"- {one}" for one in found.doubts)]
    lines += ["", "Next:", *(f"{number}. {one}" for number, one in enumerate(following(found, files, bundle), 1))]
    return "\n".join(lines)
