"""What the release record knows of builds that were pushed, so that any machine can deploy them by their digest."""

from __future__ import annotations

from lastgood.errors import UsageError
from lastgood.image import built
from lastgood.image.built import Image
from lastgood.record import migrations
from lastgood.record.release import BuildFacts
from lastgood.record.table import Record


def facts(image: Image, reference: str, contents: str) -> BuildFacts:
    """What a deploy needs to know of a build that was pushed as `reference`; `contents` is what the scan left of it, or empty."""
    manifest = built.migrations(image)
    return BuildFacts(
        build=image.build,
        commit=image.commit,
        version=image.version,
        digest=image.digest,
        image=reference,
        manifest_sha=image.manifest_sha,
        size=image.size,
        contents=contents,
        migrations=migrations.pack(manifest) if manifest else "",
    )


def find(record: Record, digest: str) -> BuildFacts:
    """The pushed build of that digest. Raises UsageError where the record does not know it, or has another one there."""
    found = record.build(digest)
    if found is None:
        raise UsageError(
            f"the release record of {record.environment} does not know {digest}: run `lastgood push --environment "
            f"{record.environment}` first"
        )
    if found.digest != digest:
        raise UsageError(
            f"the release record of {record.environment} has {found.digest} in the place of {digest}: somebody has written there who is no "
            f"push of this build; run `lastgood push --environment {record.environment}` again"
        )
    return found
