"""Which builds may be released at all, asked by the commands themselves: a refusal is exit status 2, one sentence, and nothing touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deploy.conftest import DECIDED, MADE
from fixtures.sigstore import PUSH, Authority, Job
from lastgood import cli
from lastgood.aws.local_cloud import LocalCloud
from lastgood.aws.session import Session
from lastgood.deploy import admission, change
from lastgood.deploy.place import Place
from msgspec.structs import replace as changed

if TYPE_CHECKING:
    from fixtures.signed import Signed
    from lastgood.record.table import Record

GITHUB = {
    "GitHubRepositoryId": "1234567",
    "GitHubRefs": "refs/heads/main",
    "PushWorkflows": "acme/lastgood/.github/workflows/push.yml@refs/tags/v1.*",
}
RUN = f"{PUSH}, https://github.com/acme/shop/actions/runs/7/attempts/1"
PROJECT = '[tool.lastgood]\nproject = "board"\nsettings = "board.settings"\n[tool.lastgood.environments.staging]\n'
FORWARD = [("UPDATE_IN_PROGRESS", []), ("UPDATE_COMPLETE", [])]
pytestmark = pytest.mark.parametrize("registry", ["ecr"], indirect=True)


@pytest.fixture
def shop(signed: Signed, account: Any, record: Record, monkeypatch: pytest.MonkeyPatch) -> Signed:
    """A checkout of a project whose environment asks who has signed; build `b` runs there, and `a` was pushed."""
    (signed.project / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    (signed.project / "manage.py").touch()
    monkeypatch.setenv("LASTGOOD_STATE", str(signed.project / "state"))
    monkeypatch.setattr(Session, "of", lambda _project, _environment: account)
    monkeypatch.setattr("lastgood.cli.release._who", lambda: "ada")
    for name in ("GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    account.cloudformation.add("lastgood-board-staging", "CREATE_COMPLETE", dict(GITHUB), DECIDED)
    account.registry = {signed.digest, running(signed).digest}
    uri = f"{signed.registry.client.host}/board"
    account.describe_repositories = lambda **_: {"repositories": [{"repositoryUri": uri}]}
    account.get_authorization_token = lambda: {"authorizationData": [{"authorizationToken": "QVdTOng="}]}
    old = running(signed)
    account.cloudformation.add("board-staging", "UPDATE_COMPLETE", {"ImageDigest": old.digest})
    account.running = (old.digest,)
    record.put_build(signed.facts)
    for build in (signed.facts, old):
        record.good(record.begin("deploy", build, who="ada", reason="before"), undone=[], applied=[])
    return signed


def running(signed: Signed) -> Any:
    """The build that runs: nobody has signed for it."""
    return replace(signed.facts, build="b", version="b", digest="sha256:" + "b" * 64)


def command(shop: Signed, verb: str, *more: str) -> int:
    which = ["--digest", shop.digest] if verb == "deploy" else ["--to", "a"]
    return cli.main([verb, "--environment", "staging", "--project", str(shop.project), *which, *more])


def untouched(account: Any, record: Record) -> bool:
    """Whether nobody has locked, begun or changed anything."""
    items = {sk for pk, sk in account.table.items if pk == "environment#staging"}
    return account.cloudformation.calls == [] and items == {"release#00000001", "release#00000002", "last-good"}


@pytest.mark.parametrize("verb", ["deploy", "rollback"])
def test_a_build_that_was_signed_for(
    shop: Signed, account: Any, record: Record, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.attest()
    account.cloudformation.plays = [FORWARD, FORWARD]

    def hook(status: str) -> None:
        if status == "UPDATE_COMPLETE":
            account.running = (shop.digest,)

    account.cloudformation.hook = hook
    assert command(shop, verb, "--reason", "why") == 0, capsys.readouterr().err
    newest = record.releases()[0]
    assert (newest.number, newest.state, newest.signed) == (3, "good", RUN)
    assert f"✓ signatures  {PUSH}" in capsys.readouterr().err


def _forged(shop: Signed) -> None:
    shop.attest()
    shop.trust(Authority(shop.project))


def _another_repository(shop: Signed) -> None:
    shop.attest(Job(repository="7654321"))


def _another_workflow(shop: Signed) -> None:
    shop.attest(Job(workflow="acme/shop/.github/workflows/push.yml@refs/heads/main"))


def _refused(shop: Signed) -> None:
    shop.attest(Job(), "setuid: usr/bin/x")


def _nothing(_shop: Signed) -> None:
    pass


@pytest.mark.parametrize("verb", ["deploy", "rollback"])
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("lay", "why"),
    [
        (_nothing, "nothing lies beside it"),
        (_forged, "failed to build timestamp certificate chain"),
        (_another_repository, "it was signed in repository 7654321, not in 1234567"),
        (_another_workflow, "it was signed by the workflow acme/shop/.github/workflows/push.yml@refs/heads/main"),
        (_refused, "the scan has refused it (setuid in usr/bin/x)"),
    ],
)
def test_nothing_is_touched_for_a_build_that_was_not(
    shop: Signed,
    account: Any,
    record: Record,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    more: tuple[str, ...],
    lay: Any,
    why: str,
) -> None:
    lay(shop)
    assert command(shop, verb, *more) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("lastgood: nothing was touched: ")
    assert why in said
    assert "push it" in said
    assert untouched(account, record)


def test_a_record_that_names_another_image_changes_nothing(
    shop: Signed, account: Any, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever may push can write any note: what runs is the repository's image of the digest that was asked for and signed for."""
    shop.attest()
    record.put_build(replace(shop.facts, image="evil.invalid/board@sha256:" + "6" * 64))
    account.cloudformation.plays = [FORWARD]
    account.cloudformation.hook = lambda status: setattr(account, "running", (shop.digest,))
    assert command(shop, "deploy") == 0, capsys.readouterr().err
    assert account.cloudformation.before["Image"] == f"{MADE['RepositoryUri']}@{shop.digest}"


