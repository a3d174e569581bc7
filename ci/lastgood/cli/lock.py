"""What is locked."""

from __future__ import annotations

import argparse
from pathlib import Path

from lastgood.cli.verbs import TYPE_CHECKING, flag, load, option, result, verb
from lastgood.errors import UsageError

if TYPE_CHECKING:
    from lastgood.lock.changes import Change

_UPGRADE = (
    option(
        "--upgrade",
        nargs="*",
        metavar="NAME",
        help="take the newest versions that fit, of these packages (Python's or Debian's; without a name: of all)",
    ),
    flag("--markdown", help="what changed as a Markdown table, for a pull request"),
)


@verb(
    flag("--check", help="write nothing; fail when a lock is stale"),
    flag("--prove", help="with --check: make the locks anew and show the difference"),
    flag(
        "--take-over",
        help="replace a file in the lock's place that lastgood did not write, and keep the versions that it pins",
    ),
    *_UPGRADE,
)
def lock(options: argparse.Namespace) -> None:
    """lock what the image is made from: requirements.txt (or the file that you name), and the Debian packages that the project adds"""
    from lastgood.lock import both
    from lastgood.report.terminal import step

    project = load(options)
    if options.prove and not options.check:
        raise UsageError("--prove goes with --check: it makes the locks anew, compares, and writes nothing")
    if options.check:
        if options.upgrade is not None:
            raise UsageError("--check and --upgrade exclude each other: a check changes nothing")
        with step("lock check"):
            both.check(project, prove=options.prove)
        result(options, {"stale": False}, "the locks are what their inputs say")
        return
    found = both.lock(
        project, frozenset() if options.upgrade is None else options.upgrade or None, take_over=options.take_over
    )
    _changes(options, found, "the locks are up to date")


@verb(
    option("--seeds", metavar="FILE", help="the TOML file of packages (default: docker/base.toml of the bundle)"),
    flag("--check", help="write nothing; fail when the lock is not what Debian signed for these packages"),
    *_UPGRADE,
    name="lock-base",
)
def lock_base(options: argparse.Namespace) -> None:
    """resolve the Debian packages of a base.toml to its lock (for those who keep the bundle)"""
    from lastgood import bundle
    from lastgood.debian.seeds import Seeds
    from lastgood.lock.debian import Seeded
    from lastgood.report.terminal import counted, step

    file = Path(options.seeds) if options.seeds else bundle.path("docker/base.toml")
    own = Seeded(Seeds.read(file), file.with_suffix(".lock"))
    if options.check:
        if options.upgrade is not None:
            raise UsageError("--check and --upgrade exclude each other: a check changes nothing")
        with step(f"prove {own.file.name}"):
            own.prove(None)
        return result(options, {"stale": False}, f"{own.file} is what Debian signed")
    with step(f"resolve {file.name}") as shown:
        upgrade = frozenset() if options.upgrade is None else frozenset(options.upgrade) or None
        found = own.make(None, upgrade)
        shown.note(counted(len(found), "change"))
    return _changes(options, found, f"{own.file} is up to date")


def _changes(options: argparse.Namespace, found: list[Change], without: str) -> None:
    from lastgood.lock import changes

    facts = {"changed": bool(found), "changes": changes.as_dicts(found)}
    text = changes.markdown(found) if options.markdown else changes.text(found) or without
    result(options, facts, text)
