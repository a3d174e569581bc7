"""A push sends what the registry lacks, counts it, and gives the registry's own words when it is refused."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from typing import TYPE_CHECKING

import pytest
from lastgood.errors import UsageError
from lastgood.image.push import Registry, push

if TYPE_CHECKING:
    from .conftest import FakeRegistry, MakeImage

BASE = {"usr/lib/x": b"x" * 20_000}


def test_everything_is_sent_once(registry: FakeRegistry, make_image: MakeImage) -> None:
    image = make_image("abc", base=BASE, application={"app/a.py": b"1"})
    done = push(image, registry.client)
    total = image.size + (image.folder / "manifest.json").stat().st_size
    assert done == {"image": f"{registry.client.host}/shop@{image.digest}", "sent": total, "skipped": 0}
    assert registry.received == total
    assert set(registry.blobs) == {image.image_id, *(layer.digest for layer in image.layers)}
    tag = f"abc-{image.digest[7:19]}"
    assert set(registry.manifests) == {tag, image.digest}
    assert registry.manifests[tag] == (image.folder / "manifest.json").read_bytes()


def test_a_second_push_sends_nothing(registry: FakeRegistry, make_image: MakeImage) -> None:
    image = make_image("abc", base=BASE)
    push(image, registry.client)
    registry.received = 0
    registry.asked.clear()
    done = push(image, registry.client)
    assert (done["sent"], done["skipped"], registry.received) == (0, image.layers[0].compressed, 0)
    assert {line.split()[0] for line in registry.asked} == {"HEAD"}


def test_a_change_of_code_sends_only_its_layer(registry: FakeRegistry, make_image: MakeImage) -> None:
    push(make_image("one", base=BASE, application={"app/a.py": b"1"}), registry.client)
    registry.received = 0
    image = make_image("two", base=BASE, application={"app/a.py": b"2"})
    done = push(image, registry.client)
    assert done["skipped"] == image.layers[0].compressed
    assert done["sent"] == registry.received
    assert done["sent"] == sum(
        [
            image.layers[1].compressed,
            *((image.folder / name).stat().st_size for name in ("config.json", "manifest.json")),
        ]
    )


def test_a_broken_off_push_goes_on_where_it_was(registry: FakeRegistry, make_image: MakeImage) -> None:
    image = make_image("abc", base=BASE)
    registry.faults["PUT /v2/shop/manifests/"] = (500, b"")
    with pytest.raises(UsageError):
        push(image, registry.client)
    registry.faults.clear()
    assert push(image, registry.client)["sent"] == (image.folder / "manifest.json").stat().st_size


def refusal(registry: FakeRegistry, image: object) -> str:
    """The message of a push, with HOST for the registry's address."""
    with pytest.raises(UsageError) as caught:
        push(image, registry.client)  # type: ignore[arg-type]
    assert registry.manifests == {}
    return str(caught.value).replace(registry.client.host, "HOST")


DENIED = b'{"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}'


@pytest.mark.parametrize(
    ("request_", "fault", "message"),
    [
        (
            "POST",
            (401, DENIED),
            "HOST/shop did not begin an upload (401): requested access to the resource is denied; nothing is deployed",
        ),
        ("POST", (404, b""), "HOST/shop did not begin an upload (404): no reason given; nothing is deployed"),
        ("POST", (202, b""), "HOST/shop did not begin an upload (202): no reason given; nothing is deployed"),
        (
            "PUT /v2/shop/blobs",
            (500, b"<html>bad gateway</html>"),
            "HOST/shop did not take the blob {blob} (500): <html>bad gateway</html>; nothing is deployed",
        ),
        ("PUT /v2/shop/manifests", (400, b'{"errors": [{"code": "TAG_INVALID"}]}'),
         "HOST/shop did not take the manifest abc-{tag} (400): TAG_INVALID; nothing is deployed"),
        (
            "PUT /v2/shop/blobs",
            None,
            "the registry HOST does not answer (Remote end closed connection without response): is it up, and is the address right?",
        ),
    ],
)  # fmt: skip
def test_wrong_answers(
    registry: FakeRegistry, make_image: MakeImage, request_: str, fault: tuple[int, bytes] | None, message: str
) -> None:
    image = make_image("abc", base=BASE)
    registry.faults[request_] = fault
    assert refusal(registry, image) == message.format(blob=image.layers[0].digest[:19], tag=image.digest[7:19])


def test_a_damaged_layer_is_refused_by_the_registry(registry: FakeRegistry, make_image: MakeImage) -> None:
    image = make_image("abc", base=BASE)
    blob = image.layers[0].blob
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    assert refusal(registry, image) == (
        f"HOST/shop did not take the blob {image.layers[0].digest[:19]} (400): provided digest did not match uploaded content; "
        "nothing is deployed"
    )


def test_a_registry_that_changes_the_manifest(registry: FakeRegistry, make_image: MakeImage) -> None:
    image = make_image("abc", base=BASE)
    registry.faults[f"HEAD /v2/shop/manifests/{image.digest}"] = (404, b"")
    with pytest.raises(UsageError) as caught:
        push(image, registry.client)
    assert str(caught.value) == f"{registry.client.host} took build abc but does not have {image.digest}: push again"


def test_no_registry(make_image: MakeImage) -> None:
    with pytest.raises(UsageError) as caught:
        push(make_image("abc", base=BASE), Registry("127.0.0.1:9", "shop"))
    assert str(caught.value) == (
        "the registry 127.0.0.1:9 does not answer ([Errno 111] Connection refused): is it up, and is the address right?"
    )


def test_ecr() -> None:
    token = base64.b64encode(b"AWS:secret").decode()
    found = Registry.ecr("1234.dkr.ecr.eu-central-1.amazonaws.com/team/shop", token)
    assert (found.host, found.repository) == ("1234.dkr.ecr.eu-central-1.amazonaws.com", "team/shop")
    assert found.authorization == f"Basic {token}"
    assert token not in repr(found)
    assert dataclasses.replace(found, authorization=None) == Registry(found.host, "team/shop")
    with pytest.raises(binascii.Error):
        Registry.ecr("1234.dkr.ecr.eu-central-1.amazonaws.com/shop", "not base64!")
