"""A push sends what the registry lacks, counts it, and gives the registry's own words when it is refused."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from lastgood.errors import UsageError
from lastgood.image import oci
from lastgood.registry import client as protocol
from lastgood.registry import push as push_module
from lastgood.registry.client import Registry
from lastgood.registry.push import push
from lastgood.report.terminal import megabytes

if TYPE_CHECKING:
    from fixtures.registry import FakeRegistry, MakeImage

BASE = {"usr/lib/x": b"x" * 20_000}


def test_everything_is_sent_once(registry: FakeRegistry, make_image: MakeImage) -> None:
    image = make_image("abc", base=BASE, application={"app/a.py": b"1"})
    done = push(image, registry.client)
    total = image.size + (image.folder / "manifest.json").stat().st_size
    repository = f"{registry.client.host}/shop"
    assert done == {"image": f"{repository}@{image.digest}", "repository": repository, "sent": total, "skipped": 0}
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
    registry.faults["PUT /v2/shop/manifests/"] = (400, b"")
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


TRIED = (
    "the registry HOST did not take the blob {{blob}} of {{size}} in 5 tries ({}): nothing is deployed; push again, what is there whole is "
    "not sent again"
)
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
        ("PUT /v2/shop/blobs", (403, b""), "HOST/shop did not take the blob {blob} (403): no reason given; nothing is deployed"),
        (
            "PUT /v2/shop/blobs",
            (500, b"<html>bad gateway</html>"),
            TRIED.format("500: <html>bad gateway</html>"),
        ),
        ("PUT /v2/shop/manifests", (400, b'{"errors": [{"code": "TAG_INVALID"}]}'),
         "HOST/shop did not take the manifest abc-{tag} (400): TAG_INVALID; nothing is deployed"),
        (
            "PUT /v2/shop/blobs",
            None,
            TRIED.format("Remote end closed connection without response"),
        ),
    ],
)  # fmt: skip
def test_wrong_answers(
    registry: FakeRegistry, make_image: MakeImage, request_: str, fault: tuple[int, bytes] | None, message: str
) -> None:
    image = make_image("abc", base=BASE)
    registry.faults[request_] = fault
    # Both blobs are sent at the same time; the largest is waited for first.
    largest = push_module.blobs(image)[0]
    assert refusal(registry, image) == message.format(
        blob=largest.digest[:19], tag=image.digest[7:19], size=megabytes(largest.size)
    )


def test_a_damaged_layer_is_not_sent(registry: FakeRegistry, make_image: MakeImage) -> None:
    image = make_image("abc", base={"usr/lib/x": os.urandom(20_000)})
    blob = image.layers[0].blob
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    assert refusal(registry, image) == (
        f"the layer base in the cache is not {image.layers[0].digest}: it was damaged; remove it with `lastgood cache --clear`, build and "
        "push again"
    )
    assert image.layers[0].digest not in registry.blobs


@pytest.mark.parametrize("drops", [[700], [0, 700], [-1]])
def test_a_dropped_connection_begins_a_new_upload(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, drops: list[int]
) -> None:
    monkeypatch.setattr(protocol, "PIECE", 1000)
    body = os.urandom(2500)
    registry.drops = list(drops)
    arrived: list[int] = []
    registry.client.blob(oci.digest(body), body, arrived.append)
    assert registry.blobs == {oci.digest(body): body}
    assert sum(arrived) == len(body), "what was sent in vain is taken back"
    assert registry.pauses == [0.25 * 2**number for number in range(len(drops))]
    uploads = [line.split()[1] for line in registry.asked if line.startswith("PUT")]
    assert len(set(uploads)) == len(uploads) == len(drops) + 1


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 20_000_000])
def test_a_blob_is_one_request(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(protocol, "PIECE", 1000 if size < 2000 else protocol.PIECE)
    body = os.urandom(size)
    arrived: list[int] = []
    registry.client.blob(oci.digest(body), body, arrived.append)
    assert registry.blobs == {oci.digest(body): body}
    assert [line.split()[0] for line in registry.asked] == ["POST", "PUT"]
    assert (registry.received, sum(arrived)) == (size, size)


@pytest.mark.parametrize(
    ("status", "code"), [(404, "BLOB_UPLOAD_UNKNOWN"), (416, "BLOB_UPLOAD_INVALID"), (400, "BLOB_UPLOAD_INVALID")]
)
def test_an_upload_that_the_registry_has_lost(registry: FakeRegistry, status: int, code: str) -> None:
    registry.faults["PUT /v2/shop/blobs"] = (status, json.dumps({"errors": [{"code": code}]}).encode())
    body = b"x" * 100
    registry.client.pause = lambda _seconds: registry.faults.clear()
    registry.client.blob(oci.digest(body), body)
    assert registry.blobs == {oci.digest(body): body}


def test_the_answer_of_a_registry_that_does_not_read_on(make_image: MakeImage) -> None:
    """It says no after the headers, and hangs up while the body is under way: its words count, not the broken pipe."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"

        def serve() -> None:
            answers = (b"202 Accepted\r\nLocation: /v2/shop/blobs/uploads/1", b"403 Forbidden\r\nConnection: close")
            connection, _ = server.accept()
            with connection:
                for answer in answers:
                    found = b""
                    while b"\r\n\r\n" not in found:
                        found += connection.recv(4096)
                    content = b'{"errors": [{"code": "DENIED", "message": "not yours"}]}' if b"403" in answer else b""
                    connection.sendall(
                        b"HTTP/1.1 " + answer + b"\r\nContent-Length: %d\r\n\r\n" % len(content) + content
                    )
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 20):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        body = bytes(30 << 20)
        client = Registry(host, "shop", pause=lambda _seconds: None)
        with pytest.raises(UsageError) as caught:
            client.blob(oci.digest(body), body)
        client.close()
        thread.join()
    assert str(caught.value) == (
        f"{host}/shop did not take the blob {oci.digest(body)[:19]} (403): not yours; nothing is deployed"
    )


