"""Looks into the demo's database from outside the application, and writes the demo's releases onto the board.

The image's own Python and its locked driver do it, so the tool needs none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lastgood.errors import UsageError
from lastgood.image.materials import Materials

_LOOK = """
import hashlib, json, os, psycopg
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    columns = connection.execute(
        "select table_name, column_name, data_type, is_nullable, coalesce(column_default, '') from information_schema.columns "
        "where table_schema = 'public' and table_name not like 'lastgood%' order by 1, 2").fetchall()
    indexes = connection.execute(
        "select tablename, indexdef from pg_indexes where schemaname = 'public' and tablename not like 'lastgood%' order by 2").fetchall()
    migrations = connection.execute("select name from django_migrations where app = 'releases' order by name").fetchall()
    rows = connection.execute("select count(*) from releases_release").fetchone()[0]
schema = hashlib.sha256(json.dumps([columns, indexes], default=str).encode()).hexdigest()
print(json.dumps({"schema": schema, "migrations": [name for name, in migrations], "rows": rows}))
"""
_WRITE = """
import json, os, sys, psycopg
names = ("environment", "number", "state", "kind", "build", "commit", "version", "digest", "who", "started", "ended", "reason")
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    for row in json.load(open(sys.argv[1])):
        changed = ", ".join(f"{name} = excluded.{name}" for name in names[2:])
        row["reason"] = row.get("cause") or row.get("reason") or ""
        row["ended"] = row.get("ended") or None
        connection.execute(
            f"insert into releases_release ({', '.join(names)}) values ({', '.join(['%s'] * len(names))}) "
            f"on conflict (environment, number) do update set {changed}", [row.get(name) for name in names])
print("{}")
"""


def look(materials: Materials, url: str) -> dict[str, Any]:
    """{"schema": a sha256 of columns and indexes, "migrations": names applied of the app `releases`, "rows": releases on the board}."""
    return _run(materials, url, ["-c", _LOOK])


def write(materials: Materials, url: str, releases: list[dict[str, Any]], scratch: Path) -> None:
    """Writes releases of the release record onto the board; those that are there already are brought up to date."""
    scratch.write_text(json.dumps(releases), encoding="utf-8")
    try:
        _run(materials, url, ["-c", _WRITE, str(scratch)])
    finally:
        scratch.unlink()


def forward(materials: Materials, url: str, source: Path, migrator: Path, identity: dict[str, str]) -> dict[str, Any]:
    """Runs the migrations of the work tree `source` by hand, as somebody might behind the pipeline's back."""
    application = materials.application
    extra = dict(application.variables) | identity | {"DJANGO_SETTINGS_MODULE": application.settings}
    return _run(materials, url, ["-m", "migrator", "forward"], f"{source}:{migrator}:", extra)


def _run(
    materials: Materials, url: str, arguments: list[str], before: str = "", extra: dict[str, str] | None = None
) -> dict[str, Any]:
    environment = (extra or {}) | {"DATABASE_URL": url, "PYTHONPATH": f"{before}{materials.installed.packages()}"}
    done = materials.runtime.python().run(arguments, environment=environment)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise UsageError(
            f"the demo can't look into its database: {lines[-1] if lines else 'no reason given'}; see `lastgood local status`"
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
