"""This machine: the whole story on it, and what it lacks."""

from __future__ import annotations

import argparse
from pathlib import Path

from lastgood.cli.verbs import load, option, result, verb
from lastgood.errors import UsageError


@verb()
def demo(options: argparse.Namespace) -> int:
    """the whole pipeline on this machine, with four versions of the reference project"""
    from lastgood.demo import story

    return story.run(load(options), as_json=options.json)


@verb(
    option(
        "--environment",
        "-e",
        metavar="NAME",
        help="look at this environment's account instead, with calls that only read",
    )
)
def doctor(options: argparse.Namespace) -> int:
    """what this machine lacks for lastgood, or an environment's account for a release, each with what to do"""
    if options.environment:
        return _preflight(options)
    from lastgood.local import doctor as examiner

    facts = examiner.examine(Path(options.project))
    result(options, facts, examiner.render(facts))
    return 0 if all(entry["ok"] for entry in facts) else UsageError.exit_status


def _preflight(options: argparse.Namespace) -> int:
    from lastgood.aws.session import Session
    from lastgood.preflight import ask, examine

    if options.environment == "local":
        raise UsageError("the environment `local` is this machine: run `lastgood doctor` without --environment")
    lines = examine.examine(ask.facts(Session.of(load(options), options.environment)))
    result(options, [line.as_dict() for line in lines], examine.render(lines))
    return 0 if examine.ready(lines) else UsageError.exit_status


@verb(option("shell", choices=("bash", "zsh", "fish"), help="the shell that is to complete"))
def completion(options: argparse.Namespace) -> None:
    """print the script by which a shell completes verbs, options and environments"""
    from argcomplete.shell_integration import shellcode

    script = shellcode(["lastgood"], shell=options.shell).strip()
    result(options, {"shell": options.shell, "script": script}, script)
