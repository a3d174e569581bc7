"""Which builds may be released to an environment at all: those that its registry holds, and that those who may push have signed for."""

from __future__ import annotations

import contextlib

from lastgood.attest.signer import Signer
from lastgood.deploy.place import Place
from lastgood.deploy.stack import Stack
from lastgood.errors import UsageError
from lastgood.record.release import BuildFacts
from lastgood.registry import ecr
from lastgood.report.terminal import say, step

UNASKED = 'nobody was asked: attestations = "none"'
_NOT_NEEDED = "none"


def admit(place: Place, build: BuildFacts) -> str:
    """Who has signed for a build, as the release record keeps it. Touches nothing.

    Raises Refused where the registry does not hold the image, UsageError where nobody who may has signed for it. The one-machine cloud asks
    for no signature; elsewhere an administrator may have decided so, with `lastgood bootstrap`.
    """
    ecr.check(place.session, build.build, build.digest)
    if place.session.cloud:
        return ""
    decided = Stack.of_environment(place.session).parameters()
    if decided.get("Attestations") == _NOT_NEEDED:
        say(f"· who built {build.digest[:19]} is not verified: an administrator has decided so for {place.name}")
        return UNASKED
    signer = Signer.of(decided)
    if signer is None:
        raise UsageError(
            f"nothing was touched: nobody has decided who signs for the builds of {place.name}; run `lastgood bootstrap --environment "
            f'{place.name}` with --github-repository-id and --bundle, or with attestations = "none" below [tool.lastgood.environments.'
            f"{place.name}] where they are not built by the bundle's workflow"
        )
    from lastgood.attest import verify  # it costs the start of a command that comes to no deploy

    with step("signatures") as shown, contextlib.closing(ecr.find(place.session)) as registry:
        signed = verify.verify(registry, place.name, build, signer, place.project)
        shown.note(signed.partition(", ")[0])
    return signed