def test_a_note_in_the_place_of_another_is_refused(
    shop: Signed, account: Any, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "sha256:" + "6" * 64
    account.table.items["build#" + shop.digest, "build"]["digest"] = evil
    assert command(shop, "deploy") == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"lastgood: the release record of staging has {evil} in the place of {shop.digest}: somebody has written there who is no push of "
        "this build; run `lastgood push --environment staging` again"
    )
    assert untouched(account, record)


def test_nobody_has_decided_who_signs(
    shop: Signed, account: Any, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.attest()
    account.cloudformation.add("lastgood-board-staging", "CREATE_COMPLETE", {}, DECIDED)
    assert command(shop, "deploy") == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "lastgood: nothing was touched: nobody has decided who signs for the builds of staging; run `lastgood bootstrap --environment "
        'staging` with --github-repository-id and --bundle, or with attestations = "none" below [tool.lastgood.environments.staging] where '
        "they are not built by the bundle's workflow"
    )
    assert untouched(account, record)


def test_what_the_branch_says_decides_nothing(shop: Signed, account: Any, record: Record) -> None:
    file = shop.project / "pyproject.toml"
    file.write_text(f'{PROJECT}attestations = "none"\n', encoding="utf-8")
    account.environment = changed(account.environment, attestations="none")
    assert command(shop, "deploy") == 2
    assert untouched(account, record)


def test_an_administrator_may_do_without_and_the_record_says_so(
    shop: Signed, account: Any, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    account.cloudformation.add("lastgood-board-staging", "CREATE_COMPLETE", {"Attestations": "none"}, DECIDED)
    account.cloudformation.plays = [FORWARD]
    account.cloudformation.hook = lambda status: setattr(account, "running", (shop.digest,))
    assert command(shop, "deploy") == 0, capsys.readouterr().err
    assert record.releases()[0].signed == 'nobody was asked: attestations = "none"'
    assert (
        f"· who built {shop.digest[:19]} is not verified: an administrator has decided so for staging"
        in capsys.readouterr().err
    )


def test_the_one_machine_cloud_asks_nobody(shop: Signed, account: Any) -> None:
    account.cloud = LocalCloud("http://x", "localhost:1", "", "us-east-1", "0", "", "", "")
    account.cloudformation.add("lastgood-board-staging", "CREATE_COMPLETE", dict(GITHUB), DECIDED)
    assert admission.admit(Place(account, Path()), shop.facts) == ""
    found = change.parameters(account, shop.facts, "1", DECIDED)
    assert found["Image"] == f"localhost:1/board@{shop.digest}"


def test_the_way_back_asks_nobody(shop: Signed, account: Any, record: Record) -> None:
    """Last good was let in when it was released; when a release has failed, no registry and no key is to be in the way."""
    shop.attest()
    failed = ("Migration", "UPDATE_FAILED", "no")
    account.cloudformation.plays = [
        [("UPDATE_IN_PROGRESS", [failed]), ("UPDATE_ROLLBACK_IN_PROGRESS", []), ("UPDATE_ROLLBACK_COMPLETE", [])]
    ]
    assert command(shop, "deploy") == 3
    assert [(one.number, one.state) for one in record.releases()] == [(3, "failed"), (2, "good"), (1, "good")]
    assert record.last_good() == record.release(2)
