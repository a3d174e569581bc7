"""Decides what to do. Pure: facts and manifests in, a decision out; nothing here reads or writes anything.

Histories are taken as linear, of several apps that may depend on each other. What these rules can't do, they refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .manifest import Manifest, Migration


@dataclass(frozen=True)
class Applied:
    """What the ledger says of the run that applied a migration."""

    build: str
    digest: str
    sha256: str


@dataclass(frozen=True)
class Build:
    """A build that has run against this database."""

    manifest: Manifest
    digest: str = ""


@dataclass(frozen=True)
class Facts:
    """What the database says: `rows` of django_migrations and `builds`, both oldest first; `ledger` by migration."""

    rows: tuple[str, ...] = ()
    ledger: Mapping[str, Applied] = field(default_factory=dict)
    builds: Mapping[str, Build] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What this image is to do: `migrations` in the order to run; `status` is run, nothing, needs or refused.

    After `run`, `rest` says what is left for the build `needs`.
    """

    status: str
    migrations: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    needs: str | None = None
    needs_digest: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Segment:
    """Migrations that run in one transaction, or, if not `atomic`, one migration that runs outside any."""

    atomic: bool
    migrations: tuple[str, ...]


@dataclass(frozen=True)
class Phase:
    """One call of one build's image."""

    build: str
    direction: str
    migrations: tuple[str, ...]


def compare(rows: Iterable[str], wanted: Manifest) -> tuple[str, list[str], list[str]]:
    """Return how `rows` stand to `wanted` (in step, ahead, behind, diverged), what is missing and what is extra."""
    applied = dict.fromkeys(rows)
    missing = [migration.key for migration in wanted.migrations if migration.key not in applied]
    extra = [key for key in applied if key not in wanted]
    if missing and extra:
        return "diverged", missing, extra
    return ("behind" if missing else "ahead" if extra else "in step"), missing, extra


def forward(facts: Facts, image: Manifest, wanted: Manifest, *, accept_loss: bool = False) -> Decision:
    """Decide what the build `image` applies so that the database is what `wanted` wants."""
    reason = unplannable(image, wanted) or _two_leaves(wanted)
    if reason:
        return Decision("refused", reason=reason)
    _, missing, extra = compare(facts.rows, wanted)
    if extra:
        return _needs(facts, extra[::-1], image, wanted)
    if not missing:
        return Decision("nothing")
    changed = [key for key in missing if key not in image or image[key].sha256 != wanted[key].sha256]
    if changed:
        known = facts.builds.get(wanted.build)
        reason = f"{changed[0]} is not in build {image.build} as build {wanted.build} has it: that build must apply it"
        return Decision("needs", needs=wanted.build, needs_digest=known.digest if known else None, reason=reason)
    order = tuple(migration.key for migration in image.migrations if migration.key in set(missing))
    reason = _out_of_order(facts.rows, order, image)
    if reason is None and facts.rows and not accept_loss:
        reason = _gate(image[key] for key in order)
    return Decision("refused", reason=reason) if reason else Decision("run", order)


def drops_an_app(facts: Facts, wanted: Manifest) -> str | None:
    """Return why a build that this database has never met is refused: it has no migration of an app that has tables here.

    A rollback looks the same but for one thing: the build that it wants was here before. Without this, an ordinary deploy of a build
    that drops an app from INSTALLED_APPS would have the tables undone, with their data.
    """
    if wanted.build in facts.builds:
        return None
    apps = {migration.app for migration in wanted.migrations}
    for key in facts.rows:
        app = key.split(".", 1)[0]
        if app not in apps and key in facts.ledger:
            return (
                f"build {wanted.build} has no migration of the app {app}, whose tables build {facts.ledger[key].build} made: they would be "
                "undone with their data; keep the app until its tables are gone by a migration of its own, or pass --accept-loss"
            )
    return None


