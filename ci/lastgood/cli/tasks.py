"""What runs in an environment: its template, its log, commands in it, its jobs and secrets."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from lastgood.cli.common import environment, who
from lastgood.cli.verbs import TYPE_CHECKING, flag, load, option, result, verb

if TYPE_CHECKING:
    from lastgood.deploy.logs import Line
    from lastgood.deploy.place import Place
    from lastgood.deploy.run import Command


@verb(environment)
def template(options: argparse.Namespace) -> None:
    """print the template that CloudFormation gets: service.yml with the processes, jobs, variables and secrets of the project's tables"""
    import json

    from lastgood.deploy import change
    from lastgood.deploy.place import Place

    session = Place.of(load(options), options.environment).session
    own = (dict(session.cloud.parameters) if session.cloud else {}) | dict(session.environment.parameters)
    text = change.rendered(session, session.environment.shape, own)
    if text.startswith("{"):
        text = json.dumps(json.loads(text), indent=2)
    result(options, {"environment": options.environment, "template": text}, text)


@verb(
    environment,
    option("--process", default="web", metavar="NAME", help="in a task like this process's (default: web)"),
    flag("--list", "run nothing; show who ran what"),
    option("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="as -- python manage.py showmigrations"),
)
def run(options: argparse.Namespace) -> int:
    """run a command as a task of its own, of the build that runs; its output and exit status are this command's"""
    from lastgood.deploy import run as runner
    from lastgood.deploy.place import Place

    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    place = Place.of(load(options), options.environment)
    if options.list:
        found = runner.newest(place)
        result(options, found, runner.render(found))
        return 0
    return _run(place, runner.of_process(place, options.process, words))


@verb(
    environment,
    option("action", choices=("run",), help="now, beside its schedule"),
    option("name", metavar="NAME", help="the job"),
)
def job(options: argparse.Namespace) -> int:
    """run a job of last good now; its output and exit status are this command's"""
    from lastgood.deploy import run as runner
    from lastgood.deploy.place import Place

    place = Place.of(load(options), options.environment)
    return _run(place, runner.of_job(place, options.name))


def _run(place: Place, command: Command) -> int:
    from lastgood.deploy import run as runner
    from lastgood.report.text import masked, shown

    return runner.run(place, command, who(), lambda text: print(shown(masked(text.rstrip("\n"))), flush=True))


@verb(
    environment,
    option("process", nargs="?", default="", metavar="PROCESS", help="only of this one; `release` and `job` are two"),
    option("--since", default="10m", metavar="WHEN", help="so long ago, as 10m, 2h or 1d, or a time (default: 10m)"),
    flag("--follow", help="go on until interrupted"),
    option("--grep", default="", metavar="PATTERN", help="only lines in which this regular expression is found"),
)
def logs(options: argparse.Namespace) -> None:
    """what the tasks of an environment write, all processes together or one"""
    from lastgood.deploy import logs as reader
    from lastgood.deploy.place import Place
    from lastgood.report.terminal import counted
    from lastgood.report.text import shown

    wanted = reader.Wanted.of(options.process, options.since, options.grep, datetime.now(UTC))
    found: list[Line] = []

    def write(line: Line) -> None:
        if not options.json:
            print(shown(reader.render(line)), flush=True)
        elif not options.follow:
            found.append(line)

    reader.follow(Place.of(load(options), options.environment), wanted, write, on=options.follow)
    if options.json:
        result(options, [line.as_dict() for line in found], counted(len(found), "line"))


@verb(
    environment,
    option("action", choices=("set",), help="its value comes from standard input"),
    option("name", metavar="NAME", help="the variable that it comes as"),
)
def secret(options: argparse.Namespace) -> None:
    """set a secret of an environment where the project's tables say it is; the value comes from standard input, never as an argument"""
    from lastgood.deploy import secret as setter
    from lastgood.deploy.place import Place

    place = Place.of(load(options), options.environment)
    if sys.stdin.isatty():
        import getpass

        value = getpass.getpass(f"{options.name}: ")
    else:
        value = sys.stdin.read().removesuffix("\n")
    at = setter.put(place, options.name, value)
    result(
        options,
        {"name": options.name, "place": at},
        f"{options.name} is set in {at}; tasks have it from their next start on",
    )
