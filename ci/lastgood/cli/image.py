"""The image: built, weighed, listed, pushed."""

from __future__ import annotations

import argparse
from pathlib import Path

from lastgood.cli.common import environment
from lastgood.cli.verbs import TYPE_CHECKING, flag, load, option, result, verb
from lastgood.errors import Refused

if TYPE_CHECKING:
    from lastgood.config.project import Project
    from lastgood.image.built import Image

_LAYOUT = option(
    "--layout",
    metavar="FOLDER",
    help="the image of that OCI layout, every byte of it checked, instead of this machine's last build",
)


@verb(
    flag("--allow-dirty", help="also with changes that are not committed"),
    flag("--load", help="load the image into the Docker engine, too"),
    option(
        "--layout",
        metavar="FOLDER",
        help="write the image as an OCI layout, too: what --layout of scan and push take",
    ),
    flag(
        "--fetch",
        help="build nothing; fetch and install what the locks name, which runs no code of the project and is all that needs an index",
    ),
    flag("--explain", help="build nothing; show what each step of trimming saves"),
)
def build(options: argparse.Namespace) -> None:
    """make the commit into an image: base, dependencies, static files, application"""
    from lastgood.image import build as builder
    from lastgood.report.terminal import megabytes, say, step

    project = load(options)
    if options.explain:
        return _explain(options, project)
    if options.fetch:
        return _fetch(options, project)
    with step("build") as shown:
        image = builder.build(project, allow_dirty=options.allow_dirty)
        shown.note(f"{image.build}, {megabytes(image.size)}")
        for limit in image.limits:
            say(f"· not guaranteed: {limit}")
        for note in image.notes:
            say(f"· {note}")
    stale = _stale(project)
    if stale:
        say(f"· {stale}")
    if options.layout:
        from lastgood.image import layout

        with step("OCI layout") as shown:
            layout.write(image, Path(options.layout))
            shown.note(options.layout)
    if options.load:
        with step("load into Docker") as shown:
            shown.note(builder.load(image, f"{project.name}:{image.build}"))
    lines = [
        f"{one.platform}  {megabytes(one.size)}  {one.digest}" for one in image.variants if len(image.variants) > 1
    ]
    result(options, image.as_dict(), "\n".join([f"build {image.build}", *lines, image.digest]))
    return None


def _fetch(options: argparse.Namespace, project: Project) -> None:
    """What a build then needs no index for. A Dockerfile of the project's own fetches by itself."""
    from lastgood.cache import store
    from lastgood.image.materials import Materials
    from lastgood.platform import ALL
    from lastgood.report.terminal import step

    names = () if project.image.dockerfile else project.image.platforms
    with step("fetch"), store.using(store.cache()):
        for name in names:
            Materials.of(project).installed.tree(ALL[name])
    result(options, {"platforms": list(names)}, "all that the locks name is in the cache")


def _stale(project: Project) -> str:
    """What is wrong with the lock that was built from, if it is one of ours: the build is what it says, not what requirements.in does."""
    from lastgood.errors import LastgoodError
    from lastgood.lock.inputs import SOURCE
    from lastgood.lock.python import PythonLock

    lock = PythonLock.of(project)
    if project.image.dockerfile or not (project.root / SOURCE).is_file():
        return ""
    try:
        lock.check()
    except LastgoodError as error:
        return str(error)
    return ""


def _built(options: argparse.Namespace, project: Project) -> Image:
    """The build that a command is about: that of --layout, every byte of it checked, else the last one of this machine."""
    from lastgood.image import build as builder
    from lastgood.report.terminal import step

    if not options.layout:
        return builder.last(project.state)
    from lastgood.image import layout

    with step("check the layout") as shown:
        image = layout.read(Path(options.layout), project.state)
        shown.note(image.digest)
    return image


def _explain(options: argparse.Namespace, project: Project) -> None:
    from lastgood.image import explain
    from lastgood.image.materials import Materials
    from lastgood.report.terminal import step

    with step("explain"):
        materials = Materials.of(project)
        rows, said = explain.waterfall(materials), explain.notes(materials)
    result(options, {"steps": rows, "notes": said}, explain.render(rows, said))


