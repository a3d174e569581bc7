"""The four versions of the demo: real commits of a throwaway repository made from the reference project.

Author and dates are fixed, so that the same sources give the same commits, the same builds and the same digests every time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lastgood.config.project import LOCKS
from lastgood.errors import UsageError
from lastgood.image import commit

_MODEL = "app/releases/models.py"
_TEMPLATE = "app/releases/templates/releases/list.html"
_MIGRATIONS = "app/releases/migrations"
_WSGI = "app/board/wsgi.py"

_NOTE = """\
from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("releases", "0001_initial")]

    operations = [
        # A default of the database's own: version 1 keeps inserting while it is still running.
        migrations.AddField("release", "note", models.TextField(blank=True, db_default="")),
    ]
"""
_INCIDENT = """\
from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("releases", "0002_release_note")]

    operations = [
        migrations.CreateModel(
            name="Incident",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("opened", models.DateTimeField(auto_now_add=True)),
                ("text", models.TextField()),
                ("release", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="releases.release")),
            ],
        ),
    ]
"""
_UNIQUE = """\
from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("releases", "0003_incident")]

    operations = [
        migrations.AddField("release", "owner", models.CharField(max_length=100, blank=True, db_default="")),
        # What nobody saw in development: the table already holds several releases of one environment.
        migrations.AddConstraint(
            "release", models.UniqueConstraint(fields=["environment"], name="one_release_an_environment")
        ),
    ]
"""
_INCIDENT_MODEL = '''

class Incident(models.Model):
    """What went wrong with a release, as people saw it."""

    release = models.ForeignKey(Release, on_delete=models.CASCADE)
    opened = models.DateTimeField(auto_now_add=True)
    text = models.TextField()

    def __str__(self) -> str:
        return f"{self.release}: {self.text}"
'''
_REASON_FIELD = '    reason = models.TextField(blank=True, help_text="Why it failed or was undone.")\n'
_REASON_LINE = '      {% if release.reason %}<p class="reason">{{ release.reason }}</p>{% endif %}\n'
_CRASH = '\nraise RuntimeError("version 3 can\'t start: INCIDENT_QUEUE is not set")\n'


def make(root: Path, app: Path, folder: Path) -> Mapping[str, str]:
    """Makes the repository in `folder` (its old content is removed) from the reference project: its root, and its app's folder.

    Returns {"v1": commit, … "v4": commit}.

    Raises UsageError where the reference project no longer has the lines that the versions change.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    _git(folder, "init", "-q", "-b", "main")
    _first(root, app, folder)
    commits = {"v1": _commit(folder, 1, "The release board")}
    _second(folder)
    commits["v2"] = _commit(folder, 2, "A note on each release")
    _third(folder)
    commits["v3"] = _commit(folder, 3, "Incidents")
    _fourth(folder)
    commits["v4"] = _commit(folder, 4, "Incidents, started right; an owner, and one release an environment")
    return commits


def checkout(folder: Path, version: str) -> None:
    """Puts the files of `v1` … `v4` into the work tree."""
    _git(folder, "checkout", "-q", "--detach", version)


def _first(root: Path, app: Path, folder: Path) -> None:
    for name in commit.files(app):
        target = folder / "app" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(app / name, target)
    for name in ("requirements.in", *LOCKS):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    tables = re.findall(r"^\[tool\.lastgood[^\]]*\]\n(?:(?!\[).*\n?)*", text, re.MULTILINE)
    (folder / "pyproject.toml").write_text("".join(tables), encoding="utf-8")


def _second(folder: Path) -> None:
    (folder / _MIGRATIONS / "0002_release_note.py").write_text(_NOTE, encoding="utf-8")
    _after(folder / _MODEL, _REASON_FIELD, '    note = models.TextField(blank=True, db_default="")\n')
    _after(
        folder / _TEMPLATE,
        _REASON_LINE,
        '      {% if release.note %}<p class="note">{{ release.note }}</p>{% endif %}\n',
    )


def _third(folder: Path) -> None:
    (folder / _MIGRATIONS / "0003_incident.py").write_text(_INCIDENT, encoding="utf-8")
    model = folder / _MODEL
    model.write_text(model.read_text(encoding="utf-8") + _INCIDENT_MODEL, encoding="utf-8")
    wsgi = folder / _WSGI
    wsgi.write_text(wsgi.read_text(encoding="utf-8") + _CRASH, encoding="utf-8")


def _fourth(folder: Path) -> None:
    wsgi = folder / _WSGI
    wsgi.write_text(wsgi.read_text(encoding="utf-8").removesuffix(_CRASH), encoding="utf-8")
    (folder / _MIGRATIONS / "0004_one_release_an_environment.py").write_text(_UNIQUE, encoding="utf-8")
    _after(folder / _MODEL, _REASON_FIELD, '    owner = models.CharField(max_length=100, blank=True, db_default="")\n')
    constraint = '            models.UniqueConstraint(fields=["environment"], name="one_release_an_environment"),\n'
    _replace(
        folder / _MODEL,
        r"        constraints = \[(.*)\]\n",
        rf"        constraints = [\n            \1,\n{constraint}        ]\n",
    )


def _after(file: Path, line: str, added: str) -> None:
    text = file.read_text(encoding="utf-8")
    if line not in text:
        raise UsageError(
            f"{file.name} of the reference project lacks the line {line.strip()!r}, which the demo changes: mend demo/versions.py"
        )
    file.write_text(text.replace(line, line + added, 1), encoding="utf-8")


def _replace(file: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, file.read_text(encoding="utf-8"), count=1)
    if not count:
        raise UsageError(
            f"{file.name} of the reference project has no line like {pattern!r}, which the demo changes: mend demo/versions.py"
        )
    file.write_text(text, encoding="utf-8")


def _commit(folder: Path, number: int, message: str) -> str:
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", message, number=number)
    _git(folder, "tag", f"v{number}")
    return _git(folder, "rev-parse", "HEAD")


def _git(folder: Path, *arguments: str, number: int = 0) -> str:
    fixed = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_AUTHOR_NAME": "lastgood demo",
        "GIT_AUTHOR_EMAIL": "demo@lastgood.invalid",
        "GIT_AUTHOR_DATE": f"2026-01-0{number + 1}T12:00:00+0000",
    }
    fixed |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in fixed.items() if "AUTHOR" in key}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], env=os.environ | fixed, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UsageError(
            f"git {arguments[0]} failed in {folder}: {done.stderr.strip()}; remove the folder and run the demo again"
        )
    return done.stdout.strip()
