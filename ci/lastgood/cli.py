"""The command line: one thin function a verb. Nothing heavy is imported before the verb is known."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lastgood import __version__
from lastgood.errors import LastgoodError, Refused, UsageError

if TYPE_CHECKING:
    from lastgood.config.project import Project
    from lastgood.lock.changes import Change

_EPILOG = """\
exit status: 0 done or good · 1 refused, nothing touched · 2 usage or configuration · 3 failed, last good is back · 4 failed and not back
progress goes to standard error, the result to standard output; --json makes it one JSON document
"""


def _project(options: argparse.Namespace) -> Project:
    from lastgood.config import project

    return project.load(Path(options.project))


def _result(options: argparse.Namespace, data: object, text: str) -> None:
    from lastgood.report import github, terminal

    terminal.result(data, text, as_json=options.json)
    github.publish(data, text)


def lock(options: argparse.Namespace) -> None:
    """lock what the image is made from: requirements.txt, and the Debian packages that the project adds"""
    from lastgood.lock import both
    from lastgood.report.terminal import step

    project = _project(options)
    if options.prove and not options.check:
        raise UsageError("--prove goes with --check: it makes the locks anew, compares, and writes nothing")
    if options.check:
        if options.upgrade is not None:
            raise UsageError("--check and --upgrade exclude each other: a check changes nothing")
        with step("lock check"):
            both.check(project, prove=options.prove)
        _result(options, {"stale": False}, "the locks are what their inputs say")
        return
    found = both.lock(project, frozenset() if options.upgrade is None else options.upgrade or None)
    _changes(options, found, "the locks are up to date")


def _changes(options: argparse.Namespace, found: list[Change], without: str) -> None:
    from lastgood.lock import changes

    facts = {"changed": bool(found), "changes": changes.as_dicts(found)}
    text = changes.markdown(found) if options.markdown else changes.text(found) or without
    _result(options, facts, text)


def lock_base(options: argparse.Namespace) -> None:
    """resolve the Debian packages of a base.toml to its lock (for those who keep the bundle)"""
    from lastgood import bundle
    from lastgood.debian.seeds import Seeds
    from lastgood.lock.debian import Seeded
    from lastgood.report.terminal import counted, step

    file = Path(options.seeds) if options.seeds else bundle.path("docker/base.toml")
    with step(f"resolve {file.name}") as shown:
        upgrade = frozenset() if options.upgrade is None else frozenset(options.upgrade) or None
        found = Seeded(Seeds.read(file), file.with_suffix(".lock")).make(None, upgrade)
        shown.note(counted(len(found), "change"))
    _changes(options, found, f"{file.with_suffix('.lock')} is up to date")


def build(options: argparse.Namespace) -> None:
    """make the commit into an image: base, dependencies, static files, application"""
    from lastgood.image import build as builder
    from lastgood.report.terminal import megabytes, say, step

    project = _project(options)
    if options.explain:
        return _explain(options, project)
    with step("build") as shown:
        image = builder.build(project, allow_dirty=options.allow_dirty)
        shown.note(f"{image.build}, {megabytes(image.size)}")
        for limit in image.limits:
            say(f"· not guaranteed: {limit}")
    if options.load:
        with step("load into Docker") as shown:
            shown.note(builder.load(image, f"{project.name}:{image.build}"))
    lines = [
        f"{one.platform}  {megabytes(one.size)}  {one.digest}" for one in image.variants if len(image.variants) > 1
    ]
    _result(options, image.as_dict(), "\n".join([f"build {image.build}", *lines, image.digest]))
    return None


def _explain(options: argparse.Namespace, project: Project) -> None:
    from lastgood.image import explain
    from lastgood.image.materials import Materials
    from lastgood.report.terminal import step

    with step("explain"):
        materials = Materials.of(project)
        rows, said = explain.waterfall(materials), explain.notes(materials)
    _result(options, {"steps": rows, "notes": said}, explain.render(rows, said))


def scan(options: argparse.Namespace) -> None:
    """weigh the last build and say why it grew; find what it lacks to run, and what must not be in it"""
    from lastgood.deploy.place import Place
    from lastgood.image import build as builder
    from lastgood.report import github, sarif, terminal, treemap
    from lastgood.report import scan as report
    from lastgood.scan import against, measure
    from lastgood.scan.findings import RULES

    project = _project(options)
    image = builder.last(project.state)
    chosen = against.options(
        project.image,
        project.state / "builds",
        image.build,
        options,
        lambda: Place.of(project, options.environment).record,
    )
    with terminal.step("scan") as shown:
        examined = measure.examine(image)
        facts = measure.facts(image, examined, project.image.budget, chosen)
        measure.keep(image, examined)
        shown.note(f"{terminal.megabytes(facts['compressed'])} of {terminal.megabytes(facts['budget'])}")
    if options.sarif:
        sources = sarif.Sources(project.root, project.app, project.image.dockerfile)
        sarif.write(Path(options.sarif), facts, sources, RULES)
    if options.treemap:
        treemap.write(Path(options.treemap), measure.tree(examined[0]), facts)
    markdown = report.markdown(facts)
    if options.markdown:
        Path(options.markdown).write_text(markdown, encoding="utf-8")
    terminal.result(facts, report.text(facts), as_json=options.json)
    github.publish(facts, "", markdown)
    if facts["findings"]:
        raise Refused(report.refusal(facts))


def sbom(options: argparse.Namespace) -> None:
    """what the last build is made of, as CycloneDX JSON: every Debian package and Python distribution, exactly"""
    from lastgood.image import build as builder
    from lastgood.scan import sbom as lister

    project = _project(options)
    body = lister.document(project.name, builder.last(project.state), project.root)
    if options.output:
        Path(options.output).write_text(body, encoding="utf-8")
        _result(options, {"file": options.output}, f"{options.output} was written")
    else:
        print(body, end="", flush=True)


def push(options: argparse.Namespace) -> None:
    """push the last build to the environment's registry, only what is missing there"""
    from lastgood.cache import store
    from lastgood.deploy.place import Place
    from lastgood.image import build as builder
    from lastgood.local import handover
    from lastgood.registry import ecr, pushed
    from lastgood.registry import push as pusher
    from lastgood.scan import contents

    project = _project(options)
    image = builder.last(project.state)
    place = Place.of(project, options.environment)
    with store.using(store.cache()):
        facts = pusher.push(image, ecr.find(place.session))
    handover.hand_over(image, str(facts["image"]), place.session.cloud)
    place.record.put_build(pushed.facts(image, str(facts["image"]), contents.stored(image.folder)))
    _result(options, facts | {"build": image.build, "digest": image.digest}, str(facts["image"]))


