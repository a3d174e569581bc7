"""Walks on a database that is not ours alone: what an administrator had made, reports that run for long, a pooler in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
from fixtures import pgbouncer
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from .fleet import Fleet, Worker, contents, shared
from .histories import SHARED, History, Tree, histories, walks
from .test_walks import LONG, NESTING, SHORT, Walk, Walker

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

HISTORIES = histories(nesting=NESTING, sharing=True)
THERE = st.sets(st.sampled_from(SHARED))
WAITS = "SELECT 1 FROM pg_stat_activity WHERE query ILIKE '%INDEX CONCURRENTLY%' AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"


@contextmanager
def report(info: str) -> Iterator[None]:
    """A transaction that keeps what it saw, until an index waits for it, or the step is over."""
    over = Event()
    with psycopg.connect(info) as holder, psycopg.connect(info, autocommit=True) as watch:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM pg_class")

        def end() -> None:
            while not over.wait(0.02):
                if watch.execute(WAITS).fetchone():
                    break
            holder.commit()

        thread = Thread(target=end)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class SharedWalker(Walker):
    """Knows what an administrator has made, and what a fresh database of each build has of the same."""

    def __init__(self, *arguments: Any, through: Any = None) -> None:
        super().__init__(*arguments)
        self.fresh_shared: dict[Any, frozenset[str]] = {}
        self.there: frozenset[str] = frozenset()
        self.busy = cycle((True, False))
        self.through = through  # Django's address of a pooler that gives every transaction another session

    def expected(self, tree: Tree, worker: Worker) -> Any:
        found = super().expected(tree, worker)
        key = frozenset((file.key, file.text) for file in tree.files.values())
        if key not in self.fresh_shared:
            self.fresh_shared[key] = shared(self.database.connection)
        return found

    def begin(self) -> None:
        for name in sorted(self.there):
            kind = "SCHEMA" if name == "extra" else "EXTENSION"
            self.database.connection.execute(f"CREATE {kind} {name}")

    def step(self, workers: dict[str, Worker], stop: str, wanted: Any, history: History, given_up: set[str]) -> None:
        connection = self.database.connection
        before, refused = shared(connection), self.counts["refused"]
        if self.through:
            self.refused_by_the_pooler(workers[stop])
        if next(self.busy):
            with report(self.database.info):
                super().step(workers, stop, wanted, history, given_up)
        else:
            super().step(workers, stop, wanted, history, given_up)
        if self.counts["refused"] > refused:
            assert shared(connection) == before
            return
        key = frozenset((file.key, file.text) for file in history.trees[stop].files.values())
        assert shared(connection) == self.fresh_shared[key] | self.there
        assert not connection.execute("SELECT 1 FROM pg_index WHERE NOT indisvalid").fetchall()

    def refused_by_the_pooler(self, worker: Worker) -> None:
        before = contents(self.database.connection), shared(self.database.connection)
        through = self.fleet.build(worker.folder, worker.environment["LASTGOOD_BUILD"], self.through)
        result = through.run("forward", "--accept-loss").result
        assert (result["status"], result["reason"][:20]) == ("refused", "a pooler stands betw")
        assert (contents(self.database.connection), shared(self.database.connection)) == before
        self.counts["refused by the pooler"] += 1

    def go(self, walk: Walk, there: set[str]) -> None:
        self.there = frozenset(there)
        self.walk(*walk, "us")


@pytest.fixture(scope="module")
def walker(fleet: Fleet, shared: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedWalker]:
    walker = SharedWalker(fleet, shared, tmp_path_factory.mktemp("walks"))
    yield walker
    print("\n" + ", ".join(f"{number} {what}" for what, number in walker.counts.items()))


@pytest.fixture(scope="module")
def pooled(fleet: Fleet, shared: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedWalker]:
    """Give a walker whose builds reach the database through a pooler, first one that shares sessions, then one that does not."""
    if "password" not in conninfo_to_dict(shared.info):
        pytest.skip("this server takes no connections by TCP")
    direct = dict(shared.django)
    with (
        pgbouncer.running(shared.info, "transaction") as sharing,
        pgbouncer.running(shared.info, "session", 8) as one_each,
    ):
        ways = [
            {**direct, "HOST": "127.0.0.1", "PORT": str(conninfo_to_dict(one)["port"])} for one in (sharing, one_each)
        ]
        shared.django = ways[1]
        walker = SharedWalker(fleet, shared, tmp_path_factory.mktemp("pooled"), through=ways[0])
        yield walker
        shared.django = direct
    print("\n" + json.dumps(walker.counts))


@settings(SHORT, max_examples=60)
@given(walks(HISTORIES), THERE)
def test_walks(walker: SharedWalker, walk: Walk, there: set[str]) -> None:
    walker.go(walk, there)


@settings(SHORT, max_examples=8)
@given(walks(HISTORIES, steps=2), THERE)
def test_walks_through_a_pooler(pooled: SharedWalker, walk: Walk, there: set[str]) -> None:
    pooled.go(walk, there)


@pytest.mark.long
@pytest.mark.timeout(7200)
@LONG
@given(walks(histories(builds=6, changes=4, nesting=NESTING, sharing=True), steps=6), THERE)
def test_walks_long(walker: SharedWalker, walk: Walk, there: set[str]) -> None:
    walker.go(walk, there)
