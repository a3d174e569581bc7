"""What runs is what was built: whose word counts beside an image, and everything that looks like it and does not."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.sigstore import PUSH, Authority, Job
from lastgood.attest import keys, verify
from lastgood.attest.signer import Signer
from lastgood.attest.statement import PROVENANCE, VERDICT
from lastgood.errors import UsageError
from lastgood.registry import beside

if TYPE_CHECKING:
    from fixtures.signed import Signed

WORKFLOW = "acme/lastgood/.github/workflows/push.yml@refs/tags/v1.*"
SIGNER = Signer("1234567", (WORKFLOW,), ("refs/heads/main", "refs/heads/release/*"))


def look(signed: Signed) -> str:
    return verify.verify(signed.registry.client, "production", signed.facts, SIGNER, signed.project)


def refused(signed: Signed) -> str:
    """Why the build is not released, without what every refusal says."""
    with pytest.raises(UsageError) as error:
        look(signed)
    text = str(error.value)
    assert text.startswith("nothing was touched: ")
    assert error.value.exit_status == 2
    return text.removeprefix("nothing was touched: ")


def unsigned(signed: Signed, kinds: str, why: str) -> str:
    """The sentence for statements that nobody who may has signed."""
    host = signed.registry.client.host
    return (
        f"nobody who may push to production has signed a {kinds} for {signed.digest} (build a) in {host}/shop, {why}; push it by the "
        "bundle's workflow, with attest: true, and deploy it again"
    )


# How a registry lists what refers to an image is tested in tests/registry.
pytestmark = [pytest.mark.slow, pytest.mark.parametrize("registry", ["ecr"], indirect=True)]
BOTH = "provenance and scan verdict"


def test_signed_by_the_push_workflow(signed: Signed) -> None:
    signed.attest()
    assert look(signed) == f"{PUSH}, https://github.com/acme/shop/actions/runs/7/attempts/1"


def test_signed_in_a_private_repository(unlogged: Signed) -> None:
    unlogged.attest()
    assert look(unlogged) == f"{PUSH}, https://github.com/acme/shop/actions/runs/7/attempts/1"


def test_nobody_has_signed(signed: Signed) -> None:
    assert refused(signed) == unsigned(signed, BOTH, "nothing lies beside it")


@pytest.mark.parametrize(("kind", "name"), [(PROVENANCE, "provenance"), (VERDICT, "scan verdict")])
def test_one_of_the_two_is_missing(signed: Signed, kind: str, name: str) -> None:
    signed.attest(without=kind)
    assert refused(signed) == unsigned(signed, name, "nothing lies beside it that says so")


ANOTHER = [
    (Job(repository="7654321"), "it was signed in repository 7654321, not in 1234567"),
    (
        Job(workflow="acme/lastgood/.github/workflows/deploy.yml@refs/tags/v1.2.3"),
        "it was signed by the workflow acme/lastgood/.github/workflows/deploy.yml@refs/tags/v1.2.3, not by " + WORKFLOW,
    ),
    (
        Job(workflow="mallory/lastgood/.github/workflows/push.yml@refs/tags/v1.2.3"),
        "it was signed by the workflow mallory/lastgood/.github/workflows/push.yml@refs/tags/v1.2.3, not by "
        + WORKFLOW,
    ),
    (
        Job(workflow="acme/lastgood/.github/workflows/push.yml@refs/heads/v1.2.3"),
        "it was signed by the workflow acme/lastgood/.github/workflows/push.yml@refs/heads/v1.2.3, not by " + WORKFLOW,
    ),
    (
        Job(workflow="acme/shop/.github/workflows/push.yml@refs/heads/main"),
        "it was signed by the workflow acme/shop/.github/workflows/push.yml@refs/heads/main, not by " + WORKFLOW,
    ),
    (Job(ref="refs/heads/main2"), "it was signed on refs/heads/main2, not on refs/heads/main or refs/heads/release/*"),
    (
        Job(ref="refs/heads/topic"),
        "it was signed on refs/heads/topic, not on refs/heads/main or refs/heads/release/*",
    ),
    (Job(commit="f" * 40), "it was signed in a run of commit ffffffffffff, not of a-commit"),
    (
        Job(issuer="https://gitlab.invalid"),
        "it was signed by somebody whom https://gitlab.invalid vouches for, not GitHub Actions",
    ),
]


@pytest.mark.parametrize(("job", "why"), ANOTHER)
def test_somebody_else_has_signed(signed: Signed, job: Job, why: str) -> None:
    signed.attest(job)
    assert refused(signed) == unsigned(signed, BOTH, f"2 statements beside it, of which this is said: {why}")


@pytest.mark.parametrize(("job", "why"), [ANOTHER[0], ANOTHER[1]])
def test_somebody_else_has_signed_in_a_private_repository(unlogged: Signed, job: Job, why: str) -> None:
    unlogged.attest(job)
    assert refused(unlogged) == unsigned(unlogged, BOTH, f"2 statements beside it, of which this is said: {why}")


def test_a_strangers_statements_do_not_spoil_ours(signed: Signed) -> None:
    stranger = Job(repository="7654321")
    signed.attest(stranger)
    signed.attest(stranger, "secret: app/key.pem")
    signed.attest()
    signed.attest(stranger)
    signed.lay({"not": "a bundle"}, VERDICT)
    assert look(signed).startswith(PUSH)


def test_a_statement_about_another_image(signed: Signed) -> None:
    """Signed by the right job, for what it pushed; laid beside what it did not."""
    other = "sha256:" + "0" * 64
    for kind, predicate in ((PROVENANCE, {}), (VERDICT, signed.verdict())):
        signed.lay(signed.sign(Job(), kind, predicate, other), kind)
    assert refused(signed) == unsigned(
        signed, BOTH, f"2 statements beside it, of which this is said: what was signed is of {other}"
    )


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (("secret: app/key.pem",), "the scan has refused it (secret in app/key.pem)"),
        (("budget: total", "a: 1", "b: 2", "c: 3"), "the scan has refused it (budget in total, a in 1, b in 2)"),
    ],
)
def test_the_scan_has_refused_it(signed: Signed, found: tuple[str, ...], why: str) -> None:
    signed.attest(Job(), *found)
    assert refused(signed) == (
        f"{signed.digest} (build a) is not for production, {why}; push it again by the bundle's workflow"
    )


def test_a_verdict_that_says_something_else_than_passed(signed: Signed) -> None:
    signed.attest(without=VERDICT)
    signed.lay(signed.sign(Job(), VERDICT, {"result": "passed"}), VERDICT)
    assert "the scan has refused it (no rule is named)" in refused(signed)


@pytest.mark.parametrize(
    ("name", "value"),
    [("build", "z"), ("version", "2"), ("manifest_sha", "forged"), ("size", 1)],
)
def test_the_record_says_something_else_than_what_was_signed(signed: Signed, name: str, value: Any) -> None:
    """Whoever may push can write over the note of any build."""
    signed.attest()
    before = getattr(signed.facts, name)
    signed.facts = replace(signed.facts, **{name: value})
    assert f"the release record says {name} {value}, and {before} is what was signed" in refused(signed)


def test_a_verdict_that_does_not_say_of_which_build(signed: Signed) -> None:
    signed.attest(without=VERDICT)
    signed.lay(signed.sign(Job(), VERDICT, {"result": "PASSED"}), VERDICT)
    assert "the scan verdict does not say of which build it is" in refused(signed)


def altered(bundle: dict[str, Any], how: str, signed: Signed) -> dict[str, Any]:
    """A bundle that somebody has changed."""
    envelope, material = bundle["dsseEnvelope"], bundle["verificationMaterial"]
    if how == "payload":
        payload = json.loads(base64.b64decode(envelope["payload"]))
        payload["predicate"] = {"result": "PASSED"}
        envelope["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    elif how == "certificate":
        other = signed.sign(Job(), VERDICT, {})
        material["certificate"] = other["verificationMaterial"]["certificate"]
    elif how == "log":
        other = signed.sign(Job(), VERDICT, {})
        material["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
    elif how == "type":
        envelope["payloadType"] = "text/plain"
    return bundle


@pytest.mark.parametrize("how", ["payload", "certificate", "log", "type"])
def test_a_forged_bundle(signed: Signed, how: str) -> None:
    signed.attest(without=VERDICT)
    signed.lay(altered(signed.sign(Job(), VERDICT, signed.verdict()), how, signed), VERDICT)
    assert f"has signed a scan verdict for {signed.digest}" in refused(signed)


@pytest.mark.parametrize("how", ["payload", "certificate", "type"])
def test_a_forged_bundle_of_a_private_repository(unlogged: Signed, how: str) -> None:
    unlogged.attest(without=VERDICT)
    unlogged.lay(altered(unlogged.sign(Job(), VERDICT, unlogged.verdict()), how, unlogged), VERDICT)
    assert f"has signed a scan verdict for {unlogged.digest}" in refused(unlogged)


def test_a_timestamp_of_another_signature(unlogged: Signed) -> None:
    unlogged.attest(without=VERDICT)
    bundle, other = (unlogged.sign(Job(), VERDICT, unlogged.verdict()) for _ in range(2))
    stamps = "timestampVerificationData"
    bundle["verificationMaterial"][stamps] = other["verificationMaterial"][stamps]
    unlogged.lay(bundle, VERDICT)
    assert "no timestamp that is trusted says when it was signed" in refused(unlogged)


def test_a_key_that_had_expired_when_it_signed(unlogged: Signed) -> None:
    unlogged.attest(without=VERDICT)
    said = unlogged.authority.bundle(
        Job(), _statement(unlogged), at=datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    )
    unlogged.lay(said, VERDICT)
    assert "failed to build timestamp certificate chain" in refused(unlogged)


def _statement(signed: Signed) -> dict[str, Any]:
    from fixtures.sigstore import statement

    return statement(signed.digest, VERDICT, signed.verdict())


@pytest.mark.parametrize("log", [True, False])
def test_an_authority_of_the_attackers_own(signed: Signed, unlogged: Signed, tmp_path: Path, log: bool) -> None:
    signed.authority = Authority(tmp_path, log=log)
    signed.attest()  # and the checkout names the other one's keys
    signed.trust(Authority(tmp_path), Authority(tmp_path, log=False))
    assert f"has signed a {BOTH} for" in refused(signed)


def test_keys_of_the_other_kind_alone(signed: Signed, tmp_path: Path) -> None:
    signed.attest()
    signed.trust(Authority(tmp_path, log=False))
    assert (
        "it was signed by Sigstore's public instance, and docker/trusted-root.jsonl must hold its keys: `gh attestation trusted-root > "
        "docker/trusted-root.jsonl`"
    ) in refused(signed)


def test_keys_that_can_not_be_read(signed: Signed) -> None:
    signed.attest()
    (signed.project / keys.FILE).write_text("{}\n", encoding="utf-8")
    with pytest.raises(UsageError) as error:
        look(signed)
    assert str(error.value) == (
        f"{signed.project / keys.FILE} can't be read (ValidationError): write it anew with `gh attestation trusted-root > "
        "docker/trusted-root.jsonl`"
    )


def test_pinned_keys_and_then_newer_ones(
    signed: Signed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without keys of the project's own: those of the locked package, and once those of today."""
    from sigstore.models import ClientTrustConfig, TrustedRoot
    from sigstore_models.trustroot.v1 import TrustedRoot as Plain

    signed.attest()
    (signed.project / keys.FILE).unlink()
    asked: list[str] = []

    class Today:
        trusted_root = TrustedRoot(Plain.from_json(signed.authority.keys))

    def production() -> Today:
        asked.append("")
        if len(asked) == 1:
            raise OSError("no network")
        return Today()

    monkeypatch.setattr(ClientTrustConfig, "production", production)
    assert f"has signed a {BOTH} for" in refused(signed)
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "· the keys of this version verify nothing of it: ask Sigstore for newer ones",
        "· there are none to be had (OSError)",
    ]
    assert look(signed).startswith(PUSH)


def test_more_statements_than_anybody_makes(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "MOST", 2)
    signed.attest(Job(repository="7654321"))
    signed.attest()
    assert look(signed).startswith(PUSH)
