"""What a project runs: from its Procfile, compose files, supervisor's configuration, Dockerfile and Celery's modules."""

from __future__ import annotations

import ast
import configparser
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import yaml

from lastgood.adopt.found import Process
from lastgood.adopt.tree import Tree

SERVERS = ("gunicorn", "uvicorn", "daphne", "hypercorn", "granian", "uwsgi")
# Whatever else stands in a compose file (databases, proxies, front ends in development) is no process of the image.
_OURS = re.compile(
    r"\b(gunicorn|uvicorn|daphne|hypercorn|granian|uwsgi|celery|dramatiq|rqworker|huey|qcluster|manage\.py|django-admin|python)\b"
)
# Done by the release itself, or only by people.
_NOT_RUN = re.compile(
    r"\b(migrate|collectstatic|test|pytest|shell|makemigrations|loaddata|compilemessages|createsuperuser|flower)\b"
)
_SHELL = re.compile(r"[|&;<>`]|\$\(|\$\{?\w+")
_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Celery:
    """The module that holds Celery's app, and whether anything is scheduled by beat."""

    module: str
    beat: bool
    origin: str


def find(tree: Tree, app: str) -> tuple[list[Process], list[str]]:
    """What the repository says it runs, by name, and what of it could not be understood, a sentence each. Procfiles speak first."""
    found: dict[str, Process] = {}
    doubts: list[str] = []
    for one in (*_procfile(tree), *_compose(tree), *_supervisor(tree), *_dockerfile(tree)):
        kind = role(one.command)
        if _NOT_RUN.search(one.command) and not kind:
            continue
        if not kind and not _OURS.search(one.command):
            continue
        if "runserver" in one.command:
            continue  # Django's own, for development
        name = kind if kind in ("web", "beat") else named(one.name)
        if not name or name in found or any(_same(one.command, other.command) for other in found.values()):
            continue
        command, doubt = _plain(one.command)
        if doubt:
            doubts.append(f"{one.origin}: {one.command!r} {doubt}")
        found[name] = replace(one, name=name, command=command, single=kind == "beat")
    return list(found.values()), doubts


def named(text: str) -> str:
    """A process's name as [tool.lastgood.processes] takes it: a letter begins each of its parts."""
    return re.sub(r"-(?=\d)", "", _NAME.sub("-", text.lower())).strip("-").lstrip("0123456789")[:40]


def shell(command: str) -> bool:
    """Whether a command needs a shell, which the image does not have."""
    return bool(_SHELL.search(command))


def role(command: str) -> str:
    """`web`, `worker` or `beat` by what a command starts; empty for anything else."""
    if re.search(r"\bcelery\b.*\bbeat\b", command) and not re.search(r"\bworker\b", command):
        return "beat"
    if re.search(r"\bcelery\b.*\bworker\b|\b(rqworker|qcluster|run_huey|rundramatiq|db_worker)\b", command):
        return "worker"
    return "web" if re.search(rf"(^|[\s/])({'|'.join(SERVERS)})(\s|$)", command) else ""


