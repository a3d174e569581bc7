"""The generator of histories writes projects that Django takes, and says of them what the migrator finds in the files."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from migrator.manifest import Manifest, Migration, loads

from .histories import History, Tree, histories
from .test_walks import NESTING, SHORT, Walker, emptied, walker  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


def said(manifest: Manifest, tree: Tree) -> dict[str, Any]:
    def atom(one: Migration) -> tuple[Any, ...]:
        return (
            one.sha256,
            one.dependencies,
            one.replaces,
            one.atomic,
            *map(bool, (one.irreversible, one.lossy, one.holds)),
        )

    return {one.key: atom(one) for one in manifest.atoms if one.app in tree.apps}


def check(walker: Walker, history: History) -> None:  # noqa: F811
    workers = walker.workers(history)
    try:
        for build, tree in history.trees.items():
            emptied(walker.database.connection)
            answer = workers[build].migrate()
            assert answer.exit_status == 0, answer.stderr
            assert workers[build].plain() == []
            found = loads(workers[build].run("manifest").stdout, "the manifest")
            assert said(found, tree) == said(history.manifests[build], tree)
    finally:
        walker.fleet.close_workers()


@settings(SHORT, max_examples=15)
@given(histories(nesting=NESTING))
def test_histories(walker: Walker, history: History) -> None:  # noqa: F811
    check(walker, history)


@pytest.mark.long
@settings(SHORT, max_examples=300)
@given(histories(builds=6, changes=4, nesting=NESTING))
def test_histories_long(walker: Walker, history: History) -> None:  # noqa: F811
    check(walker, history)
