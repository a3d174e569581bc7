"""`make bench [ONLY=size,start] [PROJECT=board] [ROUNDS=3]`: our images and those of others, docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lastgood.cache import store
from lastgood.errors import LastgoodError, UsageError
from lastgood.image import build as builder
from lastgood.local import engine
from lastgood.report.terminal import step

from bench import builds, containers, floor, machine, peers, projects, report, roots, sizes
from bench.containers import Image, Place
from bench.projects import Subject

ROUNDS = 9  # of every start, warm and cold; of what takes longer, fewer
REQUESTS = 40
_TARGET = projects.REPOSITORY / "docs/benchmarks.md"
_SUBJECTS = {"board": projects.board, "site": projects.site}


class Bench:
    """One run. Everything that it makes outside `folder` is removed by `clean`."""

    def __init__(self, client: Any, folder: Path, rounds: int = ROUNDS) -> None:
        self.client = client
        self.folder = folder
        self.rounds = rounds

    def run(self, names: Sequence[str], parts: Sequence[str]) -> None:
        """Measures `parts` of the projects `names`; every part is in the document as soon as it is measured."""
        subjects = [_SUBJECTS[name](self.folder / "projects") for name in names]
        wheels = projects.wheels(subjects, self.folder / "wheels")
        with peers.wheel_server(wheels) as address:
            peers.bases(self.client, self.folder / "roots", address)
            for subject in subjects:
                subject.restore()
                building = [part for part in parts if part in ("build", "code")]
                for part in building:
                    self.keep(
                        subject, part, builds.measure(self.client, subject, address, self.folder, self.rounds, part)
                    )
                if not building:
                    with step(f"images of {subject.name}"):
                        builds.warm(builds.every(self.client, subject, address, self.folder))
                self.measure(subject, parts)

    def images(self, subject: Subject) -> list[Image]:
        """The images of the subject in the engine, ours first."""
        ours = f"{subject.project.name}:{builder.last(subject.project.state).build}"
        others = [
            Image(one.name, f"{peers.PREFIX}/{subject.name}-{one.name}:latest", one.python) for one in peers.PEERS
        ]
        return [Image("lastgood", ours, ()), *others]

    def measure(self, subject: Subject, parts: Sequence[str]) -> None:
        """The parts that look at finished images."""
        images = self.images(subject)
        if "size" in parts:
            self.keep(subject, "size", {"size": {image.name: self.size(subject, image) for image in images}})
        if not {"start", "memory", "floor"} & set(parts):
            return
        with Place(self.client, f"bench-{os.getpid()}").open(subject.project) as place:
            with step(f"{subject.name}: migrate"):
                place.migrate(subject, images[1])
            if "start" in parts:
                self.keep(subject, "start", {"start": self.starts(place, subject, images)})
            if "memory" in parts:
                self.keep(subject, "memory", {"memory": self.memory(place, subject, images)})
            if "floor" in parts:
                self.keep(
                    subject, "floor", {"floor": floor.measure(self.client, subject, images[0], place, self.folder)}
                )

    def size(self, subject: Subject, image: Image) -> dict[str, int]:
        """Sizes of one image; `pushed` is what its own push sends."""
        with step(f"size of {image.tag}"):
            found = sizes.measure(self.client, image.tag, self.folder)
        return found | {
            "pushed": builder.last(subject.project.state).size if image.name == "lastgood" else found["gzip"]
        }

    def starts(self, place: Place, subject: Subject, images: Sequence[Image]) -> dict[str, dict[str, list[float]]]:
        """Seconds of every round, kind → image → runs."""
        found: dict[str, dict[str, list[float]]] = {}
        for number in range(self.rounds + 1):
            with step(f"{subject.name}: starts, round {number or 'for nothing'} of {self.rounds}"):
                for image in images:
                    runs = {"warm": containers.start(place, subject, image)[0]}
                    containers.evict(self.client, image)
                    runs["cold"] = containers.start(place, subject, image)[0]
                    runs["migrate"] = place.finish(subject, image, [*image.python, "manage.py", "migrate", "--check"])
                    for kind, seconds in runs.items() if number else ():
                        found.setdefault(kind, {}).setdefault(image.name, []).append(seconds)
        return found

    def memory(self, place: Place, subject: Subject, images: Sequence[Image]) -> dict[str, list[dict[str, Any]]]:
        """Memory after the first answer and after REQUESTS, image → runs."""
        found: dict[str, list[dict[str, Any]]] = {image.name: [] for image in images}
        for number in range(builds.fewer(self.rounds)):
            with step(f"{subject.name}: memory, round {number + 1} of {builds.fewer(self.rounds)}"):
                for image in images:
                    first = containers.start(place, subject, image)[1]
                    busy = containers.busy(place, subject, image, REQUESTS)
                    found[image.name].append({"first": first, "busy": busy})
        return found

    def keep(self, subject: Subject, part: str, facts: dict[str, Any]) -> None:
        """Adds what was measured to the results, and writes the document anew."""
        file = self.folder / "results.json"
        results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"subjects": {}}
        results["machine"] = machine.facts(self.client)
        found = results["subjects"].setdefault(subject.name, {"measured": {}})
        nested = {name: found.get(name, {}) | facts[name] for name in ("build", "upload") if name in facts}
        found |= projects.describe(subject) | facts | nested
        found["measured"][part] = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC with lastgood at {projects.commit()}"
        results["subjects"] = {name: results["subjects"][name] for name in _SUBJECTS if name in results["subjects"]}
        with store.replacing(file) as written:
            written.write_text(json.dumps(results, indent=1), encoding="utf-8")
        with store.replacing(_TARGET) as written:
            written.write_text(report.page(results, roots.SUITE), encoding="utf-8")

    def clean(self) -> None:
        """Removes every container, network, volume and image of the bench from the engine."""
        from docker.errors import APIError

        ours = {"label": roots.LABEL}
        for container in self.client.containers.list(all=True, filters=ours, ignore_removed=True):
            container.remove(force=True)
        tags = [tag for image in self.client.api.images() for tag in image["RepoTags"] or ()]
        mine = [tag for tag in tags if tag.startswith((f"{peers.PREFIX}/", *(f"bench-{name}:" for name in _SUBJECTS)))]
        left = [*mine, *(image["Id"] for image in self.client.api.images(all=True, filters=ours))]
        while left:  # parents can go only after their children
            kept = []
            for image in left:
                try:
                    self.client.images.remove(image, force=True)
                except APIError as error:
                    if error.status_code == 409:
                        kept.append(image)
            if len(kept) == len(left):
                return
            left = kept


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0, 2 for a machine or an option that is not as needed, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default="", help=f"parts, with commas: {', '.join(report.PARTS)}")
    parser.add_argument("--project", default="", help=f"projects, with commas: {', '.join(_SUBJECTS)}")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"of every start (default {ROUNDS}); to try the bench, 1 will do"
    )
    options = parser.parse_args(arguments)
    parts = chosen("ONLY", options.only, report.PARTS)
    names = chosen("PROJECT", options.project, tuple(_SUBJECTS))
    machine.ready()
    os.environ.pop("LASTGOOD_STATE", None)  # each project has its own
    folder = projects.REPOSITORY / ".lastgood/bench"
    folder.mkdir(parents=True, exist_ok=True)
    with closing(engine.ensure()) as client:
        bench = Bench(client, folder, max(options.rounds, 1))
        try:
            bench.run(names, parts)
        finally:
            with step("clean up"):
                bench.clean()
    print(_TARGET)
    return 0


def chosen(name: str, given: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The words of `given`, all of `known` where there are none. Raises UsageError for one that is not known."""
    words = tuple(given.replace(",", " ").split())
    for word in words:
        if word not in known:
            raise UsageError(f"{name}={word} is none of {', '.join(known)}: name some of them, or leave {name} away")
    return words or known


def _terminated(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    try:
        raise SystemExit(main(sys.argv[1:]))
    except LastgoodError as error:
        print(f"make bench: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from None
    except KeyboardInterrupt:
        print("make bench: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
