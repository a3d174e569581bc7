"""Who deploys, and a lock that is taken away."""

from __future__ import annotations

from typing import Any

import pytest
from lastgood.deploy import locks
from lastgood.deploy.place import Place
from lastgood.errors import Refused, UsageError
from lastgood.record.lock import Lock
from lastgood.record.table import Record


def test_nobody_deploys(account: Any) -> None:
    found = locks.status(Place(account, account.folder))
    assert found == {"environment": "staging", "lock": None, "forced": []}
    assert locks.render_status(found) == "environment  staging\nlock         free"


def test_somebody_deploys(account: Any, record: Record) -> None:
    with Lock(record, who="grace", what="release 9, build a") as held:
        found = locks.status(Place(account, account.folder))
        shown = found["lock"]
        assert held.token not in str(found)
    assert locks.render_status(found) == (
        "environment  staging\n"
        f"lock         grace since {shown['since']} (release 9, build a)\n"
        f"until        {shown['until']}, unless its command renews it"
    )


def test_a_lock_is_taken_away_and_everybody_can_read_why(account: Any, record: Record) -> None:
    place = Place(account, account.folder)
    with Lock(record, who="grace", what="release 9"):
        done = locks.unlock(place, who="ada", reason="the runner is gone", force=True)
        found = locks.status(place)
        with pytest.raises(Refused) as error:
            locks.unlock(place, who="ada", reason="again", force=True)
    assert str(error.value) == "nobody has the lock of environment staging: there is nothing to take away"
    assert locks.render_unlock(done) == (
        f"the lock of environment staging was taken away from grace (release 9, since {done['lock']['since']}); the next deploy or "
        f"rollback "
        "begins with what that command left"
    )
    assert locks.render_status(found) == (
        "environment  staging\n"
        "lock         free\n"
        "\n"
        "taken away by hand\n"
        f"  {found['forced'][0]['at']} by ada from grace (release 9): the runner is gone"
    )


@pytest.mark.parametrize(("force", "reason"), [(False, "why"), (True, " "), (False, "")])
def test_it_needs_force_and_a_reason(account: Any, record: Record, force: bool, reason: str) -> None:
    with Lock(record, who="grace", what="release 9"):
        with pytest.raises(UsageError, match=r"^unlock needs --force and a --reason: "):
            locks.unlock(Place(account, account.folder), who="ada", reason=reason, force=force)
        assert account.table.items["environment#staging", "lock"]["who"] == "grace"
