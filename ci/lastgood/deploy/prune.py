"""Builds that nobody needs any more, out of the registry and the release record: shown, and deleted only where that is wanted.

It is an administrator's: no role of a workflow may delete an image or a build. Environments of other accounts have a registry of their own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from lastgood.deploy import retention
from lastgood.deploy.place import Place
from lastgood.errors import UsageError
from lastgood.record.lock import Lock
from lastgood.record.table import Record, everything
from lastgood.registry import ecr
from lastgood.registry.client import MANIFESTS, Registry
from lastgood.report.terminal import counted, megabytes, step, table

DAYS = 14  # that a build may wait for its first release
_AT_ONCE = 100  # images that ECR deletes in one request


def prune(place: Place, *, keep: int, days: int, delete: bool, who: str) -> dict[str, Any]:
    """What stays and what goes, of every build that the record knows; with `delete` it is gone afterwards.

    Raises UsageError for numbers that make no sense, Refused where somebody deploys to any of the environments.
    """
    for name, value in (("--keep", keep), ("--days", days)):
        if value < 1:
            raise UsageError(f"{name} is {value}: it must be at least 1")
    if not delete:
        return _look(place, keep, days) | {"deleted": False}
    names = retention.environments(everything(place.record.table))
    with contextlib.ExitStack() as held:
        locks = [held.enter_context(Lock(Record(place.record.table, name), who=who, what="prune")) for name in names]
        facts = _look(place, keep, days)
        gone = [one for one in facts["builds"] if one["expired"]]
        with step("delete") as shown, contextlib.closing(ecr.find(place.session)) as registry:
            for number, one in enumerate(gone, 1):
                for lock in locks:
                    lock.keep()
                _delete(place, registry, one["digest"])
                shown.note(f"{number} of {counted(len(gone), 'build')}")
    return facts | {"deleted": True}


def _look(place: Place, keep: int, days: int) -> dict[str, Any]:
    """The facts: each build with its age in days, its size, and why it stays or goes."""
    items = everything(place.record.table)
    why, notes = retention.needed(items, keep)
    there = {one["imageDigest"]: one for one in _images(place)}
    rows = []
    for item in items:
        if not str(item["pk"]).startswith("build#"):
            continue
        digest = str(item["pk"]).removeprefix("build#")
        image = there.get(digest)
        age = (datetime.now(UTC) - image["imagePushedAt"]).days if image else None
        young = age is not None and age < days
        reason = why.get(digest) or (f"pushed less than {days} days ago" if young else "")
        rows.append(
            {
                "digest": digest,
                "build": str(item.get("build", "")),
                "age": age,
                "size": int(item.get("size", 0)),
                "expired": not reason,
                "why": reason or ("nobody needs it" if image else "nobody needs it, and its image is gone already"),
            }
        )
    rows.sort(key=lambda one: (one["expired"], -1 if one["age"] is None else one["age"], one["digest"]))
    known = {one["digest"] for one in rows}
    strangers = [one for digest, one in there.items() if digest not in known and not _is_statement(one)]
    if strangers:
        notes.append(f"{counted(len(strangers), 'image')} of which the record knows nothing: left as they are")
    return {"environments": retention.environments(items), "builds": rows, "notes": notes}


def _images(place: Place) -> Iterator[Mapping[str, Any]]:
    client = place.session.client("ecr")
    more: dict[str, Any] = {}
    while True:
        page = client.describe_images(repositoryName=place.session.project, **more)
        yield from page["imageDetails"]
        if not page.get("nextToken"):
            return
        more = {"nextToken": page["nextToken"]}


def _is_statement(image: Mapping[str, Any]) -> bool:
    """Whether it is no image with a name: what an index names, or a statement about an image."""
    return all(str(tag).startswith("signed-") for tag in image.get("imageTags", ()))


def _delete(place: Place, registry: Registry, digest: str) -> None:
    """The image with what lies beside it, then the record's note: what is left half done is done by the next run."""
    beside = [str(one.get("digest")) for one in registry.referrers(digest)]
    client, name = place.session.client("ecr"), place.session.project
    if registry.has(MANIFESTS, digest):
        # What an index names goes by the repository's rule for images without a tag.
        ids = [{"imageDigest": one} for one in (*beside, digest)]
        for start in range(0, len(ids), _AT_ONCE):
            answer = client.batch_delete_image(repositoryName=name, imageIds=ids[start : start + _AT_ONCE])
            for failure in answer.get("failures", ()):
                if failure.get("failureCode") != "ImageNotFound":
                    raise UsageError(
                        f"ECR does not delete {failure.get('imageId', {}).get('imageDigest')}: {failure.get('failureReason')}; the build's "
                        "note stays, run the command again when that is mended"
                    )
    place.record.table.delete_item(Key={"pk": f"build#{digest}", "sk": "build"})


def render(facts: Mapping[str, Any]) -> str:
    """The table for a terminal, and what to type."""
    rows = [
        (
            one["digest"][:19],
            one["build"],
            "?" if one["age"] is None else f"{one['age']} d",
            megabytes(one["size"]),
            ("expired: " if one["expired"] else "kept: ") + one["why"],
        )
        for one in facts["builds"]
    ]
    gone = [one for one in facts["builds"] if one["expired"]]
    total = megabytes(sum(one["size"] for one in gone))
    end = f"{counted(len(gone), 'build')} of {len(rows)}, {total} at most (layers are shared)"
    if facts["deleted"]:
        end += " deleted"
    else:
        end += " would go: nothing was touched; `lastgood prune --delete` deletes them" if gone else " would go"
    text = table(("digest", "build", "age", "size", "why"), rows, right=(2, 3)) if rows else "no build was pushed yet"
    said = [f"environments: {', '.join(facts['environments']) or 'none'}", *facts["notes"], end]
    return "\n".join([text, "", *said])
