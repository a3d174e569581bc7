"""The command line: one module a noun, one function a verb. Nothing heavy is imported before the verb is known."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Container, Iterator, Sequence

from lastgood import __version__
from lastgood.cli import account, cache, image, local, lock, machine, project, release, tasks
from lastgood.cli.common import ALL
from lastgood.cli.verbs import TYPE_CHECKING, Verb
from lastgood.errors import LastgoodError, UsageError

if TYPE_CHECKING:
    from typing import Any, NoReturn

# In the order of the help.
NOUNS = (project, lock, image, cache, release, tasks, account, local, machine)
_EPILOG = """\
exit status: 0 done or good · 1 refused, nothing touched · 2 usage or configuration · 3 failed, last good is back · 4 failed and not back
progress goes to standard error, the result to standard output; --json makes it one JSON document
"""


class _Parser(argparse.ArgumentParser):
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        # Each verb says itself what it does not know: else the parser of all verbs would, and could only name its own help.
        known, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return known, rest

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def verbs() -> Iterator[Verb]:
    """Every verb, in the order of the help."""
    for noun in NOUNS:
        yield from (one for one in vars(noun).values() if isinstance(one, Verb))


def parser(words: Container[str] | None = None) -> _Parser:
    """The parser of the command line: every verb, and the options of those among `words` (of all, unless told), which saves their time."""
    top = _Parser(
        prog="lastgood",
        description=(sys.modules["lastgood"].__doc__ or "").strip(),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"lastgood {__version__}")
    found = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in verbs():
        one = found.add_parser(verb.name, help=verb.help, description=verb.help)
        if words is None or verb.name in words:
            for add in (*ALL, *verb.options):
                add(one)
            one.set_defaults(function=verb.function)
    return top


def _terminated(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns its exit status. Errors are one sentence on standard error."""
    # A cancelled CI job sends SIGTERM: it is to clean up just as Ctrl-C does.
    signal.signal(signal.SIGTERM, _terminated)
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could come next, by the script of `lastgood completion`
        import argcomplete

        argcomplete.autocomplete(parser(), always_complete_options="long")
    words = sys.argv[1:] if arguments is None else arguments
    try:
        options = parser(words).parse_args(words)
        status: int | None = options.function(options)
        return status or 0
    except LastgoodError as error:
        _show(error)
        return error.exit_status
    except KeyboardInterrupt:
        print("lastgood: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        _show(told)
        return told.exit_status


def _told(error: Exception) -> LastgoodError | None:
    """The sentence for an error that is not ours, also of what boto3 raises; None where nobody foresaw it, which is worth a traceback."""
    from lastgood.aws.errors import explained

    told = explained(error)
    if told is None and isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return UsageError(
            f"{error.strerror or error}{where}: nothing half done was kept; mend that and run the command again"
        )
    return told


def _show(error: LastgoodError) -> None:
    from lastgood.report import terminal
    from lastgood.report.text import masked

    text = masked(str(error))
    terminal.complain(text)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from lastgood.report import github

        github.annotate(text)