def back(facts: Facts, image: Manifest, wanted: Manifest) -> Decision:
    """Decide what the build `image` undoes of what `wanted` does not want.

    The newest part that this image is entitled to undo; `needs` names the build that goes on from there. Refused when
    it is known that nobody could finish.
    """
    reason = unplannable(image, wanted)
    if reason:
        return Decision("refused", reason=reason)
    extra = compare(facts.rows, wanted)[2][::-1]
    if not extra:
        return Decision("nothing")
    reason = _no_way_back(facts, extra, image, wanted)
    if reason:
        return Decision("refused", reason=reason)
    mine: list[str] = []
    for key in extra:
        if not entitled(facts, key, image):
            break
        mine.append(key)
    # Newest first by order of application is a legal order, unless this build has turned two migrations round.
    while blocked := {key for row in facts.rows if row not in mine for key in _parents(facts, row, image)} & {*mine}:
        mine = [key for key in mine if key not in blocked]
    rest = tuple(key for key in extra if key not in mine)
    after = _needs(facts, rest, image, wanted) if rest else Decision("nothing")
    if not mine or after.status == "refused":
        return after
    order = tuple(migration.key for migration in reversed(image.migrations) if migration.key in mine)
    return replace(after, status="run", migrations=order, rest=rest)


def route(facts: Facts, image: Manifest, wanted: Manifest) -> tuple[tuple[Phase, ...], Decision]:
    """Return the phases from here to `wanted`, each by the build that must run it, and the decision they end with."""
    phases: list[Phase] = []
    while extra := compare(facts.rows, wanted)[2]:
        name, _ = who(facts, extra[-1])
        known = facts.builds.get(name) if name and name != image.build else None
        runner = known.manifest if known else image
        decision = back(facts, runner, wanted)
        if decision.status != "run":
            return tuple(phases), decision
        phases.append(Phase(runner.build, "back", decision.migrations))
        facts = replace(facts, rows=tuple(row for row in facts.rows if row not in decision.migrations))
    decision = forward(facts, wanted, wanted)
    if decision.status == "run":
        phases.append(Phase(wanted.build, "forward", decision.migrations))
    return tuple(phases), decision


def segments(order: Iterable[str], image: Manifest, *, together: bool) -> tuple[Segment, ...]:
    """Cut `order` into what runs in one transaction; `together` says whether the database can run several in one."""
    cut: list[Segment] = []
    for key in order:
        atomic = image[key].atomic
        if cut and together and atomic and cut[-1].atomic:
            cut[-1] = Segment(True, (*cut[-1].migrations, key))
        else:
            cut.append(Segment(atomic, (key,)))
    return tuple(cut)


def who(facts: Facts, key: str) -> tuple[str | None, str | None]:
    """Return name and digest of the build that must undo `key`: who applied it, else the newest that has it."""
    applied = facts.ledger.get(key)
    if applied:
        return applied.build, applied.digest or None
    for name, build in reversed(list(facts.builds.items())):
        if key in build.manifest:
            return name, build.digest or None
    return None, None


def entitled(facts: Facts, key: str, image: Manifest) -> bool:
    """Return whether `image` may undo `key`: it has the file that was applied, or nobody knows which that was."""
    applied = facts.ledger.get(key)
    return key in image and (applied is None or applied.sha256 == image[key].sha256)


def changed(facts: Facts, wanted: Manifest) -> list[str]:
    """Return the applied migrations whose file in `wanted` is not the one that was applied."""
    return [
        key
        for key in facts.rows
        if key in wanted and key in facts.ledger and facts.ledger[key].sha256 != wanted[key].sha256
    ]


def unplannable(*manifests: Manifest) -> str | None:
    """Return why no decision can be made from these manifests."""
    for manifest in manifests:
        for migration in manifest.migrations:
            if migration.replaces:
                return (
                    f"build {manifest.build} has the squashed migration {migration.key}: squashed migrations are not "
                    "supported yet; keep the originals and leave `replaces` out"
                )
    return None