def cache(options: argparse.Namespace) -> None:
    """what the cache of downloads and layers holds, by kind; --prune what is old or too much, --clear all that no build needs"""
    from lastgood.cache import prune, store
    from lastgood.report.terminal import megabytes

    folder = store.cache()
    removed, freed = (0, 0)
    if options.prune or options.clear:
        removed, freed = (prune.clear if options.clear else prune.prune)(folder)
    facts = prune.summary(folder) | {"removed": removed, "freed": freed}
    text = prune.render(facts)
    if options.prune or options.clear:
        text += f"\n{removed} entries removed, {megabytes(freed)} freed"
    _result(options, facts, text)


def deploy(options: argparse.Namespace) -> None:
    """release a pushed build (the last one, unless --digest) to an environment; last good comes back when it fails"""
    from lastgood.deploy import deploy as deployer
    from lastgood.deploy.place import Place
    from lastgood.image import built
    from lastgood.registry import pushed

    project = _project(options)
    place = Place.of(project, options.environment)
    facts = pushed.find(place.record, options.digest or built.last(project.state).digest)
    done = deployer.deploy(
        place, facts, who=_who(), reason=options.reason, force=options.force, accept_loss=options.accept_loss
    )
    _result(
        options, done, f"release {done['number']} is {done['state']}: build {done['build']} in {options.environment}"
    )


def rollback(options: argparse.Namespace) -> None:
    """bring an earlier good build back, schema included"""
    from lastgood.deploy import rollback as roller
    from lastgood.deploy.place import Place

    place = Place.of(_project(options), options.environment)
    done = roller.rollback(place, to=options.to, recreate=options.recreate, who=_who(), reason=options.reason)
    _result(
        options, done, f"release {done['number']} is {done['state']}: build {done['build']} in {options.environment}"
    )


def status(options: argparse.Namespace) -> None:
    """what runs in an environment, and whether containers and schema are those of last good"""
    from lastgood.deploy import status as reporter
    from lastgood.deploy.place import Place

    facts = reporter.status(Place.of(_project(options), options.environment))
    _result(options, facts, reporter.render_status(facts))