@verb(
    environment,
    _LAYOUT,
    option(
        "--against",
        metavar="BUILD",
        help="say what grew: last-good (of the environment), a build, or a build's scan.json",
    ),
    flag("--audit", help="ask public services for known vulnerabilities, too"),
    option("--kept", type=int, default=20, metavar="N", help="images kept in the registry, for the costs (20)"),
    option("--price", type=float, default=0.10, metavar="USD", help="of storage, a GB and month (0.10: ECR)"),
    option(
        "--bandwidth",
        type=int,
        action="append",
        metavar="N",
        help="Mbit/s to compute a pull with; again for more (100, 1000)",
    ),
    option("--markdown", metavar="FILE", help="write the report as Markdown, too"),
    option("--sarif", metavar="FILE", help="write the findings as SARIF 2.1.0, too"),
    option("--verdict", metavar="FILE", help="write the verdict as it is signed, too: the predicate of an attestation"),
    option("--treemap", metavar="FILE", help="write a picture of what is in the image, too (SVG)"),
)
def scan(options: argparse.Namespace) -> None:
    """weigh the last build and say why it grew; find what it lacks to run, and what must not be in it"""
    from lastgood.deploy.place import Place
    from lastgood.report import github, sarif, terminal, treemap
    from lastgood.report import scan as report
    from lastgood.scan import against, measure, verdict
    from lastgood.scan.findings import RULES

    project = load(options)
    image = _built(options, project)
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
        verdict.keep(image, verdict.of(image, facts), Path(options.verdict) if options.verdict else None)
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


@verb(_LAYOUT, option("--output", metavar="FILE", help="where to write it (default: standard output)"))
def sbom(options: argparse.Namespace) -> None:
    """what the last build is made of, as CycloneDX JSON: every Debian package and Python distribution, exactly"""
    from lastgood.report.text import in_json
    from lastgood.scan import sbom as lister

    project = load(options)
    body = lister.document(project.name, _built(options, project), project.root)
    if options.output:
        Path(options.output).write_text(body, encoding="utf-8")
        result(options, {"file": options.output}, f"{options.output} was written")
    else:
        print(in_json(body), end="", flush=True)


@verb(
    environment,
    _LAYOUT,
    option("--commit", default="", metavar="SHA", help="refuse a build that does not say it was made from that commit"),
)
def push(options: argparse.Namespace) -> None:
    """push the last build, which a scan has let pass, to the environment's registry, only what is missing there"""
    from lastgood.cache import store
    from lastgood.deploy.place import Place
    from lastgood.local import handover
    from lastgood.registry import ecr, pushed
    from lastgood.registry import push as pusher
    from lastgood.scan import contents, verdict

    project = load(options)
    image = _built(options, project)
    if options.commit:
        from lastgood.image import layout

        layout.of_commit(image, options.commit)
    verdict.demand(image)
    place = Place.of(project, options.environment)
    with store.using(store.cache()):
        facts = pusher.push(image, ecr.find(place.session))
    handover.hand_over(image, str(facts["image"]), place.session.cloud)
    place.record.put_build(pushed.facts(image, str(facts["image"]), contents.stored(image.folder)))
    result(options, facts | {"build": image.build, "digest": image.digest}, str(facts["image"]))


@verb(
    environment,
    option("--digest", required=True, metavar="SHA256", help="the pushed image that the statements are about"),
    option(
        "bundles", nargs="+", metavar="BUNDLE", help="a file that an attestation was written to (Sigstore's bundle)"
    ),
)
def attest(options: argparse.Namespace) -> None:
    """put signed statements about a pushed image beside it, in the environment's registry"""
    import contextlib

    from lastgood.attest import bundle
    from lastgood.deploy.place import Place
    from lastgood.registry import beside, ecr
    from lastgood.report.terminal import step

    said = [bundle.read(Path(name), options.digest) for name in options.bundles]
    session = Place.of(load(options), options.environment).session
    with contextlib.closing(ecr.find(session)) as registry, step("statements") as shown:
        put = [beside.put(registry, options.digest, one.body, one.kind) for one in said]
        shown.note(", ".join(one.kind for one in said))
    result(options, {"digest": options.digest, "statements": put}, "\n".join(put))
