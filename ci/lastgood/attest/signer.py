"""Whose signature counts: the very jobs that the push role trusts, by what an administrator has decided in the access stack.

A certificate of Sigstore's says of the job that asked for it what GitHub said in the job's token: the workflow, the repository's number,
the ref, the commit, the run (https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

ISSUER = "https://token.actions.githubusercontent.com"
_SERVER = "https://github.com/"


@dataclass(frozen=True)
class Claims:
    """What a certificate says of the job that signed. `workflow` is the innermost one, as OWNER/NAME/.github/workflows/FILE@REF."""

    issuer: str
    workflow: str
    repository: str
    ref: str
    commit: str
    run: str

    @classmethod
    def of(cls, identity: str, extensions: Mapping[int, str]) -> Claims:
        """From the certificate's name (SAN) and its extensions, by the last number of each one's OID."""
        workflow = identity.removeprefix(_SERVER) if identity.startswith(_SERVER) else f"elsewhere: {identity}"
        numbers = (15, 14, 13, 21)
        repository, ref, commit, run = (extensions.get(number, "") for number in numbers)
        return cls(extensions.get(8, ""), workflow, repository, ref, commit, run)


@dataclass(frozen=True)
class Signer:
    """Who may sign for an environment's builds: a repository by its number, workflows and refs as patterns of IAM's."""

    repository: str
    workflows: tuple[str, ...]
    refs: tuple[str, ...]

    @classmethod
    def of(cls, decided: Mapping[str, str]) -> Signer | None:
        """From the access stack's parameters; None where nobody has decided about GitHub."""
        repository, workflows = decided.get("GitHubRepositoryId", ""), decided.get("PushWorkflows", "")
        if not repository or not workflows:
            return None
        return cls(repository, tuple(workflows.split(",")), tuple(decided.get("GitHubRefs", "").split(",")))

    def wrong(self, claims: Claims, commit: str) -> str:
        """Why a signature by that job does not count for a build of that commit; empty where it does."""
        if claims.issuer != ISSUER:
            return f"it was signed by somebody whom {claims.issuer or 'nobody'} vouches for, not GitHub Actions"
        if claims.repository != self.repository:
            return f"it was signed in repository {claims.repository or '?'}, not in {self.repository}"
        if not any(_like(pattern, claims.workflow) for pattern in self.workflows):
            return f"it was signed by the workflow {claims.workflow}, not by {' or '.join(self.workflows)}"
        if not any(_like(pattern, claims.ref) for pattern in self.refs):
            return f"it was signed on {claims.ref or 'no ref'}, not on {' or '.join(self.refs)}"
        if claims.commit != commit:
            return f"it was signed in a run of commit {claims.commit[:12] or '?'}, not of {commit[:12]}"
        return ""


def _like(pattern: str, text: str) -> bool:
    """Whether IAM's StringLike would say so: `*` is anything, `?` one letter."""
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(one, re.escape(one)) for one in pattern), text, re.DOTALL) is not None
