"""What lies beside an image, in a registry that lists it by itself and in one that does not."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from lastgood.errors import UsageError
from lastgood.image import oci
from lastgood.registry import beside, client
from lastgood.registry.client import Registry
from lastgood.registry.push import push

pytestmark = pytest.mark.slow  # together ten seconds: left out of `make check`

if TYPE_CHECKING:
    from fixtures.registry import FakeRegistry, MakeImage

BASE = {"usr/lib/x": b"x" * 20_000}
ONE, OTHER = "https://one.invalid/v1", "https://other.invalid/v1"


@pytest.fixture
def digest(registry: FakeRegistry, make_image: MakeImage) -> str:
    """The digest of an image that was pushed."""
    image = make_image("abc", base=BASE)
    push(image, registry.client)
    return image.digest


def test_what_is_put_beside_an_image_is_found_there(registry: FakeRegistry, digest: str) -> None:
    for number in range(5):  # ECR lists two at a time
        beside.put(registry.client, digest, f'{{"one": {number}}}'.encode(), ONE)
    beside.put(registry.client, digest, b'{"other": 1}', OTHER)
    found = list(beside.bundles(registry.client, digest, (ONE,)))
    assert sorted(found) == [f'{{"one": {number}}}'.encode() for number in range(5)]
    assert list(beside.bundles(registry.client, "sha256:" + "0" * 64, (ONE,))) == []


def test_it_has_the_form_of_sigstores_own_tools(registry: FakeRegistry, digest: str) -> None:
    name = beside.put(registry.client, digest, b'{"a": 1}', ONE)
    manifest = json.loads(registry.manifests[name])
    assert manifest == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": oci.digest(b"{}"), "size": 2},
        "layers": [
            {
                "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                "digest": oci.digest(b'{"a": 1}'),
                "size": 8,
            }
        ],
        "subject": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": len(registry.manifests[digest]),
        },
        "annotations": {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": ONE},
    }
    # With a tag of its own, so that no rule for images without one ends it.
    assert registry.manifests[f"signed-{digest[7:19]}-{name[7:19]}"] == registry.manifests[name]


def test_put_twice_it_is_there_once(registry: FakeRegistry, digest: str) -> None:
    names = {beside.put(registry.client, digest, b'{"a": 1}', ONE) for _ in range(2)}
    assert len(names) == 1
    assert list(beside.bundles(registry.client, digest, (ONE,))) == [b'{"a": 1}']


def test_nothing_is_put_beside_what_is_not_there(registry: FakeRegistry) -> None:
    with pytest.raises(UsageError) as error:
        beside.put(registry.client, "sha256:" + "0" * 64, b"{}", ONE)
    assert str(error.value) == (
        f"{registry.client.host}/shop does not hold sha256:{'0' * 64}: push the image first, then what is said of it"
    )
    assert registry.blobs == {}


def test_what_others_have_put_there_is_left_out(registry: FakeRegistry, digest: str) -> None:
    """Any artifact may name an image as its subject, and be anything."""
    beside.put(registry.client, digest, b'{"a": 1}', ONE)
    whole = json.loads(registry.manifests[beside.put(registry.client, digest, b'{"b": 1}', ONE)])
    for change in (
        {"artifactType": "application/spdx+json"},
        {"layers": []},
        {"layers": [whole["layers"][0] | {"digest": "sha256:" + "1" * 64}]},
        {"layers": "none"},
    ):
        body = oci.encode(whole | change)
        registry.manifests[oci.digest(body)] = body
        if not registry.ecr:
            entry = {"artifactType": (whole | change)["artifactType"], "digest": oci.digest(body)}
            tag = digest.replace(":", "-")
            index = json.loads(registry.manifests[tag])
            registry.manifests[tag] = oci.encode(index | {"manifests": [*index["manifests"], entry, "no entry"]})
    assert sorted(beside.bundles(registry.client, digest, (ONE,))) == [b'{"a": 1}', b'{"b": 1}']


def test_bytes_that_are_not_what_they_are_called_are_refused(registry: FakeRegistry, digest: str) -> None:
    beside.put(registry.client, digest, b'{"a": 1}', ONE)
    registry.blobs[oci.digest(b'{"a": 1}')] = b'{"a": 2}'
    with pytest.raises(UsageError, match=r"is not what its digest names: nothing of it is believed$"):
        list(beside.bundles(registry.client, digest, (ONE,)))


def test_more_bytes_than_can_be_meant_are_refused(
    registry: FakeRegistry, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LARGEST", 1000)
    registry.blobs["sha256:1"] = b"x" * 1001
    with pytest.raises(UsageError, match=r"is not what its digest names"):
        registry.client.read(client.BLOBS, "sha256:1")


@pytest.mark.parametrize("registry", ["ecr"], indirect=True)
def test_the_password_is_not_sent_where_the_registry_sends_us(registry: FakeRegistry, digest: str) -> None:
    beside.put(registry.client, digest, b'{"a": 1}', ONE)
    with contextlib.closing(Registry(registry.client.host, "shop", "Basic cGFzc3dvcmQ=")) as known:
        assert known.read(client.BLOBS, oci.digest(b'{"a": 1}')) == b'{"a": 1}'  # the stand-in refuses one there
    asked = [one.rpartition("/")[0] for one in registry.asked if one.startswith("GET")]
    assert asked[-2:] == ["GET /v2/shop/blobs", "GET /elsewhere/blobs"]


def test_elsewhere_is_https_or_this_machine() -> None:
    assert client._elsewhere("http://elsewhere.invalid/blob") == (502, b"it sends us to an address without https")
    assert client._elsewhere("file:///etc/passwd") == (502, b"it sends us to an address without https")
    assert client._elsewhere("") == (502, b"it sends us to an address without https")


def test_a_registry_that_does_not_say(registry: FakeRegistry, digest: str) -> None:
    registry.faults["GET /v2/shop/referrers"] = (403, b'{"errors": [{"message": "not yours"}]}')
    with pytest.raises(UsageError) as error:
        registry.client.referrers(digest)
    assert str(error.value) == (
        f"{registry.client.host}/shop does not say what refers to {digest} (403): not yours; ask again a little later"
    )
    registry.faults["GET /v2/shop/blobs"] = (403, b'{"errors": [{"message": "not yours"}]}')
    with pytest.raises(UsageError, match=r"can't be read \(403\): not yours; ask again a little later$"):
        registry.client.read(client.BLOBS, "sha256:1")
