"""`lastgood lock`: the Debian lock and the Python lock of one project, made, checked and upgraded together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from lastgood import bundle
from lastgood.config.project import Project
from lastgood.debian import chosen
from lastgood.errors import Refused, UsageError
from lastgood.lock import changes
from lastgood.lock.changes import Change
from lastgood.lock.debian import Seeded
from lastgood.lock.python import Compiled, PythonLock
from lastgood.python import merge, required
from lastgood.report.terminal import counted, step


def lock(project: Project, names: Iterable[str] | None, *, take_over: bool = False) -> list[Change]:
    """Makes both locks and returns what changed. `names` are what to upgrade: none, some, or None for everything.

    Raises UsageError where a name is in neither lock, for what a lock can't be made from, and for a file in the lock's place that is none
    of ours, unless `take_over` is said.
    """
    pythons = PythonLock.of(project)
    _serves(project)
    _free(pythons, take_over)
    before = pythons.read()
    own = _own(project) if chosen.has_own(project.image) else None
    named, deb_named = _named(names, before, own)
    by = pythons.source().upgraded_by
    if by and (named is None or named):
        raise UsageError(
            f"the versions are those of {project.lock.source}, and no other: run `{by}`, then `lastgood lock`, which follows it"
        )
    found: list[Change] = []
    if own:
        with step("lock Debian packages") as shown:
            found += own.make(project.image.mirror, deb_named)
            shown.note(counted(len(found), "change"))
    elif chosen.lock_file(project.root).is_file():
        chosen.lock_file(project.root).unlink()  # the project adds no packages any more: the bundle's lock is its own
    with step("lock Python packages") as shown:
        pythons.inputs()  # what is wrong there is said before anything is fetched
        after = pythons.compiled(chosen.stages(project.root, project.image), named)
        if after != before:
            pythons.write(after)
        moved = changes.python(before.lock, after.lock)
        moved += changes.python(before.builds, after.builds, kind="build")
        shown.note(counted(len(moved), "change"))
    return found + moved


def check(project: Project, *, prove: bool) -> None:
    """Raises Refused where a lock is not what its inputs say. `prove` makes both anew and compares."""
    if chosen.has_own(project.image):
        try:
            chosen.locked(project.root, project.image)
        except UsageError as error:
            raise Refused(str(error)) from None
        if prove:
            _own(project).prove(project.image.mirror, project.image.snapshot)
    elif chosen.lock_file(project.root).is_file():
        raise Refused(f"{chosen.lock_file(project.root)} is of no use, as the project adds no packages: remove it")
    pythons = PythonLock.of(project)
    if prove:
        pythons.inputs()
        pythons.prove(chosen.stages(project.root, project.image))
    else:
        pythons.check()


def _serves(project: Project) -> None:
    """Raises Refused where the project says itself that it does not run on the image's Python."""
    said = required.refusal(project.root / "pyproject.toml")
    if said and not project.image.dockerfile:
        raise Refused(said)


def _free(pythons: PythonLock, take_over: bool) -> None:
    if take_over or pythons.own():
        return
    raise UsageError(
        f"{pythons.file} is there, and `lastgood lock` did not write it, so it stays as it is: let the lock have another name "
        f'(file = "requirements.lock.txt" in [tool.lastgood.lock]), or run `lastgood lock --take-over`, which replaces the file and keeps '
        "the versions that it pins"
    )


def _own(project: Project) -> Seeded:
    return Seeded(
        chosen.seeds(project.root, project.image), chosen.lock_file(project.root), bundle.path("docker/base.lock")
    )


def _named(
    names: Iterable[str] | None, before: Compiled, own: Seeded | None
) -> tuple[frozenset[str] | None, frozenset[str] | None]:
    """The Python and the Debian names of what is to be upgraded. Raises UsageError for a name that is in neither lock."""
    if names is None:
        return None, None
    pythons = {entry.name for entry in merge.entries(before.lock) + merge.entries(before.builds)}
    old = own.before() if own else None
    debs = {package.name for _, _, package in old.all()} if old else set()
    wanted = set(names)
    for name in sorted(wanted):
        if merge.normalised(name) not in pythons and name not in debs:
            near = difflib.get_close_matches(name, sorted(pythons | debs), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise UsageError(
                f"--upgrade {name}: neither lock holds it{hint}; name a locked package, or none to upgrade all"
            )
    return (
        frozenset(merge.normalised(name) for name in wanted if merge.normalised(name) in pythons),
        frozenset(name for name in wanted if name in debs),
    )
