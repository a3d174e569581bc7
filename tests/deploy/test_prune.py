"""What nobody needs goes, image, what lies beside it, and note; shown first, and only under the locks of all that share it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from lastgood.deploy import prune
from lastgood.deploy.place import Place
from lastgood.errors import Refused, UsageError
from lastgood.record.lock import Lock
from lastgood.record.release import BuildFacts
from lastgood.record.table import Record
from lastgood.registry import beside
from lastgood.registry.push import push

if TYPE_CHECKING:
    from fixtures.registry import FakeRegistry, MakeImage

Facts = Callable[[str], BuildFacts]
pytestmark = pytest.mark.parametrize("registry", ["ecr"], indirect=True)


class Ecr:
    """An account's registry, over the images of the stand-in."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry
        self.pushed: dict[str, datetime] = {}
        self.deleted: list[str] = []
        self.refusing = False

    def describe_repositories(self, **_: Any) -> dict[str, Any]:
        return {"repositories": [{"repositoryUri": f"{self.registry.client.host}/board"}]}

    def get_authorization_token(self) -> dict[str, Any]:
        return {"authorizationData": [{"authorizationToken": "QVdTOng="}]}

    def describe_images(self, repositoryName: str, nextToken: str = "0") -> dict[str, Any]:  # noqa: N803
        assert repositoryName == "board"
        digests = [name for name in self.registry.manifests if name.startswith("sha256:")]
        start = int(nextToken)
        old = datetime.now(UTC) - timedelta(days=100)
        page = [
            {
                "imageDigest": one,
                "imagePushedAt": self.pushed.get(one, old),
                "imageTags": [
                    name
                    for name, body in self.registry.manifests.items()
                    if body == self.registry.manifests[one] and not name.startswith("sha256:")
                ],
            }
            for one in digests[start : start + 2]
        ]
        return {"imageDetails": page} | ({"nextToken": str(start + 2)} if len(digests) > start + 2 else {})

    def batch_delete_image(self, repositoryName: str, imageIds: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        assert repositoryName == "board"
        if self.refusing:
            failure = {
                "imageId": imageIds[0],
                "failureCode": "ImageReferencedByManifestList",
                "failureReason": "in use",
            }
            return {"failures": [failure]}
        for one in imageIds:
            digest = one["imageDigest"]
            self.deleted.append(digest)
            body = self.registry.manifests.get(digest)
            for name in [name for name, other in self.registry.manifests.items() if other == body]:
                del self.registry.manifests[name]
        return {"failures": []}


@pytest.fixture
def shelf(registry: FakeRegistry, record: Record, make_image: MakeImage, facts: Facts, tmp_path: Any) -> Any:
    """Four builds in registry and record: `a` and `b` have had their time, `c` and `d` are to go back to; one was signed for."""
    ecr = Ecr(registry)
    builds = {}
    for name in "abcd":
        image = make_image(name, base={"usr/lib/x": name.encode() * 100})
        push(image, registry.client)
        builds[name] = replace(facts(name), digest=image.digest)
        record.put_build(builds[name])
        record.good(record.begin("deploy", builds[name], who="ada", reason=""), undone=[], applied=[])
    beside.put(registry.client, builds["a"].digest, b"{}", "kind")
    session = SimpleNamespace(
        project="board",
        cloud=None,
        table=record.table,
        client=lambda _name: ecr,
        environment=SimpleNamespace(name="staging"),
    )
    place: Any = Place(session, tmp_path)  # type: ignore[arg-type]
    return SimpleNamespace(place=place, ecr=ecr, builds=builds, record=record, registry=registry)


def run(shelf: Any, *, delete: bool = False, **more: int) -> dict[str, Any]:
    return prune.prune(shelf.place, **{"keep": 1, "days": 14} | more, delete=delete, who="ada")


def expired(facts: dict[str, Any]) -> list[str]:
    return sorted(one["build"] for one in facts["builds"] if one["expired"])


def test_it_is_shown_and_nothing_is_touched(shelf: Any) -> None:
    before = dict(shelf.record.table.items), dict(shelf.registry.manifests)
    facts = run(shelf)
    assert (expired(facts), facts["deleted"], facts["notes"]) == (["a", "b"], False, [])
    assert (shelf.record.table.items, shelf.registry.manifests) == before
    assert shelf.ecr.deleted == []
    digest = {name: shelf.builds[name].digest[:19] for name in "abcd"}
    shown = prune.render(facts).splitlines()
    assert {line.rstrip() for line in shown[2:6]} == {
        f"{digest['c']}  c      100 d  1.0 kB  kept: one of the 1 builds before last good of staging",
        f"{digest['d']}  d      100 d  1.0 kB  kept: last good of staging",
        f"{digest['a']}  a      100 d  1.0 kB  expired: nobody needs it",
        f"{digest['b']}  b      100 d  1.0 kB  expired: nobody needs it",
    }
    assert shown[7:] == [
        "environments: staging",
        "2 builds of 4, 2.0 kB at most (layers are shared) would go: nothing was touched; `lastgood prune --delete` deletes them",
    ]


def test_what_is_expired_is_deleted_with_what_lies_beside_it(shelf: Any) -> None:
    named = list(beside.bundles(shelf.registry.client, shelf.builds["a"].digest, ("kind",)))
    assert named == [b"{}"]
    facts = run(shelf, delete=True)
    assert (expired(facts), facts["deleted"]) == (["a", "b"], True)
    assert shelf.record.build(shelf.builds["a"].digest) is None
    assert shelf.record.build(shelf.builds["c"].digest) is not None
    left = {name for name in shelf.registry.manifests if name.startswith("sha256:")}
    assert left == {shelf.builds[name].digest for name in "cd"}
    assert len(shelf.ecr.deleted) == 3
    assert prune.render(facts).splitlines()[-1] == "2 builds of 4, 2.0 kB at most (layers are shared) deleted"
    assert expired(run(shelf)) == []
    assert ("environment#staging", "lock") not in shelf.record.table.items


def test_a_young_build_waits_for_its_release(shelf: Any) -> None:
    shelf.ecr.pushed[shelf.builds["a"].digest] = datetime.now(UTC) - timedelta(days=3)
    facts = run(shelf)
    assert expired(facts) == ["b"]
    assert [one["why"] for one in facts["builds"] if one["build"] == "a"] == ["pushed less than 14 days ago"]
    assert expired(run(shelf, days=2)) == ["a", "b"]


def test_images_that_the_record_does_not_know_are_left(shelf: Any, make_image: Any) -> None:
    image = make_image("z", base={"z": b"z"})
    push(image, shelf.registry.client)
    facts = run(shelf, delete=True)
    assert facts["notes"] == ["1 image of which the record knows nothing: left as they are"]
    assert image.digest in shelf.registry.manifests


def test_an_image_that_is_gone_already(shelf: Any) -> None:
    digest = shelf.builds["a"].digest
    for name in [name for name, body in shelf.registry.manifests.items() if body == shelf.registry.manifests[digest]]:
        del shelf.registry.manifests[name]
    facts = run(shelf, delete=True)
    assert [one["why"] for one in facts["builds"] if one["build"] == "a"] == [
        "nobody needs it, and its image is gone already"
    ]
    assert shelf.record.build(digest) is None


def test_while_somebody_deploys_to_any_environment_nothing_is_deleted(shelf: Any) -> None:
    other = Record(shelf.record.table, "production")
    other.begin("deploy", shelf.builds["d"], who="ada", reason="")
    with Lock(other, who="bob", what="release 1"), pytest.raises(Refused, match=r"^environment production is being"):
        run(shelf, delete=True)
    assert shelf.ecr.deleted == []


def test_what_ecr_does_not_delete_keeps_its_note(shelf: Any) -> None:
    shelf.ecr.refusing = True
    with pytest.raises(UsageError, match=r"^ECR does not delete sha256:\w+: in use; the build's note stays"):
        run(shelf, delete=True)
    assert all(shelf.record.build(shelf.builds[name].digest) for name in "abcd")


@pytest.mark.parametrize(("more", "name"), [({"keep": 0}, "--keep"), ({"days": -1}, "--days")])
def test_numbers_that_make_no_sense(shelf: Any, more: dict[str, int], name: str) -> None:
    with pytest.raises(UsageError) as error:
        run(shelf, **more)
    assert str(error.value) == f"{name} is {next(iter(more.values()))}: it must be at least 1"
