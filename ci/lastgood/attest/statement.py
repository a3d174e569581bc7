"""What is said of an image: a statement as in-toto has it, of a digest, with a predicate of a known type.

Two are needed for a release: where the image comes from, which GitHub's action states, and what our scan found. The second is a test
result; what we say beside it, of which build it is, stands under a key of our own, as the specification lets one do.
https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, …/spec/predicates/test-result.md, https://slsa.dev/provenance/v1
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lastgood import __version__
from lastgood.record.release import BuildFacts

PROVENANCE = "https://slsa.dev/provenance/v1"
VERDICT = "https://in-toto.io/attestation/test-result/v0.1"
NEEDED = (PROVENANCE, VERDICT)
NAMES = {PROVENANCE: "provenance", VERDICT: "scan verdict"}
OWN = "https://github.com/lastgood/build"  # our key in the predicate of a verdict: a name, nothing lies there
PASSED, FAILED = "PASSED", "FAILED"
_TYPE = "https://in-toto.io/Statement/v1"
SAME = ("build", "commit", "version", "digest", "manifest_sha", "size")  # what the record must say as the verdict does
PAYLOAD = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Statement:
    """What was signed: the digests that it is about, its predicate and that one's type."""

    digests: frozenset[str]
    kind: str
    predicate: Mapping[str, Any]

    @classmethod
    def of(cls, payload: bytes) -> Statement:
        """From the payload of an envelope. Raises ValueError for anything else than a statement."""
        try:
            data = json.loads(payload)
            if data["_type"] != _TYPE:
                raise ValueError("it is no statement of in-toto's")
            digests = frozenset(f"sha256:{one['digest']['sha256']}" for one in data["subject"])
            return cls(digests, str(data["predicateType"]), dict(data["predicate"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no statement of in-toto's ({type(error).__name__}: {error})") from None


def verdict(
    build: Mapping[str, Any], rules: Sequence[str], found: Sequence[str], accepted: Sequence[str]
) -> dict[str, Any]:
    """The predicate for what a scan found: `build` are the facts that name it, the rest are rules and "rule: subject"s."""
    failed = {one.partition(":")[0] for one in found}
    return {
        "result": FAILED if found else PASSED,
        "configuration": [{"name": f"lastgood-{__version__}"}],
        "passedTests": [rule for rule in rules if rule not in failed],
        "warnedTests": list(accepted),
        "failedTests": list(found),
        OWN: {name: build[name] for name in SAME},
    }


def refused(predicate: Mapping[str, Any]) -> str:
    """Why a verdict lets nothing pass; empty where it does."""
    if predicate.get("result") == PASSED:
        return ""
    failed = predicate.get("failedTests")
    named = ", ".join(str(one).replace(": ", " in ", 1) for one in failed[:3]) if isinstance(failed, list) else ""
    return f"the scan has refused it ({named or 'no rule is named'})"


def contradicted(predicate: Mapping[str, Any], facts: BuildFacts) -> str:
    """What the release record says of a build that the verdict, which is signed, does not; empty where they agree."""
    signed = predicate.get(OWN)
    if not isinstance(signed, Mapping):
        return "the scan verdict does not say of which build it is"
    for name in SAME:
        if signed.get(name) != getattr(facts, name):
            return f"the release record says {name} {getattr(facts, name)}, and {signed.get(name)} is what was signed"
    return ""
