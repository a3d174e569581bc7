"""The demo's six stations, each with what is expected of it. Every command is the one that a person or a workflow would run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lastgood import bundle
from lastgood.aws import local_cloud
from lastgood.aws.local_cloud import LocalCloud
from lastgood.config.project import Project, load
from lastgood.demo import database, page, summary, versions
from lastgood.demo.station import Command, Station
from lastgood.demo.visitor import Visitor
from lastgood.deploy import history
from lastgood.deploy.place import Place
from lastgood.errors import LastgoodError, UsageError
from lastgood.image.materials import Materials
from lastgood.local import engine
from lastgood.report.terminal import bold, say, step


class Story:
    """Runs the stations in a throwaway clone of the reference project, against the local cloud of `project`."""

    def __init__(self, project: Project) -> None:
        self.home = project
        self.folder = project.state / "demo" / project.name
        self.stations: list[Station] = []
        self.digests: dict[str, str] = {}
        self.schemas: dict[str, str] = {}

    @property
    def cloud(self) -> LocalCloud:
        found = local_cloud.read(self.home.state)
        if found is None:
            raise UsageError("the local cloud is not up although it was started: see `lastgood local status`")
        return found

    @property
    def project(self) -> Project:
        return load(self.folder)

    @property
    def materials(self) -> Materials:
        return Materials.of(self.project)

    def run(self) -> None:
        """All six stations; raises LastgoodError only where the story can't go on."""
        with self.station("the one-machine cloud", watched=False) as station:
            self.command(station, "local", "up", home=True)
            with step("four versions, as git commits"):
                versions.make(self.home.root, self.home.app, self.folder)
            self.command(station, "bootstrap")
        for title, play, watched in (
            ("version 1: lock → build → scan → push → deploy", self.first, False),
            ("version 2: a migration forward", self.second, True),
            ("version 3: its migration succeeds, its service crashes", self.third, True),
            ("version 4: its migration fails half way", self.fourth, True),
            ("manual rollback to version 1", self.back, True),
            ("the stack is wrecked; made again from last good", self.wrecked, False),
        ):
            with self.station(title, watched=watched) as station:
                play(station)
                self.board()

    @contextmanager
    def station(self, title: str, *, watched: bool) -> Iterator[Station]:
        """Frames one station: its clock, and the visitor who asks while it lasts."""
        current = Station(title, datetime.now(UTC).isoformat(timespec="seconds"))
        self.stations.append(current)
        say("")
        say(bold(f"{len(self.stations) - 1}. {title}" if len(self.stations) > 1 else title))
        began = time.monotonic()
        try:
            if watched:
                with Visitor(f"{self.cloud.site_url}/") as visitor:
                    yield current
                current.asked, current.failed, current.failures = visitor.asked, visitor.failed, dict(visitor.failures)
                say(
                    f"· the site was asked {visitor.asked} times meanwhile, {visitor.failed} answers failed {dict(visitor.failures) or ''}"
                )
                self.after(current)
            else:
                yield current
        except LastgoodError as error:
            current.outcome = str(error)
            current.expect("the station ran to its end", False, error)
            raise
        finally:
            current.seconds = time.monotonic() - began

    def after(self, station: Station) -> None:
        """What the visitor must have seen: neither a failed release nor a rollback is noticed from outside."""
        if station.title.startswith(("version 3", "version 4", "manual rollback")):
            who = "version 1 or 2" if station.title.startswith("manual") else "version 2"
            station.expect(
                f"{who} answered the whole time: 0 of {station.asked} answers failed",
                station.failed == 0,
                station.failures,
            )

    def command(self, station: Station, *arguments: str, expected: int = 0, home: bool = False) -> dict[str, Any]:
        """Runs `lastgood …` as a person would and returns its JSON; a status that was not expected ends the story."""
        folder = self.home.root if home else self.folder
        line = " ".join(("lastgood", *arguments))
        began = time.monotonic()
        with step(line) as shown:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "lastgood", *arguments, "--json"],
                cwd=folder,
                env=self.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            said: list[str] = []
            reader = threading.Thread(target=_relay, args=(process, said), daemon=True)
            reader.start()
            assert process.stdout is not None
            output = process.stdout.read()
            status = process.wait()
            reader.join()
            shown.note("" if status == 0 else f"exit status {status}")
        station.commands.append(Command(line, status, time.monotonic() - began))
        if status != expected:
            cause = next(
                (text.removeprefix("lastgood: ") for text in reversed(said) if text.startswith("lastgood: ")),
                "see above",
            )
            raise UsageError(f"`{line}` ended with exit status {status}, {expected} was expected: {cause}")
        result: dict[str, Any] = json.loads(output) if output.strip() else {}
        return result

    def environment(self) -> dict[str, str]:
        """One state for the clone and for the repository, so that `lastgood status` works in both afterwards."""
        return os.environ | {"LASTGOOD_STATE": str(self.home.state), "LASTGOOD_ENVIRONMENT": "local", "NO_COLOR": "1"}

    def ship(self, station: Station, version: str, expected: int = 0) -> dict[str, Any]:
        """Builds, scans, pushes and deploys a version."""
        versions.checkout(self.folder, version)
        built = self.command(station, "build")
        self.digests[version] = built["digest"]
        self.command(station, "scan")
        self.command(station, "push")
        reason = f"demo {version}"
        return self.command(station, "deploy", "--reason", reason, expected=expected)

    def verified(self, station: Station, version: str, outcome: str) -> dict[str, Any]:
        """Checks from outside that `version` runs on its own schema; returns what the database holds."""
        facts = self.command(station, "status")
        station.outcome = outcome
        running = facts["running"]
        station.expect(
            f"{version} runs (digest {self.digests[version][7:19]})",
            running["digest"] == self.digests[version],
            running,
        )
        station.expect("its database is in step", running["database"] == "in step", running)
        found = database.look(self.materials, self.cloud.database_url)
        known = self.schemas.setdefault(version, found["schema"])
        station.expect(
            f"the schema is that of {version}, by the catalog", found["schema"] == known, found["migrations"]
        )
        return found

    def first(self, station: Station) -> None:
        versions.checkout(self.folder, "v1")
        self.command(station, "lock", "--check")
        self.ship(station, "v1")
        found = self.verified(station, "v1", "good")
        station.expect("its one migration is applied", found["migrations"] == ["0001_initial"], found["migrations"])

    def second(self, station: Station) -> None:
        self.ship(station, "v2")
        found = self.verified(station, "v2", "good")
        station.expect("the column came with it", found["migrations"][-1] == "0002_release_note", found["migrations"])
        station.expect("no row was lost", found["rows"] >= 1, found["rows"])

    def third(self, station: Station) -> None:
        self.ship(station, "v3", expected=3)
        self.verified(station, "v2", "failed; version 2 is back, schema included")
        reason = self.newest(station)["cause"]
        station.expect("the reason names the crash", "INCIDENT_QUEUE is not set" in reason, reason)

    def fourth(self, station: Station) -> None:
        self.ship(station, "v4", expected=3)
        self.verified(station, "v2", "failed; nothing of it is left")
        reason = self.newest(station)["cause"]
        named = "releases.0004_one_release_an_environment" in reason
        station.expect("the reason names the migration", named, reason)

    def back(self, station: Station) -> None:
        before = database.look(self.materials, self.cloud.database_url)["rows"]
        self.command(station, "rollback", "--to", self.build("v1"), "--reason", "demo: version 2 is not wanted")
        found = self.verified(station, "v1", "good")
        station.expect("version 2's migration is undone", found["migrations"] == ["0001_initial"], found["migrations"])
        station.expect("no row was lost", found["rows"] == before, found["rows"])

    def wrecked(self, station: Station) -> None:
        self.wreck()
        self.command(station, "rollback", "--recreate", "--reason", "demo: the stack is gone")
        found = self.verified(station, "v1", "good")
        station.expect(
            "the database is at version 1 again", found["migrations"] == ["0001_initial"], found["migrations"]
        )

    def wreck(self) -> None:
        """Deletes the stack, and moves the database to version 2 by hand, both behind the pipeline's back."""
        client = Place.of(self.home, "local").session.client("cloudformation")
        stack = self.home.environment("local").stack
        with step("somebody deletes the stack"):
            client.delete_stack(StackName=stack)
            client.get_waiter("stack_delete_complete").wait(
                StackName=stack, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
            )
        with step("and runs version 2's migrations by hand") as shown:
            versions.checkout(self.folder, "v2")
            identity = {
                "LASTGOOD_BUILD": self.build("v2"),
                "LASTGOOD_DIGEST": self.digests["v2"],
                "LASTGOOD_ACTOR": "somebody",
            }
            migrator = bundle.path("docker/migrator").parent
            done = database.forward(self.materials, self.cloud.database_url, self.folder / "app", migrator, identity)
            shown.note(f"applied {', '.join(done['applied'])}")

    def build(self, version: str) -> str:
        """The name of a version's build."""
        commit = subprocess.run(
            ["git", "-C", str(self.folder), "rev-parse", version], capture_output=True, text=True, check=True
        ).stdout
        return commit[:12]

    def newest(self, station: Station) -> dict[str, Any]:
        """The newest release of the release record."""
        releases: Any = self.command(station, "history", "--limit", "1")
        newest: dict[str, Any] = releases[0]
        return newest

    def board(self) -> None:
        """The release board is the pipeline's own first customer: the releases so far are written onto it."""
        releases = history.history(Place.of(self.home, "local"), 50)
        database.write(self.materials, self.cloud.database_url, releases, self.home.state / "demo" / "releases.json")


def _relay(process: subprocess.Popen[str], said: list[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line.rstrip("\n"))
        say(line.rstrip("\n"))


def run(project: Project, *, as_json: bool) -> int:
    """Plays the story; returns 0 only if every expectation held. Facts go to .lastgood/demo.json, the page to .lastgood/demo.html."""
    began = time.monotonic()
    engine.ensure().close()
    story = Story(project)
    failure: LastgoodError | None = None
    try:
        story.run()
    except LastgoodError as error:
        failure = error
    cloud = local_cloud.read(project.state)
    facts = summary.facts(story.stations, story.digests, cloud.site_url if cloud else None, time.monotonic() - began)
    body, picture = json.dumps(facts, indent=2, ensure_ascii=False), project.state / "demo.html"
    _write(project.state / "demo.json", body)
    _write(picture, page.render(facts))
    print(body if as_json else summary.text(story.stations, facts, picture))
    if failure:
        say(f"lastgood: {failure}")
    return 0 if facts["held"] else 1


def _write(file: Path, text: str) -> None:
    part = file.with_name(f".{file.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
