"""The decisions, as tables: no database, no Django."""

from __future__ import annotations

from dataclasses import replace

import pytest
from migrator.decision import plan, standing, steps
from migrator.decision.facts import Applied, Build, Facts
from migrator.decision.steps import Decision, Phase, Segment
from migrator.manifest import Manifest, Migration


def manifest(build: str, *migrations: Migration) -> Manifest:
    return Manifest(build, "5.2", migrations)


def node(key: str, *parents: str, sha: str = "", **other: object) -> Migration:
    app, name = key.split(".")
    return replace(Migration(app, name, sha or f"sha-{key}", parents), **other)  # type: ignore[arg-type]


A1, A2, A3 = node("a.1"), node("a.2", "a.1"), node("a.3", "a.2")
B1 = node("b.1", "a.2")
V1, V2, V3 = manifest("v1", A1), manifest("v2", A1, A2, B1), manifest("v3", A1, A2, B1, A3)
BY = {"a.1": "v1", "a.2": "v2", "b.1": "v2", "a.3": "v3"}


def facts(*rows: str, builds: tuple[Manifest, ...] = (V1, V2, V3), by: dict[str, str] = BY, **shas: str) -> Facts:
    ledger = {key: Applied(by[key], f"sha256:{by[key]}", shas.get(key, f"sha-{key}")) for key in rows if key in by}
    return Facts(rows, ledger, {each.build: Build(each, f"sha256:{each.build}") for each in builds})


FULL = facts("a.1", "a.2", "b.1", "a.3")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["a.1", "a.2", "b.1"], ("in step", [], [])),
        (["a.1"], ("behind", ["a.2", "b.1"], [])),
        ([], ("behind", ["a.1", "a.2", "b.1"], [])),
        (["a.1", "a.2", "b.1", "a.3"], ("ahead", [], ["a.3"])),
        (["a.1", "a.2", "x.1", "x.1"], ("diverged", ["b.1"], ["x.1"])),
    ],
)
def test_compare(rows: list[str], expected: tuple[str, list[str], list[str]]) -> None:
    assert standing.compare(rows, V2) == expected


@pytest.mark.parametrize(
    ("known", "build", "expected"),
    [
        (facts(), V2, Decision("run", ("a.1", "a.2", "b.1"))),
        (facts("a.1"), V3, Decision("run", ("a.2", "b.1", "a.3"))),
        (FULL, V3, Decision("nothing")),
        (
            FULL,
            V2,
            Decision(
                "needs",
                needs="v3",
                needs_digest="sha256:v3",
                needs_direction="back",
                reason="a.3: applied, but not in build v2; build v3 must undo it first",
            ),
        ),
        (
            FULL,
            V1,
            Decision(
                "needs",
                needs="v3",
                needs_digest="sha256:v3",
                needs_direction="back",
                reason="a.3 and 2 more: applied, but not in build v1; build v3 must undo it first",
            ),
        ),
        # The ledger is silent, but a build that was here has the file.
        (
            facts("a.1", "a.2", by={}),
            V1,
            Decision(
                "needs",
                needs="v3",
                needs_digest="sha256:v3",
                needs_direction="back",
                reason="a.2: applied, but not in build v1; build v3 must undo it first",
            ),
        ),
        (
            facts("a.1", "a.2", by={}, builds=(V1,)),
            V1,
            Decision(
                "needs",
                reason="a.2: applied, but not in build v1, and the ledger does not know which build applied it; "
                "run `back` of a build that has it",
                needs_direction="back",
            ),
        ),
        # The build that is said to have applied it does not have it: sending anybody to it would go round for ever.
        (
            facts("a.1", "x.1", by={"x.1": "v1"}),
            V1,
            Decision(
                "refused",
                reason="x.1 is applied, but not in build v1, and no known build has its file",
            ),
        ),
        (
            facts("a.2"),
            V2,
            Decision("refused", reason="a.2 is applied, but a.1, on which it depends in build v2, is not"),
        ),
    ],
)
def test_forward(known: Facts, build: Manifest, expected: Decision) -> None:
    assert plan.forward(known, build, build) == expected


def test_forward_to_a_target_that_has_other_files() -> None:
    hotfix = manifest("v2b", A1, node("a.2", "a.1", sha="other"))
    decision = plan.forward(facts("a.1"), V3, hotfix)
    reason = "a.2 is not in build v3 as build v2b has it: that build must apply it"
    assert decision == Decision("needs", needs="v2b", needs_direction="forward", reason=reason)


def test_forward_to_an_older_target_applies_no_more_than_it_wants() -> None:
    assert plan.forward(facts("a.1"), V3, V2) == Decision("run", ("a.2", "b.1"))


