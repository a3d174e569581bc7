"""Random histories, no database: the route is legal at every step, ends exactly at the target, and none is shorter."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from migrator.decision import plan, search, standing

from .histories import History, histories, walks
from .simulated import Simulated, fewest

QUICK = settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
LONG = settings(QUICK, max_examples=5000)


Walk = tuple[History, tuple[str, ...]]


def go(walk: Walk, first: str, *, compare: bool = False) -> None:
    """Go from build to build, and check every step."""
    history, stops = walk
    builds = list(history.manifests.values())
    names = [history.manifests[stop] for stop in stops]
    database = Simulated()
    database.fill(names[0], by=first)
    if first == "django":
        database.meet(*builds)  # passed with --via
    for wanted in names[1:]:
        database.meet(wanted)
        target = database.names.target(wanted)
        must = database.must_go(target)
        before = (list(database.rows), dict(database.ledger))
        phases, end = plan.route(database.facts(), wanted, wanted, accept_loss=True)
        if end.status == "refused":
            assert phases == ()
            assert end.reason
            event("refused")
            if (
                compare
                and not must & target
                and "two newest" not in end.reason
                and "on which it depends" not in end.reason
            ):
                assert fewest(database, wanted, search.MAX_PHASES, loose=True) is None, end.reason
            continue
        event(f"{len(phases)} phases")
        assert (end.status == "nothing") == (phases == ())
        if compare:
            strict = fewest(database, wanted, search.MAX_PHASES, loose=False)
            known = fewest(database, wanted, search.MAX_PHASES, loose=True) if strict is None else strict
            assert known == len(phases)
        undone: set[str] = set()
        for phase in phases:
            state = database.names.state(database.rows)
            database.run(phase)
            undone |= state - database.names.state(database.rows)
        assert undone == must
        assert database.names.state(database.rows) == target, before
        assert standing.compare(database.rows, wanted, [b.manifest for b in database.builds.values()])[0] == "in step"


FIRST = st.sampled_from(["us", "django"])


@QUICK
@given(walks(histories()), FIRST)
def test_every_step_is_legal(walk: Walk, first: str) -> None:
    go(walk, first)


@QUICK
@given(walks(histories(builds=4, changes=2), steps=2), FIRST)
def test_no_route_is_shorter(walk: Walk, first: str) -> None:
    assume(small(walk))
    go(walk, first, compare=True)


@pytest.mark.slow
@pytest.mark.long
@LONG
@given(walks(histories(builds=7, changes=4), steps=7), FIRST)
def test_every_step_is_legal_long(walk: Walk, first: str) -> None:
    go(walk, first)


@pytest.mark.slow
@pytest.mark.long
@LONG
@given(walks(histories(builds=5), steps=2), FIRST)
def test_no_route_is_shorter_long(walk: Walk, first: str) -> None:
    assume(small(walk))
    go(walk, first, compare=True)


def small(walk: Walk) -> bool:
    return max(len(tree.files) for tree in walk[0].trees.values()) <= 9