def server(command: str) -> tuple[str, str]:
    """The server that a command starts and the module that it is given; empty where it starts none."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    for number, word in enumerate(words):
        name = PurePosixPath(word).name
        if name in SERVERS:
            rest = words[number + 1 :]
            module = next(
                (
                    one
                    for one in rest
                    if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*(:\w+)?", one) and ("." in one or ":" in one)
                ),
                "",
            )
            return name, module
    return "", ""


def _same(one: str, other: str) -> bool:
    return _words(one) == _words(other)


def _words(command: str) -> list[str]:
    return [word for word in re.sub(r"^\s*exec\s+", "", command).split() if not word.startswith("-")][:4]


def _plain(command: str) -> tuple[str, str]:
    """A command as a process without a shell can take it, and what of it has to be looked at."""
    command = re.sub(r"^\s*exec\s+", "", " ".join(command.split()))
    command = re.sub(r"\$\{?PORT(:-?\d+)?\}?", "8000", command)
    command = re.sub(r"\s--reload(-include\s+\S+)?(?=\s|$)", "", command)
    wrapped = re.fullmatch(r"(?:/bin/)?(?:ba|da)?sh -l?c ([\"'])(.*)\1", command)
    command = wrapped[2] if wrapped else command
    command = re.sub(rf"^/\S*/({'|'.join(SERVERS)}|celery|python3?)(?=\s|$)", r"\1", command)
    if role(command) == "web":  # the load balancer asks the container's address at this port
        command = re.sub(
            r"(?<![\d.])(0\.0\.0\.0|127\.0\.0\.1|localhost|\[::\])?:\d{2,5}(?=\s|$)", "0.0.0.0:8000", command
        )
    watched = re.search(r"\bwatch(?:files|medo)\b.*?(celery\s[^'\"]*)", command)
    command = watched[1].strip() if watched else command
    doubt = "needs a shell, which the image does not have: say it as one program"
    return command, doubt if shell(command) else ""


def _procfile(tree: Tree) -> Iterator[Process]:
    for path in tree.called("Procfile")[:1]:
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            found = re.match(r"([A-Za-z0-9_-]+):\s*(.+)", line)
            if found and found[1] != "release":
                yield Process(found[1], found[2].strip(), f"{path}:{number}")


def _compose(tree: Tree) -> Iterator[Process]:
    """The services of compose files, those for production first. Scripts that a command names are looked into."""
    paths = [
        one for one in tree.names
        if re.fullmatch(r"(docker-)?compose([-.][\w.-]+)?\.ya?ml", PurePosixPath(one).name) and one.count("/") < 3
    ]  # fmt: skip
    for path in sorted(
        paths,
        key=lambda one: (not re.search(r"prod|live|deploy", one), bool(re.search("test|docs|local|dev", one)), one),
    ):
        try:
            document = yaml.safe_load(tree.text(path)) or {}
        except (yaml.YAMLError, RecursionError, ValueError):
            continue
        services = document.get("services") if isinstance(document, dict) else None
        for name, facts in services.items() if isinstance(services, dict) else ():
            command = _command(facts.get("command")) if isinstance(facts, dict) else ""
            if command:
                yield Process(str(name), _script(tree, command), path)


def _command(value: Any) -> str:
    if isinstance(value, list):
        return shlex.join(map(str, value))
    return " ".join(value.split()) if isinstance(value, str) else ""


def _script(tree: Tree, command: str) -> str:
    """What a script that a command names starts in the end: images are often made with a `/start`."""
    first = command.split()[0]
    if not first.startswith(("/", "./")) or PurePosixPath(first).name in SERVERS:
        return command
    name = PurePosixPath(first).name
    # cookiecutter's compose/production/django/celery/worker/start becomes /start-celeryworker
    words = [word for word in re.split(r"[-_/.]", name) if word]
    candidates = [
        one for one in tree.names
        if PurePosixPath(one).name == name
        or (len(words) > 1 and PurePosixPath(one).name == words[0] and "".join(words[1:]) in re.sub(r"[^a-z]", "", one))
    ]  # fmt: skip
    candidates.sort(key=lambda one: ("prod" not in one, one.count("/"), one))
    for one in candidates:
        lines = [line.strip() for line in tree.text(one).replace("\\\n", " ").splitlines()]
        for line in reversed(lines):
            if role(line) and not line.startswith(("#", "echo")):
                return line
    return command


def _supervisor(tree: Tree) -> Iterator[Process]:
    for path in tree.names:
        if not path.endswith((".conf", ".ini")) or "supervisor" not in path:
            continue
        parser = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=(";",))
        try:
            parser.read_string(tree.text(path))
        except configparser.Error:
            continue
        for section in parser.sections():
            if section.startswith("program:") and parser.has_option(section, "command"):
                yield Process(section.removeprefix("program:"), parser.get(section, "command"), path)


def _dockerfile(tree: Tree) -> Iterator[Process]:
    for path in tree.called("Dockerfile"):
        text = tree.text(path).replace("\\\n", " ")
        for kind in ("CMD", "ENTRYPOINT"):
            lines = re.findall(rf"^{kind}\s+(.+)$", text, re.MULTILINE)
            if not lines:
                continue
            try:
                command = shlex.join(map(str, json.loads(lines[-1])))
            except ValueError:
                command = lines[-1].strip()
            # Migrating and then serving is how one container does it; here the release migrates.
            parts = [one.strip() for one in re.split(r"\s*(?:;|&&)\s*", command)]
            command = next((one for one in reversed(parts) if role(one)), command)
            if role(command) == "web":
                yield Process("web", _script(tree, command), path)


def celery(tree: Tree, app: str, beat_packages: bool, settings: Iterator[str]) -> Celery | None:
    """Celery's app: the module with `app = Celery(…)`, and whether a schedule is there."""
    top = "" if app == "." else f"{app}/"
    scheduled = beat_packages or any(
        "CELERY_BEAT_SCHEDULE" in text or "CELERYBEAT_SCHEDULE" in text for text in settings
    )
    for path in sorted(
        tree.below(app, ".py"),
        key=lambda one: (PurePosixPath(one).stem not in ("celery", "celery_app"), one.count("/")),
    ):
        text = tree.text(path)
        if "Celery(" not in text or re.search(r"(^|/)(tests?|docs)/", path):
            continue
        try:
            body = ast.parse(text).body
        except (SyntaxError, ValueError):
            continue
        made = [node for node in body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)]
        if any(ast.unparse(node.value.func).rpartition(".")[2] == "Celery" for node in made):  # type: ignore[attr-defined]
            module = path.removeprefix(top).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            beat = scheduled or "beat_schedule" in text or "add_periodic_task" in text
            return Celery(module.removesuffix(".celery"), beat, path)
    return None