def test_forward_to_a_target_without_what_this_build_depends_on() -> None:
    turned = manifest("v5", node("a.1", "b.1"), node("b.1"))
    decision = plan.forward(facts(), turned, manifest("v6", A1))
    reason = "a.1 is not in build v5 as build v6 has it: that build must apply it"
    assert decision == Decision("needs", needs="v6", needs_direction="forward", reason=reason)


@pytest.mark.parametrize(
    ("migration", "rows", "accept", "reason"),
    [
        (node("a.2", "a.1", irreversible=("RunPython(drop)",)), ("a.1",), False, "RunPython(drop)"),
        (node("a.2", "a.1", irreversible=("RunPython(drop)",)), ("a.1",), True, None),
        (node("a.2", "a.1", irreversible=("RunPython(drop)",)), (), False, None),
        (node("a.2", "a.1", irreversible=("RunPython(drop)",), rollback="it is a cache"), ("a.1",), False, None),
    ],
)
def test_gate(migration: Migration, rows: tuple[str, ...], accept: bool, reason: str | None) -> None:
    build = manifest("v2", A1, migration)
    decision = plan.forward(facts(*rows, builds=()), build, build, accept_loss=accept)
    if reason is None:
        assert decision.status == "run"
    else:
        assert decision == Decision(
            "refused",
            reason=f"a.2 could not be undone: {reason} has no reverse; give it one, say "
            '`rollback = "why this is acceptable"` in the migration, or pass --accept-loss',
        )


@pytest.mark.parametrize(
    ("known", "image", "wanted", "expected"),
    [
        (FULL, V3, V3, Decision("nothing")),
        (FULL, V3, V2, Decision("run", ("a.3",))),
        # v3's files are the ones that v2 applied, so v3 goes all the way, in the reverse of its own order.
        (FULL, V3, V1, Decision("run", ("a.3", "b.1", "a.2"))),
        # v3's file of a.2 is not the one that v2 applied, and b.1 stands above it.
        (
            FULL,
            manifest("v3", A1, node("a.2", "a.1", sha="edited"), B1, A3),
            V1,
            Decision(
                "run",
                ("a.3", "b.1"),
                rest=("a.2",),
                needs="v2",
                needs_digest="sha256:v2",
                needs_direction="back",
                reason="a.2: applied, but not in build v1; build v2 must undo it first",
            ),
        ),
        # v2 does not have the newest: it undoes nothing.
        (
            FULL,
            V2,
            V1,
            Decision(
                "needs",
                needs="v3",
                needs_digest="sha256:v3",
                needs_direction="back",
                reason="a.3 and 2 more: applied, but not in build v1; build v3 must undo it first",
            ),
        ),
        # Nobody knows who applied it, and this image has the file.
        (facts("a.1", "a.2", by={}), V3, V1, Decision("run", ("a.2",))),
        (
            facts("a.1", "x.1", "a.2"),
            V3,
            V1,
            Decision("refused", reason="x.1 is applied, but not in build v1, and no known build has its file"),
        ),
        # The same name with another file: this build can't be the one that applied it.
        (
            facts("a.1", "a.2", **{"a.2": "other"}, by={"a.1": "v1", "a.2": "v2"}),
            V2,
            V1,
            Decision(
                "refused",
                reason="a.2: applied, but not in build v1; the ledger says that build v2 applied it, which no longer "
                "has that file",
            ),
        ),
        (
            facts(
                "a.1",
                "a.2",
                "b.1",
                builds=(V1, manifest("v2", A1, A2, node("b.1", "a.2", holds=("Create model Bill",)))),
            ),
            manifest("v2", A1, A2, node("b.1", "a.2", holds=("Create model Bill",))),
            manifest("v9", A1, node("b.1")),
            Decision(
                "refused",
                reason="b.1, which build v9 wants, depends on a.2, which it does not want: "
                "undoing it would lose what Create model Bill holds; the histories have diverged, which needs a person",
            ),
        ),
        # Nothing is held by it: it can be undone, and done again without what it stood on.
        (facts("a.1", "a.2", "b.1"), V2, manifest("v9", A1, node("b.1")), Decision("run", ("b.1", "a.2"))),
    ],
)
def test_back(known: Facts, image: Manifest, wanted: Manifest, expected: Decision) -> None:
    assert plan.back(known, image, wanted) == expected