def history(options: argparse.Namespace) -> None:
    """the releases of an environment, newest first"""
    from lastgood.deploy import history as reporter
    from lastgood.deploy.place import Place

    facts = reporter.history(Place.of(_project(options), options.environment), options.limit)
    _result(options, facts, reporter.render_history(facts))


def bootstrap(options: argparse.Namespace) -> None:
    """create or update what an administrator decides: registry, release record and migration function; an environment's roles"""
    from lastgood.deploy import bootstrap as bootstrapper
    from lastgood.deploy.access import GitHub
    from lastgood.deploy.place import Place

    github = GitHub(
        repository=options.github_repository_id,
        bundle=options.bundle,
        versions=options.bundle_version,
        refs=options.ref,
        environment=options.github_environment,
        provider=options.github_provider_arn,
    )
    session = Place.of(_project(options), options.environment).session
    facts = bootstrapper.bootstrap(session, github, boundary=options.boundary, dry_run=options.dry_run)
    _result(options, facts, "\n".join(f"{key}: {value}" for key, value in facts.items()))


def local(options: argparse.Namespace) -> None:
    """the one-machine cloud: up, down, status, clean"""
    from lastgood.local import cloud
    from lastgood.report import terminal

    action: Callable[[Project], dict[str, Any]] = getattr(cloud, options.action)
    facts = action(_project(options))
    if options.engine:
        from lastgood.local import engine

        facts["engine"] = engine.stop_engine()
    lines = {
        key: ", ".join(map(str, value)) or "none" if isinstance(value, list) else value for key, value in facts.items()
    }
    _result(options, facts, terminal.mapping_lines(lines))


def demo(options: argparse.Namespace) -> int:
    """the whole pipeline on this machine, with four versions of the reference project"""
    from lastgood.demo import story

    return story.run(_project(options), as_json=options.json)


def doctor(options: argparse.Namespace) -> int:
    """what this machine has and lacks for lastgood, each with what to do"""
    from lastgood.local import doctor as examiner

    facts = examiner.examine(Path(options.project))
    _result(options, facts, examiner.render(facts))
    return 0 if all(entry["ok"] for entry in facts) else UsageError.exit_status


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


