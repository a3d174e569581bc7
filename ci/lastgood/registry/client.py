"""A repository at a registry, spoken to over HTTP: https://github.com/opencontainers/distribution-spec.

A blob is sent in pieces. Where the connection breaks, the registry is asked how much it has, and the rest is sent; where an answer says
that it is busy or broken, the request is made again a little later. One thread has one connection, kept open.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lastgood.errors import UsageError
from lastgood.image import oci
from lastgood.report.terminal import megabytes

CHUNK = 8 << 20  # bytes of one piece: ECR takes 5 to 10 MiB
_TIMEOUT = 120  # seconds, for one answer of the registry
_TRIES = 5  # in a row without a byte of progress
_PAUSE = 0.25  # seconds before the second try, doubled with each
_LONGEST = 30.0  # seconds that a registry may ask us to wait

Answer = tuple[int, Mapping[str, str], bytes]


class _DroppedError(Exception):
    """No answer, or one that says: later. `after` is what the registry asks us to wait, in seconds."""

    def __init__(self, text: str, after: float = 0.0) -> None:
        super().__init__(text)
        self.after = after


@dataclass
class Registry:
    """One repository at a registry, as `localhost:4566` and `board`. `authorization` is the header's value, never shown."""

    host: str
    repository: str
    authorization: str | None = field(default=None, repr=False)
    pause: Callable[[float], object] = field(default=time.sleep, repr=False, compare=False)
    _own: threading.local = field(default_factory=threading.local, repr=False, compare=False)
    _all: list[http.client.HTTPConnection] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def ecr(cls, repository_uri: str, token: str) -> Registry:
        """From ECR's repositoryUri and the authorizationToken of GetAuthorizationToken (base64 of `AWS:password`)."""
        host, _, repository = repository_uri.partition("/")
        base64.b64decode(token, validate=True)
        return cls(host, repository, f"Basic {token}")

    def close(self) -> None:
        """Closes the connections of all threads."""
        for connection in self._all:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            if self.host.partition(":")[0] in ("localhost", "127.0.0.1"):
                connection = http.client.HTTPConnection(self.host, timeout=_TIMEOUT)
            else:
                connection = http.client.HTTPSConnection(
                    self.host, timeout=_TIMEOUT, context=ssl.create_default_context()
                )
            self._own.connection = connection
            self._all.append(connection)
        return connection

    def _once(self, method: str, path: str, body: bytes | memoryview | None, headers: Mapping[str, str]) -> Answer:
        """One request, one answer. Raises _DroppedError where it is worth another try."""
        sent = dict(headers) | ({"Authorization": self.authorization} if self.authorization else {})
        if body is not None:
            sent["Content-Length"] = str(len(body))
        connection = self._connection()
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            found = answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # it is opened again by the next request
            raise _DroppedError(str(error) or type(error).__name__) from None
        if found[0] == 429 or found[0] >= 500:
            raise _DroppedError(f"{found[0]}: {said(found[2])}", _seconds(found[1].get("retry-after", "")))
        return found

    def _wait(self, tries: int, error: _DroppedError) -> None:
        self.pause(max(_PAUSE * 2 ** (tries - 1), min(error.after, _LONGEST)))

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request that may be made again; returns (status, headers in lower case, body).

        Raises UsageError where the registry does not answer, or answers that it can't, however often it is asked.
        """
        tries = 0
        while True:
            try:
                return self._once(method, path, body, headers or {})
            except _DroppedError as error:
                tries += 1
                if tries >= _TRIES:
                    raise UsageError(
                        f"the registry {self.host} does not answer ({error}; asked {tries} times): is it up, and is the address right?"
                    ) from None
                self._wait(tries, error)

    def has(self, kind: str, digest: str) -> bool:
        """Whether the repository holds the blob or manifest (`kind` is `blobs` or `manifests`).

        Raises UsageError where it does not say.
        """
        headers = {"Accept": f"{oci.MANIFEST_TYPE}, {oci.INDEX_TYPE}"} if kind == "manifests" else {}
        status, found, _ = self.ask("HEAD", f"/v2/{self.repository}/{kind}/{digest}", headers=headers)
        if status == 200 and found.get("docker-content-digest", digest) != digest:
            raise UsageError(
                f"{self.host}/{self.repository} has {found['docker-content-digest']} under {digest}: nothing is deployed"
            )
        return status == 200

    def blob(self, digest: str, body: bytes, note: Callable[[int], object] = lambda _bytes: None) -> None:
        """Uploads one blob; `note` is told how many bytes have arrived since the last time.

        Raises UsageError with the registry's own words, or where it keeps dropping the connection.
        """
        place, least = self._begin()
        chunk = max(CHUNK, least)
        arrived = tries = 0
        view = memoryview(body)
        while True:
            last = len(body) - arrived <= chunk
            try:
                if last:
                    status, headers, answer = self._finish(place, digest, view, arrived)
                else:
                    status, headers, answer = self._piece(place, view, arrived, chunk)
            except _DroppedError as error:
                tries += 1
                if tries >= _TRIES:
                    raise UsageError(
                        f"the registry {self.host} did not take the blob {digest[:19]} in {tries} tries ({error}; "
                        f"{megabytes(arrived)} of {megabytes(len(body))} are there): nothing is deployed; push again, what is there "
                        "whole is not sent again"
                    ) from None
                self._wait(tries, error)
                before = arrived
                if self.has("blobs", digest):  # only the answer was lost
                    note(len(body) - before)
                    return
                place, arrived = self._resume(place)
                note(arrived - before)
                tries = 0 if arrived > before else tries
                continue
            if status in (201, 204) and last:
                note(len(body) - arrived)
                self._same(digest, headers)
                return
            if last or status != 202:
                raise self._refused(f"take the blob {digest[:19]}", status, answer)
            tries = 0
            note(min(chunk, len(body) - arrived))
            arrived += chunk
            place = self._location(headers, place)

    def _begin(self) -> tuple[str, int]:
        status, headers, answer = self.ask("POST", f"/v2/{self.repository}/blobs/uploads/", b"")
        if status != 202 or "location" not in headers:
            raise self._refused("begin an upload", status, answer)
        least = headers.get("oci-chunk-min-length", "0")
        return self._location(headers, ""), int(least) if least.isdecimal() else 0

    def _location(self, headers: Mapping[str, str], before: str) -> str:
        place = urllib.parse.urlsplit(headers.get("location", before))
        return f"{place.path}?{place.query}" if place.query else place.path

    def _piece(self, place: str, view: memoryview, start: int, size: int) -> Answer:
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{start + size - 1}"}
        return self._once("PATCH", place, view[start : start + size], headers)

    def _finish(self, place: str, digest: str, view: memoryview, start: int) -> Answer:
        headers = {"Content-Type": "application/octet-stream"}
        if start:
            headers["Content-Range"] = f"{start}-{len(view) - 1}"
        joined = f"{place}{'&' if '?' in place else '?'}digest={urllib.parse.quote(digest, safe='')}"
        return self._once("PUT", joined, view[start:], headers)

    def _resume(self, place: str) -> tuple[str, int]:
        """Where the upload goes on, and how many bytes the registry has of it; a new one where it has forgotten it."""
        status, headers, _ = self.ask("GET", place)
        if status not in (200, 204):
            return self._begin()[0], 0
        found = re.fullmatch(r"(?:bytes=)?0-(\d+)", headers.get("range", ""))
        # "0-0" says both that there is nothing and that there is one byte; a wrong guess of one byte is refused, so it is begun anew.
        if not found or found.group(1) == "0":
            return self._begin()[0], 0
        return self._location(headers, place), int(found.group(1)) + 1

    def manifest(self, reference: str, body: bytes, media_type: str = oci.MANIFEST_TYPE) -> None:
        """Puts a manifest or an index under a tag or its digest."""
        path = f"/v2/{self.repository}/manifests/{reference}"
        status, headers, answer = self.ask("PUT", path, body, {"Content-Type": media_type})
        if status not in (200, 201):
            raise self._refused(f"take the manifest {reference}", status, answer)
        self._same(oci.digest(body), headers)

    def _same(self, digest: str, headers: Mapping[str, str]) -> None:
        given = headers.get("docker-content-digest", digest)
        if given != digest:
            raise UsageError(
                f"{self.host}/{self.repository} took {digest} and calls it {given}: something changed it on the way; nothing is deployed"
            )

    def _refused(self, what: str, status: int, body: bytes) -> UsageError:
        return UsageError(f"{self.host}/{self.repository} did not {what} ({status}): {said(body)}; nothing is deployed")


def said(body: bytes) -> str:
    """The registry's own words in the body of an error."""
    try:
        words = "; ".join(error.get("message", error.get("code", "")) for error in json.loads(body)["errors"])
    except (ValueError, KeyError, TypeError, AttributeError):
        words = body[:200].decode(errors="replace").strip()
    return words or "no reason given"


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0