def test_an_immutable_tag(registry: FakeRegistry, make_image: MakeImage) -> None:
    """The answer to the manifest was lost: asked again, ECR refuses what it has, and the build is there all the same."""
    image = make_image("abc", base=BASE)
    push(image, registry.client)
    name, body = f"abc-{image.digest[7:19]}", (image.folder / "manifest.json").read_bytes()
    registry.client.manifest(name, body)
    assert registry.manifests[name] == body
    other = body.replace(b'"build":', b'"built":')
    if registry.ecr:
        with pytest.raises(UsageError) as caught:
            registry.client.manifest(name, other)
        assert str(caught.value) == (
            f"{registry.client.host}/shop did not take the manifest {name} (400): The image tag '{name}' already exists in the 'shop' "
            "repository and cannot be overwritten because the tag is immutable.; nothing is deployed"
        )
        assert registry.manifests[name] == body
    else:
        registry.client.manifest(name, other)
        assert registry.manifests[name] == other


def test_a_registry_that_always_drops(registry: FakeRegistry, make_image: MakeImage) -> None:
    image = make_image("abc", base=BASE)
    registry.drops = [0] * 100
    message = refusal(registry, image)
    assert "in 5 tries (" in message
    assert message.endswith("): nothing is deployed; push again, what is there whole is not sent again")
    assert registry.blobs == {}


def test_an_answer_that_was_lost(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry took the blob, and the connection broke before it could say so."""
    body = b"x" * 100
    client = registry.client
    once = client._once

    def lost(method: str, *arguments: object) -> object:
        answer = once(method, *arguments)  # type: ignore[arg-type]
        if method == "PUT":
            raise protocol._DroppedError("gone")
        return answer

    monkeypatch.setattr(client, "_once", lost)
    client.blob(oci.digest(body), body)
    assert registry.blobs == {oci.digest(body): body}
    assert registry.received == 100


def test_a_busy_registry_is_asked_again(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    client = registry.client
    answers = iter([(429, {"retry-after": "7"}), (503, {}), (200, {})])

    class Connection:
        def request(self, *_arguments: object, **_more: object) -> None:
            self.status, self.found = next(answers)

        def getresponse(self) -> Connection:
            return self

        def getheaders(self) -> list[tuple[str, str]]:
            return list(self.found.items())

        def read(self) -> bytes:
            return b""

    monkeypatch.setattr(client, "_connection", Connection)
    assert client.has("blobs", "sha256:x")
    assert registry.pauses == [7.0, 0.5]


def test_several_platforms_are_one_index(registry: FakeRegistry, make_image: MakeImage) -> None:
    platforms = ("linux/amd64", "linux/arm64")
    image = make_image("abc", platforms, base=BASE, application={"app/a.py": b"1"})
    done = push(image, registry.client)
    assert done["image"] == f"{registry.client.host}/shop@{image.digest}"
    assert len({variant.layers[1].digest for variant in image.variants}) == 1, "the application is one layer for both"
    assert len(registry.blobs) == 5
    assert set(registry.manifests) == {
        f"abc-{image.digest[7:19]}", image.digest, *(variant.digest for variant in image.variants)
    }  # fmt: skip
    index = json.loads(registry.manifests[image.digest])
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert [entry["platform"] for entry in index["manifests"]] == [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
    ]
    puts = [line for line in registry.asked if line.startswith("PUT /v2/shop/manifests/")]
    assert puts[-1].endswith(f"abc-{image.digest[7:19]}"), "the tag is given when all that it names is there"
    registry.received = 0
    assert push(image, registry.client)["sent"] == registry.received == 0


def test_a_registry_that_changes_the_manifest(registry: FakeRegistry, make_image: MakeImage) -> None:
    image = make_image("abc", base=BASE)
    registry.faults[f"HEAD /v2/shop/manifests/{image.digest}"] = (404, b"")
    with pytest.raises(UsageError) as caught:
        push(image, registry.client)
    assert str(caught.value) == f"{registry.client.host} took build abc but does not have {image.digest}: push again"


def test_no_registry(make_image: MakeImage) -> None:
    with pytest.raises(UsageError) as caught:
        push(make_image("abc", base=BASE), Registry("127.0.0.1:9", "shop", pause=lambda _seconds: None))
    assert str(caught.value) == (
        "the registry 127.0.0.1:9 does not answer ([Errno 111] Connection refused; asked 5 times): is it up, and is the address right?"
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
