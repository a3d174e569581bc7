"""Releases: made, taken back, shown."""

from __future__ import annotations

import argparse
import os

from lastgood.cli.common import environment
from lastgood.cli.verbs import flag, load, option, result, verb

_REASON = option("--reason", default="", help="why, for the release record")


@verb(
    environment,
    option("--digest", metavar="SHA256", help="the pushed build to release (default: the last build of this machine)"),
    _REASON,
    flag("--force", help="also when it is last good already"),
    flag("--accept-loss", help="let its migrations lose what no rollback brings back; --reason says why"),
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
)
def rollback(options: argparse.Namespace) -> None:
    """bring an earlier good build back, schema included"""
    from lastgood.deploy import rollback as roller
    from lastgood.deploy.place import Place

    place = Place.of(load(options), options.environment)
    done = roller.rollback(place, to=options.to, recreate=options.recreate, who=_who(), reason=options.reason)
    result(
        options, done, f"release {done['number']} is {done['state']}: build {done['build']} in {options.environment}"
    )


@verb(environment)
def status(options: argparse.Namespace) -> None:
    """what runs in an environment, and whether containers and schema are those of last good"""
    from lastgood.deploy import status as reporter
    from lastgood.deploy.place import Place

    facts = reporter.status(Place.of(load(options), options.environment))
    result(options, facts, reporter.render_status(facts))


@verb(environment, option("--limit", type=int, default=20, metavar="N", help="how many (default 20)"))
def history(options: argparse.Namespace) -> None:
    """the releases of an environment, newest first"""
    from lastgood.deploy import history as reporter
    from lastgood.deploy.place import Place

    facts = reporter.history(Place.of(load(options), options.environment), options.limit)
    result(options, facts, reporter.render_history(facts))


def _who() -> str:
    """Who does it, for the release record: the actor in CI, else git's user, else the login."""
    import getpass
    import subprocess

    if os.environ.get("GITHUB_ACTOR"):
        return os.environ["GITHUB_ACTOR"]
    try:
        named = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, check=False
        ).stdout.strip()
    except FileNotFoundError:
        named = ""
    return named or getpass.getuser()
