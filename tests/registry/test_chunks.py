"""Why a blob is not sent in chunks: what the specification allows, and what ECR makes of it.

The client below sends as this project's own did before it met ECR: a chunk a PATCH, 202 expected, and the registry asked for what it has
after a drop. If these tests fail, the stand-in has become kinder than ECR is.
"""

from __future__ import annotations

import http.client
import os
import urllib.parse
from typing import TYPE_CHECKING

import pytest
from lastgood.image import oci

if TYPE_CHECKING:
    from fixtures.registry import FakeRegistry

CHUNK = 1000


class Chunks:
    """An upload in chunks. `statuses` has what each PATCH was answered with, `range` the last Range."""

    def __init__(self, registry: FakeRegistry) -> None:
        self._host = registry.client.host
        self.statuses: list[int] = []
        self.range = ""
        self.place = self._location(self._ask("POST", "/v2/shop/blobs/uploads/", b"", {})[1])

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
        connection = http.client.HTTPConnection(self._host)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}
        finally:
            connection.close()

    def _location(self, headers: dict[str, str]) -> str:
        place = urllib.parse.urlsplit(headers["location"])
        return f"{place.path}?{place.query}" if place.query else place.path

    def send(self, body: bytes, start: int) -> int:
        chunk = body[start : start + CHUNK]
        headers = {"Content-Range": f"{start}-{start + len(chunk) - 1}"}
        status, found = self._ask("PATCH", self.place, chunk, headers)
        self.statuses.append(status)
        self.range = found.get("range", self.range)
        return status

    def has(self) -> int:
        """How many bytes the registry says that it has."""
        _, found = self._ask("GET", self.place, b"", {})
        return int(found["range"].partition("-")[2]) + 1

    def finish(self, digest: str) -> int:
        joined = f"{self.place}{'&' if '?' in self.place else '?'}digest={digest}"
        return self._ask("PUT", joined, b"", {"Content-Range": "0-0"})[0]


def test_in_chunks(registry: FakeRegistry) -> None:
    body = os.urandom(3 * CHUNK)
    chunks = Chunks(registry)
    for start in range(0, len(body), CHUNK):
        chunks.send(body, start)
    status = chunks.finish(oci.digest(body))
    if registry.ecr:
        assert (chunks.statuses, chunks.range, status) == ([201] * 3, "0-999", 400)
        assert registry.blobs == {}
    else:
        assert (chunks.statuses, chunks.range, status) == ([202] * 3, "0-2999", 201)
        assert registry.blobs == {oci.digest(body): body}


def test_on_from_where_it_broke_off(registry: FakeRegistry) -> None:
    body = os.urandom(3 * CHUNK)
    chunks = Chunks(registry)
    chunks.send(body, 0)
    chunks.send(body, CHUNK)
    there = chunks.has()
    if registry.ecr:
        assert there == CHUNK, "the second one was taken with 201, and does not count"
        assert chunks.send(body, 0) == 416
    else:
        assert there == 2 * CHUNK
        assert chunks.send(body, there) == 202
        assert chunks.finish(oci.digest(body)) == 201


def test_the_same_upload_from_the_beginning(registry: FakeRegistry) -> None:
    """What a client does that only makes its request again."""
    body = os.urandom(2 * CHUNK)
    chunks = Chunks(registry)
    registry.drops = [700]
    with pytest.raises(http.client.RemoteDisconnected):
        chunks._ask("PUT", f"{chunks.place}?digest={oci.digest(body)}", body, {})
    status, _ = chunks._ask("PUT", f"{chunks.place}?digest={oci.digest(body)}", body, {})
    assert status == (416 if registry.ecr else 400)


def test_a_blob_of_another_repository(registry: FakeRegistry) -> None:
    registry.elsewhere["sha256:a"] = b"a"
    status, headers = Chunks(registry)._ask("POST", "/v2/shop/blobs/uploads/?mount=sha256:a&from=other", b"", {})
    assert (status, "/uploads/" in headers["location"]) == ((202, True) if registry.ecr else (201, False))