@pytest.mark.parametrize("irreversible_in", ["v3", "v2"])
def test_back_refuses_what_anybody_on_the_way_could_not_undo(irreversible_in: str) -> None:
    """Also when it is another build's turn to undo it: nothing starts that could not be finished."""
    stuck = node("a.2", "a.1", irreversible=("RunSQL(DELETE)",), rollback="fine")
    second = manifest("v2", A1, stuck, B1)
    third = manifest("v3", A1, stuck if irreversible_in == "v3" else node("a.2", "a.1", sha="edited"), B1, A3)
    known = facts("a.1", "a.2", "b.1", "a.3", builds=(V1, second, third))
    reason = "a.2 can't be undone: RunSQL(DELETE) has no reverse (accepted: fine)"
    assert plan.back(known, third, V1) == Decision("refused", reason=reason)


def test_back_leaves_it_to_the_build_that_needs_the_fewest_steps() -> None:
    """This build has b.1 in another file and a.2 standing on it: it could undo a.2, but v2 can undo both at once."""
    image = manifest("v3", A1, node("b.1", "a.1", sha="other"), node("a.2", "b.1"))
    known = facts("a.1", "b.1", "a.2", builds=(V1, manifest("v2", A1, node("b.1", "a.1"), A2)))
    decision = plan.back(known, image, V1)
    assert (decision.status, decision.migrations, decision.needs) == ("needs", (), "v2")
    # The other way round: b.1 may not go while a.2, which stands on it here, stays.
    swapped = manifest("v3", A1, node("a.2", "b.1", sha="other"), node("b.1", "a.1"))
    known = facts("a.1", "a.2", "b.1", builds=(V1, manifest("v2", A1, A2, node("b.1", "a.1"))))
    assert plan.back(known, swapped, V1).migrations == ()


S12 = node("a.1_squashed_2", replaces=("a.1", "a.2"))
S13 = node("a.1_squashed_3", replaces=("a.1_squashed_2", "a.3"))
KEPT = manifest("kept", A1, A2, S12, B1)
GONE = manifest("gone", S12, node("b.1", "a.1_squashed_2"))
NESTED = manifest("nested", S13, node("b.1", "a.1_squashed_3"), node("a.4", "a.1_squashed_3"))


@pytest.mark.parametrize(
    ("rows", "wanted", "others", "expected"),
    [
        (["a.1", "a.2", "b.1"], KEPT, [], ("in step", [], [])),
        (["a.1", "a.2", "b.1"], GONE, [], ("in step", [], [])),
        # A database that was made by the squashed migration alone.
        (["a.1_squashed_2", "b.1"], KEPT, [], ("in step", [], [])),
        (["a.1_squashed_2", "b.1"], GONE, [], ("in step", [], [])),
        # Only who knows the squash sees that there is nothing extra.
        (["a.1", "a.2", "a.1_squashed_2", "b.1"], V2, [], ("ahead", [], ["a.1_squashed_2"])),
        (["a.1", "a.2", "a.1_squashed_2", "b.1"], V2, [GONE], ("in step", [], [])),
        # A stale row of the squash: Django writes them, and never takes them back.
        (["a.1", "a.1_squashed_2"], V1, [GONE], ("in step", [], [])),
        (["a.1", "a.1_squashed_2"], KEPT, [], ("behind", ["a.2", "b.1"], [])),
        (["a.1"], GONE, [], ("behind", ["a.1_squashed_2", "b.1"], [])),
        # Squashed again: this build alone does not know what is in the first squash.
        (["a.1", "a.2", "b.1", "a.3"], NESTED, [KEPT], ("behind", ["a.4"], [])),
        (["a.1_squashed_3", "b.1", "a.4"], V3, [KEPT, NESTED], ("ahead", [], ["a.4"])),
    ],
)
def test_compare_with_squashed_migrations(
    rows: list[str], wanted: Manifest, others: list[Manifest], expected: tuple[str, list[str], list[str]]
) -> None:
    assert standing.compare(rows, wanted, others) == expected


@pytest.mark.parametrize(
    ("known", "image", "wanted", "expected"),
    [
        # The originals are run wherever they are all there: one build has one graph, whatever the database has seen.
        (facts(), KEPT, KEPT, Decision("run", ("a.1", "a.2", "b.1"))),
        (facts(), GONE, GONE, Decision("run", ("a.1_squashed_2", "b.1"))),
        (facts("a.1", "a.2", "b.1"), GONE, GONE, Decision("nothing")),
        (facts("a.1", builds=(V1,)), KEPT, KEPT, Decision("run", ("a.2", "b.1"))),
        # Half of the squash is there, and this build has no file for the other half: who has goes first.
        (
            facts("a.1", builds=(V1, KEPT)),
            GONE,
            GONE,
            Decision(
                "needs",
                needs="kept",
                needs_digest="sha256:kept",
                needs_direction="forward",
                reason="a.2 and 1 more: build kept must apply it first, of which build gone has only the squashed migration",
            ),
        ),
        (
            facts("a.1", builds=(V1, GONE)),
            GONE,
            GONE,
            Decision(
                "refused",
                reason="build gone has only the squashed migration a.1_squashed_2, of which a.2 is not applied yet: a build that has "
                "the originals must run first; pass its manifest with --via",
            ),
        ),
    ],
)
def test_forward_with_squashed_migrations(known: Facts, image: Manifest, wanted: Manifest, expected: Decision) -> None:
    assert plan.forward(known, image, wanted) == expected


