"""What a manifest says, and its text: JSON as manifest.schema.json describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UsageError, cause
from . import schema
from .squash import set_aside

SCHEMA = 2
READABLE = (1, 2)  # what databases hold of builds that were made earlier; 1 knew no loss


@dataclass(frozen=True)
class Migration:
    """One migration file of a build; `dependencies` and `replaces` hold "app.name".

    What is said of operations is a description of each: `irreversible` have no way back, `lossy` take data that no undoing brings back,
    `holds` make room for data that goes when they are undone. `again`: the directions ("forward", "back") in which it bears to be run once
    more after an interruption, whatever had happened of it. `breaks` are those that the code of a build before can't live with, with the
    reason; None where nobody knows. `effect` is a hash of what it does to a database; empty where nobody knows.
    """

    app: str
    name: str
    sha256: str
    dependencies: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    atomic: bool = True
    irreversible: tuple[str, ...] = ()
    lossy: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    rollback: str | None = None
    again: tuple[str, ...] = ()
    effect: str = field(default="", compare=False)
    breaks: tuple[str, ...] | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        return f"{self.app}.{self.name}"


KNOWN = frozenset(each.name for each in fields(Migration))


@dataclass(frozen=True)
class Manifest:
    """A build's migrations in the order in which Django would apply them to an empty database."""

    build: str
    django: str
    migrations: tuple[Migration, ...]
    commit: str | None = None
    schema: int = field(default=SCHEMA, compare=False)  # of the text that it was read from
    text: str | None = field(default=None, compare=False, repr=False)  # that text

    @cached_property
    def by_key(self) -> Mapping[str, Migration]:
        return {migration.key: migration for migration in self.migrations}

    @cached_property
    def atoms(self) -> tuple[Migration, ...]:
        """The migrations that this build runs one by one, in order: a squashed one only where files of its originals are gone."""
        aside = set_aside(self.by_key, self.replaces)
        return tuple(migration for migration in self.migrations if migration.key not in aside)

    @cached_property
    def replaces(self) -> Mapping[str, tuple[str, ...]]:
        """What each squashed migration replaces."""
        return {migration.key: migration.replaces for migration in self.migrations if migration.replaces}

    def __contains__(self, key: object) -> bool:
        return key in self.by_key

    def __getitem__(self, key: str) -> Migration:
        return self.by_key[key]

    def same_files(self, other: Manifest) -> bool:
        """Return whether both say the same of the same files; what an older schema did not say counts as the same."""
        if self.schema == other.schema:
            return self.migrations == other.migrations
        return {one.key: one.sha256 for one in self.migrations} == {one.key: one.sha256 for one in other.migrations}

    def dumps(self) -> str:
        """Return the manifest as JSON text, the same text for the same files; what was read from a text is that text."""
        if self.text is not None:
            return self.text
        data: dict[str, Any] = {"schema": SCHEMA, "build": self.build, "django": self.django}
        if self.commit:
            data["commit"] = self.commit
        data["migrations"] = [asdict(migration) for migration in self.migrations]
        return json.dumps(data, indent=1, sort_keys=True) + "\n"


def load(path: Path) -> Manifest:
    """Return the manifest in the file `path`. Raise UsageError when it can't be read or is not one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the manifest {path} can't be read: {cause(error)}") from error
    return loads(text, f"the manifest {path}")


def loads(text: str, what: str, *, checked: bool = False) -> Manifest:
    """Return the manifest in `text`; `what` names it in the UsageError raised when it is none.

    `checked`: it is one that we have stored ourselves, of which there may be many, and comparing it with the schema is most of the work.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{what} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise UsageError(f"{what} is not a JSON object")
    if data.get("schema") not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise UsageError(f"{what} has schema {data.get('schema')!r}, this migrator reads schema {known}")
    wrong = None if checked else schema.mistake(data, schema.manifest_schema())
    if wrong:
        raise UsageError(f"{what} is not valid: {wrong}")
    return Manifest(
        build=data["build"],
        django=data["django"],
        commit=data.get("commit"),
        schema=data["schema"],
        text=text,
        migrations=tuple(_migration(entry) for entry in data["migrations"]),
    )


def _migration(data: dict[str, Any]) -> Migration:
    # What a newer migrator has stored may say more than this one knows.
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in data.items() if name in KNOWN
    }
    return Migration(**values)