def _needs(facts: Facts, extra: Iterable[str], image: Manifest, wanted: Manifest) -> Decision:
    newest, *others = extra
    what = newest + (f" and {len(others)} more" if others else "")
    name, digest = who(facts, newest)
    start = f"{what}: applied, but not in build {wanted.build}"
    if name is None:
        reason = f"{start}, and the ledger does not know which build applied it; run `back` of a build that has it"
        return Decision("needs", reason=reason)
    # Naming the very build that does not have it would send the caller round in circles.
    if name == wanted.build or (name == image.build and not entitled(facts, newest, image)):
        reason = f"{start}; the ledger says that build {name} applied it, which no longer has that file"
        return Decision("refused", reason=reason)
    return Decision("needs", needs=name, needs_digest=digest, reason=f"{start}; build {name} must undo it first")


def _no_way_back(facts: Facts, extra: list[str], image: Manifest, wanted: Manifest) -> str | None:
    """Return why `extra` can't all be undone, by this image or by others."""
    for key in extra:
        migration = _known(facts, key, image)
        if migration is None:
            return f"{key} is applied, but not in build {wanted.build}, and no known build has its file"
        if migration.irreversible:
            accepted = f" (accepted: {migration.rollback})" if migration.rollback else ""
            return f"{key} can't be undone: {', '.join(migration.irreversible)} has no reverse{accepted}"
    for row in facts.rows:
        stands_on = _parents(facts, row, image) & set(extra) if row in wanted else set()
        if stands_on:
            return (
                f"{row}, which build {wanted.build} wants, depends on {min(stands_on)}, which it does not want: "
                "the histories have diverged, which needs a person"
            )
    return None


def _known(facts: Facts, key: str, image: Manifest) -> Migration | None:
    """Return `key` as the build has it that is going to undo it."""
    if entitled(facts, key, image):
        return image[key]
    name, _ = who(facts, key)
    build = facts.builds.get(name) if name else None
    return build.manifest.by_key.get(key) if build else None


def _parents(facts: Facts, key: str, image: Manifest) -> set[str]:
    """Return what `key` depends on, by this image and by the build that applied it."""
    known = _known(facts, key, image)
    return {*(known.dependencies if known else ()), *(image[key].dependencies if key in image else ())}


def _two_leaves(manifest: Manifest) -> str | None:
    """Return which app has two newest migrations; Django refuses that too."""
    parents = {(parent, migration.app) for migration in manifest.migrations for parent in migration.dependencies}
    newest: dict[str, str] = {}
    for migration in manifest.migrations:
        if (migration.key, migration.app) in parents:
            continue
        if migration.app in newest:
            return (
                f"build {manifest.build} has two newest migrations of app {migration.app}, {newest[migration.app]} "
                f"and {migration.key}: merge them with `makemigrations --merge`"
            )
        newest[migration.app] = migration.key
    return None


def _out_of_order(rows: Iterable[str], order: Iterable[str], image: Manifest) -> str | None:
    """Return which migration would be, or is, applied before one it depends on."""
    applied = set(rows)
    there = applied | set(order)
    for migration in image.migrations:
        for parent in migration.dependencies:
            if migration.key in applied and parent not in applied:
                return f"{migration.key} is applied, but {parent}, on which it depends in build {image.build}, is not"
            if migration.key in there and parent not in there:
                return f"{migration.key} depends on {parent} in build {image.build}, which the target does not want"
    return None


def _gate(migrations: Iterable[Migration]) -> str | None:
    """Return which migration could not be undone again, so that last good could not come back."""
    for migration in migrations:
        if migration.irreversible and not migration.rollback:
            return (
                f"{migration.key} could not be undone: {', '.join(migration.irreversible)} has no reverse; give it "
                'one, say `rollback = "why this is acceptable"` in the migration, or pass --accept-loss'
            )
    return None
