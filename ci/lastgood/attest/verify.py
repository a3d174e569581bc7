"""What runs is what was built: an image is released only where those who may have signed for it, and for its scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lastgood.attest import keys, statement
from lastgood.attest.keys import Unverified
from lastgood.attest.signer import Claims, Signer
from lastgood.attest.statement import NAMES, NEEDED, VERDICT, Statement
from lastgood.errors import UsageError
from lastgood.record.release import BuildFacts
from lastgood.registry import beside
from lastgood.registry.client import Registry
from lastgood.report.terminal import counted
from lastgood.report.text import head, line

_SHOWN = 300  # letters of a reason


@dataclass
class _Found:
    """What was found beside an image: what counts, by its kind; and why the rest does not."""

    counted: dict[str, tuple[Statement, Claims]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """The kinds that nobody who may has signed."""
        return [kind for kind in NEEDED if kind not in self.counted]


def verify(registry: Registry, environment: str, build: BuildFacts, signer: Signer, project: Path) -> str:
    """Who has signed for a build and its scan, as a line for the release record. `project` is where its own keys may lie.

    Raises UsageError where nobody who may has, where the scan has refused the build, or where the release record says other things of it
    than what was signed. Touches nothing.
    """
    raws = list(beside.bundles(registry, build.digest, NEEDED))
    found = _Found()
    if raws:
        for known in keys.verifiers(project):
            found = _look(raws, known, build, signer)
            if not found.missing:
                break
    where = f"{build.digest} (build {build.build})"
    if found.missing:
        kinds = " and ".join(NAMES[kind] for kind in found.missing)
        why = "nothing lies beside it" + (" that says so" if raws else "")
        if found.reasons:
            why = f"{counted(len(raws), 'statement')} beside it, of which this is said: {found.reasons[0]}"
        raise UsageError(
            f"nothing was touched: nobody who may push to {environment} has signed a {kinds} for {where} in {registry.host}/"
            f"{registry.repository}, {why}; push it by the bundle's workflow, with attest: true, and deploy it again"
        )
    verdict, claims = found.counted[VERDICT]
    wrong = statement.refused(verdict.predicate) or statement.contradicted(verdict.predicate, build)
    if wrong:
        raise UsageError(
            f"nothing was touched: {where} is not for {environment}, {line(head(wrong, _SHOWN))}; push it again by the bundle's workflow"
        )
    return line(head(f"{claims.workflow}, {claims.run}", 500))


def _look(raws: list[bytes], known: Mapping[bool, keys.Verify], build: BuildFacts, signer: Signer) -> _Found:
    found = _Found()
    for raw in raws:
        seen: list[Claims] = []

        def judge(claims: Claims, seen: list[Claims] = seen) -> str:
            seen.append(claims)
            return signer.wrong(claims, build.commit)

        try:
            said = Statement.of(_verifier(known, raw)(raw, judge))
        except (Unverified, ValueError) as error:
            found.reasons.append(line(head(str(error), _SHOWN)))
            continue
        if build.digest not in said.digests:
            found.reasons.append(f"what was signed is of {', '.join(sorted(said.digests))[:_SHOWN]}")
        elif said.kind in NEEDED and (said.kind not in found.counted or _passes(said)):
            found.counted[said.kind] = (said, seen[-1])
    return found


def _passes(said: Statement) -> bool:
    return said.kind == VERDICT and not statement.refused(said.predicate)


def _verifier(known: Mapping[bool, keys.Verify], raw: bytes) -> keys.Verify:
    in_log = keys.logged(raw)
    if in_log not in known:
        instance = "Sigstore's public instance" if in_log else "GitHub's own instance, as for a private repository"
        raise Unverified(
            f"it was signed by {instance}, and {keys.FILE} must hold its keys: `gh attestation trusted-root > {keys.FILE}`"
        )
    return known[in_log]