class _Parser(argparse.ArgumentParser):
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        # Each verb says itself what it does not know: else the parser of all verbs would, and could only name its own help.
        known, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return known, rest

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def parser() -> _Parser:
    """The parser of the command line, with every verb and option."""
    common = _Parser(add_help=False)
    common.add_argument(
        "--project", default=".", metavar="FOLDER", help="where pyproject.toml is (default: here, or above)"
    )
    common.add_argument("--json", action="store_true", help="the result as one JSON document")
    top = _Parser(
        prog="lastgood",
        description=(sys.modules["lastgood"].__doc__ or "").strip(),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"lastgood {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(function: Callable[[argparse.Namespace], int | None], name: str | None = None) -> _Parser:
        help_ = (function.__doc__ or "").strip()
        sub = verbs.add_parser(name or function.__name__, parents=[common], help=help_, description=help_)
        sub.set_defaults(function=function)
        return sub

    sub = verb(lock)
    sub.add_argument("--check", action="store_true", help="write nothing; fail when a lock is stale")
    sub.add_argument("--prove", action="store_true", help="with --check: make the locks anew and show the difference")
    _upgrade(sub)
    sub = verb(lock_base, "lock-base")
    sub.add_argument(
        "--seeds", metavar="FILE", help="the TOML file of packages (default: docker/base.toml of the bundle)"
    )
    _upgrade(sub)
    sub = verb(build)
    sub.add_argument("--allow-dirty", action="store_true", help="also with changes that are not committed")
    sub.add_argument("--load", action="store_true", help="load the image into the Docker engine, too")
    sub.add_argument("--explain", action="store_true", help="build nothing; show what each step of trimming saves")
    sub = _environment(verb(scan))
    sub.add_argument(
        "--against",
        metavar="BUILD",
        help="say what grew: last-good (of the environment), a build, or a build's scan.json",
    )
    sub.add_argument("--audit", action="store_true", help="ask public services for known vulnerabilities, too")
    sub.add_argument(
        "--kept", type=int, default=20, metavar="N", help="images kept in the registry, for the costs (20)"
    )
    sub.add_argument("--price", type=float, default=0.10, metavar="USD", help="of storage, a GB and month (0.10: ECR)")
    sub.add_argument(
        "--bandwidth",
        type=int,
        action="append",
        metavar="N",
        help="Mbit/s to compute a pull with; again for more (100, 1000)",
    )
    sub.add_argument("--markdown", metavar="FILE", help="write the report as Markdown, too")
    sub.add_argument("--sarif", metavar="FILE", help="write the findings as SARIF 2.1.0, too")
    sub.add_argument("--treemap", metavar="FILE", help="write a picture of what is in the image, too (SVG)")
    verb(sbom).add_argument("--output", metavar="FILE", help="where to write it (default: standard output)")
    _environment(verb(push))
    sub = verb(cache)
    sub.add_argument("--prune", action="store_true", help="remove what was not used for long, and what is too much")
    sub.add_argument("--clear", action="store_true", help="remove everything but what the newest builds need")
    sub = _environment(verb(deploy))
    sub.add_argument(
        "--digest", metavar="SHA256", help="the pushed build to release (default: the last build of this machine)"
    )
    sub.add_argument("--reason", default="", help="why, for the release record")
    sub.add_argument("--force", action="store_true", help="also when it is last good already")
    sub.add_argument(
        "--accept-loss",
        action="store_true",
        help="let its migrations lose what no rollback brings back; --reason says why",
    )
    sub = _environment(verb(rollback))
    sub.add_argument(
        "--to",
        metavar="BUILD",
        help="the build, version or number of a release to go back to (default: the good one before)",
    )
    sub.add_argument(
        "--recreate", action="store_true", help="delete the stack if it is there, and create it again from last good"
    )
    sub.add_argument("--reason", default="", help="why, for the release record")
    _environment(verb(status))
    sub = _environment(verb(history))
    sub.add_argument("--limit", type=int, default=20, metavar="N", help="how many (default 20)")
    _bootstrap(_environment(verb(bootstrap)))
    sub = verb(local)
    sub.add_argument("action", choices=("up", "down", "status", "clean"), help="clean also removes the data")
    sub.add_argument(
        "--engine",
        action="store_true",
        help="stop the Docker engine, too, if lastgood started it and nobody else uses it",
    )
    verb(demo)
    verb(doctor)
    return top


def _upgrade(sub: _Parser) -> None:
    sub.add_argument(
        "--upgrade",
        nargs="*",
        metavar="NAME",
        help="take the newest versions that fit, of these packages (Python's or Debian's; without a name: of all)",
    )
    sub.add_argument("--markdown", action="store_true", help="what changed as a Markdown table, for a pull request")


def _bootstrap(sub: _Parser) -> None:
    sub.add_argument("--dry-run", action="store_true", help="show the change sets, change nothing")
    sub.add_argument(
        "--github-repository-id", default="", metavar="N", help="the repository that may push and deploy, by its number"
    )
    sub.add_argument("--bundle", default="", metavar="OWNER/NAME", help="the repository whose workflows yours call")
    sub.add_argument(
        "--bundle-version",
        action="append",
        default=[],
        metavar="TAG",
        help="its versions that are trusted, or a commit (v1.*); again for more",
    )
    sub.add_argument(
        "--ref",
        action="append",
        default=[],
        metavar="REF",
        help="what may be pushed and deployed (refs/heads/main); again for more",
    )
    sub.add_argument(
        "--github-environment", default="", metavar="NAME", help="the environment on GitHub (default: its name here)"
    )
    sub.add_argument(
        "--github-provider-arn",
        default="",
        metavar="ARN",
        help="the account's OIDC provider for GitHub (default: it is found)",
    )
    sub.add_argument(
        "--boundary",
        default="",
        metavar="ARN",
        help="a policy of yours as the permissions boundary, where tasks need more",
    )


def _environment(sub: _Parser) -> _Parser:
    default = os.environ.get("LASTGOOD_ENVIRONMENT", "local")
    sub.add_argument("--environment", "-e", default=default, metavar="NAME", help=f"which one (default: {default})")
    return sub


def _terminated(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns its exit status. Errors are one sentence on standard error."""
    # A cancelled CI job sends SIGTERM: it is to clean up just as Ctrl-C does.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        options = parser().parse_args(arguments)
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
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _show(
            UsageError(
                f"{error.strerror or error}{where}: nothing half done was kept; mend that and run the command again"
            )
        )
        return UsageError.exit_status


def _show(error: LastgoodError) -> None:
    text = str(error)
    print(f"lastgood: {text}", file=sys.stderr)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from lastgood.report import github

        github.annotate(text)
