"""Releases: made, taken back, shown."""

from __future__ import annotations

import argparse

from lastgood.cli.common import environment
from lastgood.cli.common import who as _who
from lastgood.cli.verbs import TYPE_CHECKING, flag, load, option, result, verb

if TYPE_CHECKING:
    from lastgood.deploy.order import Order
    from lastgood.deploy.place import Place

_REASON = option("--reason", default="", help="why, for the release record")
_DRY = flag("--dry-run", help="say what it would do to stack, service and database, and touch nothing")


@verb(
    environment,
    option("--digest", metavar="SHA256", help="the pushed build to release (default: the last build of this machine)"),
    _REASON,
    flag("--force", help="also when it is last good already"),
    flag("--accept-loss", help="let its migrations lose what no rollback brings back; --reason says why"),
    _DRY,
)
def deploy(options: argparse.Namespace) -> None:
    """release a pushed build (the last one, unless --digest) to an environment; last good comes back when it fails"""
    from lastgood.deploy import deploy as deployer
    from lastgood.deploy.place import Place
    from lastgood.image import built
    from lastgood.registry import pushed

    project = load(options)
    place = Place.of(project, options.environment)
    facts = pushed.find(place.record, options.digest or built.last(project.state).digest)
    if options.dry_run:
        order = deployer.ordered(
            facts,
            who=_who(),
            reason=options.reason,
            force=options.force,
            accept_loss=options.accept_loss,
            shape=place.session.environment.shape,
        )
        _dry_run(options, place, order)
        return
    done = deployer.deploy(
        place, facts, who=_who(), reason=options.reason, force=options.force, accept_loss=options.accept_loss
    )
    result(
        options, done, f"release {done['number']} is {done['state']}: build {done['build']} in {options.environment}"
    )


@verb(
    environment,
    option(
        "--to",
        metavar="BUILD",
        help="the build, version or number of a release to go back to (default: the good one before)",
    ),
    flag("--recreate", help="delete the stack if it is there, and create it again from last good"),
    _REASON,
    _DRY,
)
def rollback(options: argparse.Namespace) -> None:
    """bring an earlier good build back, schema included"""
    from lastgood.deploy import rollback as roller
    from lastgood.deploy.place import Place

    place = Place.of(load(options), options.environment)
    if options.dry_run:
        order = roller.ordered(place, options.to, recreate=options.recreate, who=_who(), reason=options.reason)
        _dry_run(options, place, order)
        return
    done = roller.rollback(place, to=options.to, recreate=options.recreate, who=_who(), reason=options.reason)
    result(
        options, done, f"release {done['number']} is {done['state']}: build {done['build']} in {options.environment}"
    )


@verb(environment)
def status(options: argparse.Namespace) -> None:
    """what runs in an environment, and whether containers and schema are those of last good"""
    from lastgood.deploy import status as reporter
    from lastgood.deploy.place import Place

    facts = reporter.status(Place.of(load(options), options.environment), _who())
    result(options, facts, reporter.render_status(facts))


@verb(
    environment,
    option("--limit", type=int, default=20, metavar="N", help="how many (default 20)"),
    option("--before", type=int, metavar="NUMBER", help="only releases before that one"),
)
def history(options: argparse.Namespace) -> None:
    """the releases of an environment, newest first"""
    from lastgood.deploy import history as reporter
    from lastgood.deploy.place import Place

    facts = reporter.history(Place.of(load(options), options.environment), options.limit, options.before)
    result(options, facts, reporter.render_history(facts, options.limit))


@verb(
    environment,
    option("before", metavar="A", help="a release's number, a build, its version or digest, or last-good"),
    option("after", metavar="B", help="another one"),
)
def diff(options: argparse.Namespace) -> None:
    """what lies between two builds or releases: commits, what is in the image, its size, migrations"""
    from lastgood.deploy.place import Place
    from lastgood.scan import diff as differ

    project = load(options)
    place = Place.of(project, options.environment)
    facts = differ.diff(place.record, project.root, options.before, options.after)
    result(options, facts, differ.render(facts))


@verb(environment, name="lock-status")
def lock_status(options: argparse.Namespace) -> None:
    """who deploys to an environment right now, and whose lock was taken away"""
    from lastgood.deploy import locks
    from lastgood.deploy.place import Place

    facts = locks.status(Place.of(load(options), options.environment))
    result(options, facts, locks.render_status(facts))


@verb(environment, flag("--force", help="it is somebody else's, and its command is dead"), _REASON)
def unlock(options: argparse.Namespace) -> None:
    """take the deploy lock of an environment away from a command that is dead; the record keeps who did it, and why"""
    from lastgood.deploy import locks
    from lastgood.deploy.place import Place

    place = Place.of(load(options), options.environment)
    facts = locks.unlock(place, who=_who(), reason=options.reason, force=options.force)
    result(options, facts, locks.render_unlock(facts))


@verb(
    environment,
    option(
        "--keep", type=int, default=20, metavar="N", help="builds before last good, of each environment (default 20)"
    ),
    option(
        "--days", type=int, default=14, metavar="N", help="that a build may wait for its first release (default 14)"
    ),
    flag("--dry-run", help="only show it: what it does without --delete"),
    flag("--delete", help="delete what is expired, images and the record's notes"),
)
def prune(options: argparse.Namespace) -> None:
    """as an administrator: the builds that no environment needs any more, and with --delete away with them"""
    from lastgood.deploy import prune as pruner
    from lastgood.deploy.place import Place

    place = Place.of(load(options), options.environment)
    delete = options.delete and not options.dry_run
    facts = pruner.prune(place, keep=options.keep, days=options.days, delete=delete, who=_who())
    result(options, facts, pruner.render(facts))


def _dry_run(options: argparse.Namespace, place: Place, order: Order) -> None:
    from lastgood.deploy import dry_run

    facts = dry_run.dry_run(place, order)
    result(options, facts, dry_run.render(facts))
