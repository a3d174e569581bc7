"""The builds that are deployed: real commits of a copy of the reference project, told apart by what goes wrong with each."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from lastgood.config.project import LOCKS

REPOSITORY = Path(__file__).resolve().parents[2]
MIGRATIONS, MODELS = "app/releases/migrations", "app/releases/models.py"
WSGI, HEALTH = "app/board/wsgi.py", "app/board/health.py"

_GATE = '''\
from __future__ import annotations

from django.db import migrations


def wait(apps, editor):
    """Waits until nobody keeps the gate closed: a test does, to meet the migration where it wants to."""
    with editor.connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_sleep(0.05) FROM faults.closed WHERE name = '{name}'")
            if not cursor.fetchall():
                return


class Migration(migrations.Migration):
    dependencies = [("releases", "{before}")]

    operations = [migrations.RunPython({forward}, {reverse})]
'''
_NOTE = """\
from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("releases", "0002_gate")]

    operations = [migrations.AddField("release", "note", models.TextField(blank=True, db_default=""))]
"""
_BROKEN = """\
from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("releases", "0004_gate_back")]

    operations = [
        migrations.AddConstraint("release", models.UniqueConstraint(fields=["environment"], name="one_an_environment")),
    ]
"""
_GREEDY = """\
from __future__ import annotations

from django.db import migrations

def fill(apps, editor):
    held = []
    while True:
        held.append(bytearray(16 << 20))


class Migration(migrations.Migration):
    dependencies = [("releases", "0004_gate_back")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
"""
_FIELD = '    reason = models.TextField(blank=True, help_text="Why it failed or was undone.")\n'
_CONSTRAINT = (
    '        constraints = [models.UniqueConstraint(fields=["environment", "number"], name="release_number_once")]\n'
)


def _plain(_folder: Path) -> None:
    """The reference project as it is."""


def _other(folder: Path) -> None:
    """Another build of the same schema."""
    _append(folder / "app/board/urls.py", "\n# another build of the same schema\n")


def _new(folder: Path) -> None:
    """The next version: three migrations, of which the first waits on the way forward, and the last on the way back."""
    nothing, wait = "migrations.RunPython.noop", "wait"
    names = (("0002_gate", "0001_initial", "forward"), ("0004_gate_back", "0003_note", "back"))
    for name, before, gate in names:
        forward, reverse = (wait, nothing) if gate == "forward" else (nothing, wait)
        text = _GATE.format(name=gate, before=before, forward=forward, reverse=reverse)
        (folder / MIGRATIONS / f"{name}.py").write_text(text, encoding="utf-8")
    (folder / MIGRATIONS / "0003_note.py").write_text(_NOTE, encoding="utf-8")
    _insert(folder / MODELS, _FIELD, '    note = models.TextField(blank=True, db_default="")\n')


def _crash(folder: Path) -> None:
    """The next version, whose web process ends while it starts."""
    _new(folder)
    _append(folder / WSGI, '\nraise RuntimeError("it can\'t start")\n')


def _ill(folder: Path) -> None:
    """The next version, which runs and tells the load balancer that it is not well."""
    _new(folder)
    _replace(
        folder / HEALTH,
        '    return JsonResponse({"status": "ok", "digest"',
        '    return JsonResponse(status=500, data={"digest"',
    )


def _unfit(folder: Path) -> None:
    """The next version, which is well for the load balancer, and not fit for requests as /healthz sees it."""
    _new(folder)
    _replace(
        folder / HEALTH,
        "    return JsonResponse(answer, status=503 if reason else 200",
        "    return JsonResponse(answer, status=503",
    )


def _hungry(folder: Path) -> None:
    """The next version, whose web process wants more memory than its task has."""
    _new(folder)
    _append(folder / WSGI, "\nheld = []\nwhile True:\n    held.append(bytearray(16 << 20))\n")


def _broken(folder: Path) -> None:
    """The next version with a migration that the rows contradict."""
    _new(folder)
    (folder / MIGRATIONS / "0005_broken.py").write_text(_BROKEN, encoding="utf-8")
    own = '            models.UniqueConstraint(fields=["environment"], name="one_an_environment"),\n'
    both = _CONSTRAINT.replace("[models", "[\n            models", 1).replace(")]\n", f"),\n{own}        ]\n")
    _replace(folder / MODELS, _CONSTRAINT, both)


def _greedy(folder: Path) -> None:
    """The next version with a migration that wants more memory than its task has."""
    _new(folder)
    (folder / MIGRATIONS / "0005_greedy.py").write_text(_GREEDY, encoding="utf-8")


BUILDS: Mapping[str, Callable[[Path], None]] = {
    "old": _plain, "other": _other, "new": _new, "crash": _crash, "ill": _ill, "unfit": _unfit, "hungry": _hungry, "broken": _broken,
    "greedy": _greedy,
}  # fmt: skip
MIGRATED = {
    "old": "0001_initial",
    "other": "0001_initial",
    "new": "0004_gate_back",
}  # the newest migration of those that come to run


def make(folder: Path) -> None:
    """Makes the repository in `folder`, with a tag for each build."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "*.sqlite3")
    shutil.copytree(REPOSITORY / "app", folder / "app", ignore=ignored)
    for name in ("pyproject.toml", "requirements.in", *LOCKS, ".gitignore"):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    _git(folder, "init", "-q", "-b", "main")
    (folder / ".git/info/exclude").write_text(".venv-local\n", encoding="utf-8")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", "the reference project")
    for name, change in BUILDS.items():
        _git(folder, "checkout", "-q", "--detach", "main")
        change(folder)
        _git(folder, "add", "-A")
        _git(folder, "commit", "-q", "--allow-empty", "-m", f"{name}: {change.__doc__}")
        _git(folder, "tag", name)


def checkout(folder: Path, name: str) -> None:
    """Puts a build's files into the work tree."""
    _git(folder, "checkout", "-q", "--detach", name)


def _append(file: Path, text: str) -> None:
    file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")


def _insert(file: Path, line: str, added: str) -> None:
    _replace(file, line, line + added)


def _replace(file: Path, before: str, after: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert before in text, (
        f"{file.name} of the reference project has no {before!r} any more: mend tests/faults/builds.py"
    )
    file.write_text(text.replace(before, after, 1), encoding="utf-8")


def _git(folder: Path, *arguments: str) -> None:
    fixed = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for who in ("AUTHOR", "COMMITTER"):
        fixed |= {f"GIT_{who}_NAME": "faults", f"GIT_{who}_EMAIL": "faults@lastgood.invalid"}
        fixed[f"GIT_{who}_DATE"] = "2026-01-01T12:00:00+0000"
    subprocess.run(["git", "-C", str(folder), *arguments], env=os.environ | fixed, check=True)
