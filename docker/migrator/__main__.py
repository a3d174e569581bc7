"""The command line: `python -m migrator COMMAND`; the package's docstring is its manual."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from .commands import MOVING, READING
from .errors import MigratorError, UsageError, cause, not_loaded
from .output import EXIT_STATUS, Result, complain

OWN_ADDRESS = "MIGRATION_DATABASE_URL"


class Stopped(KeyboardInterrupt):
    """The process was asked to stop. Database drivers cancel their statement on a KeyboardInterrupt."""


class Parser(argparse.ArgumentParser):
    """Raises what is wrong with the call, so that `back` and `forward` can still print a result."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `python -m migrator --help`)")


def parser() -> Parser:
    """Return the parser of the command line."""
    top = Parser(prog="python -m migrator", description="Move a database to what a build wants, or refuse.")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in (*READING, *MOVING):
        doc = READING[name].__doc__ if name in READING else MOVING[name].__doc__
        sub = subparsers.add_parser(name, help=(doc or "").split(".")[0])
        for option in ("build", "digest", "commit", "actor"):
            variable = f"LASTGOOD_{option.upper()}"
            sub.add_argument(f"--{option}", default=os.environ.get(variable) or None, help=f"default: {variable}")
        sub.set_defaults(manifest=os.environ.get("LASTGOOD_MANIFEST") or None)
        if name != "manifest":
            sub.add_argument("--database", metavar="ALIAS", help="alias in DATABASES (default)")
        if name in ("plan", "back", "forward"):
            what = "path of a manifest, or build:NAME"
            sub.add_argument("--to", metavar="TARGET", required=name != "forward", help=what)
            what = "manifests of further builds that may serve as stepping stones"
            sub.add_argument("--via", metavar="FILE", nargs="+", action="extend", default=[], help=what)
        if name in MOVING:
            sub.add_argument("--wait", type=float, default=30, metavar="SECONDS", help="for another migrator (30)")
            what = "for a lock on a table (10)"
            sub.add_argument("--lock-timeout", type=float, default=10, metavar="SECONDS", help=what)
            what = "try again for that long when a lock was in the way (60)"
            sub.add_argument("--retry", type=float, default=60, metavar="SECONDS", help=what)
            what = "for one statement (0: as long as it takes)"
            sub.add_argument("--statement-timeout", type=float, default=0, metavar="SECONDS", help=what)
            what = "run again what was interrupted outside a transaction"
            sub.add_argument("--resume", action="store_true", help=what)
        elif name != "manifest":
            sub.add_argument("--json", action="store_true", help="one JSON document")
        if name == "forward":
            sub.add_argument("--accept-loss", action="store_true", help="apply what could not be undone again")
            what = "leave a database that has more than this build wants, if its code can live with that (LASTGOOD_LEAVE_AHEAD=yes)"
            default = os.environ.get("LASTGOOD_LEAVE_AHEAD") == "yes"
            sub.add_argument("--leave-ahead", action="store_true", default=default, help=what)
            sub.add_argument("--no-gate", action="store_true", help="do not ask whether there is a way back")
    return top


def set_up() -> None:
    """Load settings and apps. Raise UsageError with the cause when the project does not let us."""
    import django
    from django.conf import settings
    from django.utils import translation

    module = os.environ.get("DJANGO_SETTINGS_MODULE")
    if not module:
        raise UsageError("DJANGO_SETTINGS_MODULE is not set: name the project's settings module")
    address = os.environ.get(OWN_ADDRESS)
    if address:
        os.environ["DATABASE_URL"] = address
    try:
        _ = settings.INSTALLED_APPS
    except (Exception, SystemExit) as error:  # whatever the module raises
        raise UsageError(f"the settings module {module} does not import: {cause(error)}") from error
    if address and not taken(address, settings.DATABASES):
        raise UsageError(
            f"{OWN_ADDRESS} is set, but the settings do not take a database from DATABASE_URL, which has its value here"
        )
    try:
        django.setup()
    except (Exception, SystemExit) as error:
        raise UsageError(not_loaded(module, error)) from error
    # Names that go into the database (permissions) must not depend on LANGUAGE_CODE; Django's migrate does the same.
    translation.deactivate_all()


def taken(address: str, databases: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether one of `databases` is where `address` leads."""
    host = unquote(urlsplit(address).hostname or "").lower()
    return not host or any(str(one.get("HOST", "")).lower() == host for one in databases.values())


def read(args: argparse.Namespace) -> int:
    """Run a command that changes nothing."""
    set_up()
    return READING[args.command](args)


def move(args: argparse.Namespace) -> int:
    """Run `back` or `forward`; whatever happens, the last line of standard output is the result."""
    result = Result(build=args.build)
    exit_status = None
    try:
        signal.signal(signal.SIGTERM, _stop)
        set_up()
        MOVING[args.command](args, result)
    except MigratorError as error:
        result.status, result.reason, exit_status = error.status, str(error), error.exit_status
    except KeyboardInterrupt:
        result.status, result.reason = "failed", "stopped by a signal; what was not committed is undone"
    except (Exception, SystemExit) as error:
        result.status, result.reason = "failed", cause(error)
    print(result.line(), flush=True)
    return EXIT_STATUS[result.status] if exit_status is None else exit_status


def _stop(number: int, frame: object) -> NoReturn:
    raise Stopped


def main(argv: Sequence[str]) -> int:
    """Run the command line `argv`; returns the exit status."""
    try:
        args = parser().parse_args(argv)
        return move(args) if args.command in MOVING else read(args)
    except MigratorError as error:
        complain(error)
        if argv and argv[0] in MOVING:
            print(Result(status=error.status, reason=str(error)).line(), flush=True)
        return error.exit_status
    except Exception as error:  # the database does not answer, for instance
        complain(cause(error))
        return EXIT_STATUS["failed"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
