"""Random walks over random histories on a real PostgreSQL: right, or refused with nothing changed."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import django
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import fleet as fleets
from .fleet import Contents, Fleet, Worker, add_users_rows, contents, emptied, refused_untouched, travel, users_rows
from .histories import History, Tree, histories, walks

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

SHORT = settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
LONG = settings(SHORT, max_examples=1000)
NESTING = django.VERSION >= (6,)
FIRST = st.sampled_from(["us", "django"])  # who made the database
Walk = tuple[History, tuple[str, ...]]


class Walker:
    """Walks over one database, again and again; knows what a fresh database of each build has."""

    def __init__(self, fleet: Fleet, database: Any, folder: Path) -> None:
        self.fleet, self.database, self.folder = fleet, database, folder
        self.numbers = count(1)
        self.fresh: dict[frozenset[tuple[str, str]], Contents] = {}
        self.counts: Counter[str] = Counter()

    def workers(self, history: History) -> dict[str, Worker]:
        folder = self.folder / str(next(self.numbers))
        for build, tree in history.trees.items():
            fleets.write(folder / build, tree)
        return {build: self.fleet.build(folder / build, build, self.database.django) for build in history.trees}

    def expected(self, tree: Tree, worker: Worker) -> Contents:
        """Return what a fresh database of that build has; empties the database for it the first time."""
        key = frozenset((file.key, file.text) for file in tree.files.values())
        if key not in self.fresh:
            emptied(self.database.connection)
            answer = worker.migrate()
            assert answer.exit_status == 0, answer.stdout + answer.stderr
            self.fresh[key] = contents(self.database.connection)
        return self.fresh[key]

    def walk(self, history: History, stops: tuple[str, ...], first: str) -> None:
        workers = self.workers(history)
        try:
            wanted = {stop: self.expected(history.trees[stop], workers[stop]) for stop in stops}
            emptied(self.database.connection)
            self.begin()
            if first == "django":
                workers[stops[0]].migrate()
            given_up: set[str] = set()
            for stop in stops:
                self.step(workers, stop, wanted[stop], history, given_up)
            self.counts["walks"] += 1
        finally:
            self.fleet.close_workers()
            shutil.rmtree(self.folder, ignore_errors=True)

    def begin(self) -> None:
        """Make of the empty database what the walk begins with."""

    def step(
        self, workers: dict[str, Worker], stop: str, wanted: Contents, history: History, given_up: set[str]
    ) -> None:
        """Go to `stop`, every loss accepted; `given_up` are the apps of which a table, with its rows, was deleted on this walk."""
        connection = self.database.connection
        before, users = contents(connection), users_rows(connection)
        journey = travel(workers, stop, "--accept-loss")
        after = contents(connection)
        self.counts["steps"] += 1
        if journey.status not in ("done", "nothing"):
            assert refused_untouched(journey), journey.story
            assert journey.reason, journey.story
            assert after == before, journey.story
            self.counts["refused"] += 1
            return
        self.counts[f"{len(journey.runs)} runs"] += 1
        assert after.schema == wanted.schema, journey.story
        assert after.rows <= wanted.rows, journey.story
        assert {table.split("_")[0] for table, *_ in wanted.rows - after.rows} <= given_up, journey.story
        assert workers[stop].plain() == []
        state = json.loads(workers[stop].run("check", "--json").stdout)["state"]
        assert state == "in step" or (state == "tampered" and edited(history)), state
        files = {key: file for tree in history.trees.values() for key, file in tree.files.items()}
        given_up |= {
            key.split(".")[0]
            for key in journey.moved("applied")
            if key in files and any("DeleteModel" in operation.text for operation in files[key].operations)
        }
        dropped = sum(
            kind in operation.text
            for what, kind in (("undone", "CreateModel"), ("applied", "DeleteModel"))
            for key in journey.moved(what)
            for operation in (files[key].operations if key in files else ())
        )
        kept = users_rows(connection)
        assert users - dropped <= kept <= users, f"rows of users were lost\n{journey.story}"
        add_users_rows(connection)


def edited(history: History) -> bool:
    """Return whether a file of the same name has more than one text."""
    texts = {(key, file.text) for tree in history.trees.values() for key, file in tree.files.items()}
    return len(texts) > len({key for key, _ in texts})


@pytest.fixture(scope="module")
def walker(fleet: Fleet, shared: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    walker = Walker(fleet, shared, tmp_path_factory.mktemp("walks"))
    yield walker
    print("\n" + ", ".join(f"{number} {what}" for what, number in walker.counts.items()))


@SHORT
@given(walks(histories(nesting=NESTING)), FIRST)
def test_walks(walker: Walker, walk: Walk, first: str) -> None:
    walker.walk(*walk, first)


@pytest.mark.long
@pytest.mark.timeout(7200)
@LONG
@given(walks(histories(builds=6, changes=4, nesting=NESTING), steps=6), FIRST)
def test_walks_long(walker: Walker, walk: Walk, first: str) -> None:
    walker.walk(*walk, first)