def squashed_by(build: Manifest, *rows: str, builds: tuple[Manifest, ...]) -> Facts:
    """Facts of a database that `build` made, which has only the squashed migration of a.1 and a.2."""
    by = Applied(build.build, f"sha256:{build.build}", "sha-a.1_squashed_2", "a.1_squashed_2")
    known = facts(*rows, builds=builds)
    return replace(known, ledger={**known.ledger, "a.1": by, "a.2": by})


@pytest.mark.parametrize(
    ("known", "image", "wanted", "expected"),
    [
        # All of the squash must go: the build that ran it undoes it whole.
        (
            squashed_by(GONE, "a.1", "a.2", "a.1_squashed_2", "b.1", builds=(GONE,)),
            GONE,
            manifest("zero"),
            Decision("run", ("b.1", "a.1_squashed_2")),
        ),
        # Applied as originals, and this build has only the squashed migration: who has the originals goes first.
        (
            facts("a.1", "a.2", "b.1", builds=(V2, GONE)),
            GONE,
            manifest("zero"),
            Decision(
                "needs",
                needs="v2",
                needs_digest="sha256:v2",
                needs_direction="back",
                reason="b.1 and 2 more: applied, but not in build zero; build v2 must undo it first",
            ),
        ),
        # Half of it must go, and nobody has that half's file.
        (
            squashed_by(GONE, "a.1", "a.2", "a.1_squashed_2", "b.1", builds=(GONE,)),
            GONE,
            V1,
            Decision(
                "refused",
                reason="a.2 must go and a.1 must stay, but known builds have only the squashed migration a.1_squashed_2 of both: pass "
                "the manifest of a build that has the originals with --via",
            ),
        ),
        # Half of it must go, and a build that has the originals is known: equal by what the squash says of itself.
        (
            squashed_by(GONE, "a.1", "a.2", "a.1_squashed_2", "b.1", builds=(KEPT, GONE)),
            GONE,
            V1,
            Decision(
                "needs",
                needs="kept",
                needs_digest="sha256:kept",
                needs_direction="back",
                reason="b.1 and 1 more: applied, but not in build v1; build kept must undo it first",
            ),
        ),
    ],
)
def test_back_with_squashed_migrations(known: Facts, image: Manifest, wanted: Manifest, expected: Decision) -> None:
    assert plan.back(known, image, wanted) == expected


def test_two_newest_migrations_are_refused() -> None:
    hotfix = manifest("v4", A1, A2, node("a.2b", "a.1"))
    reason = "build v4 has two newest migrations of app a, a.2 and a.2b: merge them with `makemigrations --merge`"
    assert plan.forward(facts(), hotfix, hotfix) == Decision("refused", reason=reason)


def test_changed_files_are_told() -> None:
    assert standing.changed(facts("a.1", "a.2", **{"a.2": "other"}), V2) == ["a.2"]


def test_route_over_several_builds() -> None:
    edited = manifest("v3", A1, node("a.2", "a.1", sha="edited"), B1, A3)
    hotfix = manifest("v1b", A1, node("a.2b", "a.1"))
    known = facts("a.1", "a.2", "b.1", "a.3", builds=(V1, V2, edited))
    phases, end = plan.route(known, V1, hotfix)
    assert phases == (
        Phase("v3", "back", ("a.3", "b.1")),
        Phase("v2", "back", ("a.2",)),
        Phase("v1b", "forward", ("a.2b",)),
    )
    assert end.status == "run"


def test_route_ends_where_it_is_refused() -> None:
    assert plan.route(facts("a.1", "x.1"), V2, V1) == (
        (),
        Decision("refused", reason="x.1 is applied, but not in build v1, and no known build has its file"),
    )


@pytest.mark.parametrize(
    ("together", "expected"),
    [
        (True, (Segment(True, ("a.1", "a.2")), Segment(False, ("b.1",)), Segment(True, ("a.3",)))),
        (False, (Segment(True, ("a.1",)), Segment(True, ("a.2",)), Segment(False, ("b.1",)), Segment(True, ("a.3",)))),
    ],
)
def test_segments(together: bool, expected: tuple[Segment, ...]) -> None:
    build = manifest("v3", A1, A2, node("b.1", "a.2", atomic=False), A3)
    assert steps.segments(("a.1", "a.2", "b.1", "a.3"), build, together=together) == expected
