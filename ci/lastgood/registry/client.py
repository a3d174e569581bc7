"""A repository at a registry, spoken to over HTTP: https://github.com/opencontainers/distribution-spec.

A blob is sent in one request, as containerd sends it, which every registry takes. In chunks it is another matter: ECR answers a chunk
with 201 instead of 202, reports no more than the first one in Range, and refuses what goes on from there (aws/containers-roadmap#2831).
So where the connection breaks, a new upload is begun; where an answer says that the registry is busy or broken, the request is made again
a little later. One thread has one connection, kept open.
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lastgood.errors import UsageError
from lastgood.image import oci
from lastgood.report.terminal import megabytes
from lastgood.report.text import head, masked

MANIFESTS, BLOBS = "manifests", "blobs"  # what a repository holds
LARGEST = 32_000_000  # bytes of what is asked for to be read: a statement with a list of materials has less

PIECE = 1 << 18  # bytes that are handed to the connection at a time, so that progress can be shown
_TIMEOUT = 120  # seconds, for one answer of the registry
_TRIES = 5
_PAUSE = 0.25  # seconds before the second try, doubled with each
_PAGES = 20  # of a list, that are read
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
_LONGEST = 30.0  # seconds that a registry may ask us to wait

# What a registry says of an upload that it has forgotten, or holds other bytes of than we think: a new one mends it.
_LOST = frozenset({"BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN"})

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

    def _once(
        self, method: str, path: str, body: bytes | Iterable[memoryview] | None, headers: Mapping[str, str]
    ) -> Answer:
        """One request, one answer; a body in pieces comes with its Content-Length. Raises _DroppedError where another try is worth it."""
        sent = dict(headers) | ({"Authorization": self.authorization} if self.authorization else {})
        if isinstance(body, bytes):
            sent["Content-Length"] = str(len(body))
        connection = self._connection()
        try:
            broken: OSError | None = None
            try:
                connection.request(method, path, body=body, headers=sent)
            except (BrokenPipeError, ConnectionResetError) as error:
                broken = error  # a registry that refuses answers before it has read all, and hangs up
            answer = connection.getresponse()
            found = answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # it is opened again by the next request
            raise _DroppedError(str(broken or error) or type(error).__name__) from None
        if broken:
            connection.close()
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

    def read(self, kind: str, digest: str) -> bytes | None:
        """The bytes of a manifest or blob (`kind`), which are what the digest names; None where the repository does not hold it.

        Raises UsageError where it answers with anything else, or with more than can be meant.
        """
        return self._content(f"/v2/{self.repository}/{kind}/{digest}", digest)

    def tagged(self, tag: str) -> bytes | None:
        """The manifest or index that a tag names; None where there is none."""
        return self._content(f"/v2/{self.repository}/manifests/{tag}")

    def _content(self, path: str, digest: str = "") -> bytes | None:
        accept = {"Accept": f"{oci.MANIFEST_TYPE}, {oci.INDEX_TYPE}"} if "/manifests/" in path else {}
        status, headers, body = self.ask("GET", path, headers=accept)
        if status in (301, 302, 303, 307, 308):  # ECR keeps blobs elsewhere, and its password is not for there
            status, body = _elsewhere(headers.get("location", ""))
        if status == 404:
            return None
        if status != 200:
            raise UsageError(f"{self.host}{path} can't be read ({status}): {said(body)}; ask again a little later")
        if len(body) > LARGEST or (digest and oci.digest(body) != digest):
            raise UsageError(f"{self.host}{path} is not what its digest names: nothing of it is believed")
        return body

    def referrers(self, digest: str) -> list[dict[str, Any]]:
        """The descriptors of what was pushed for an image and names it as its subject: anybody's who may push.

        A registry that does not list them keeps them in an index, under a tag that is the image's digest (the specification's "referrers
        tag schema").
        """
        found: list[dict[str, Any]] = []
        path = f"/v2/{self.repository}/referrers/{digest}"
        for _ in range(_PAGES):
            status, headers, body = self.ask("GET", path, headers={"Accept": oci.INDEX_TYPE})
            if status == 404:
                return found or _listed(self.tagged(digest.replace(":", "-")))
            if status != 200:
                raise UsageError(
                    f"{self.host}/{self.repository} does not say what refers to {digest} ({status}): {said(body)}; ask again a little "
                    "later"
                )
            found += _listed(body)
            following = _NEXT.search(headers.get("link", ""))
            if not following:
                break
            place = urllib.parse.urlsplit(urllib.parse.urljoin(path, following[1]))
            path = f"{place.path}?{place.query}" if place.query else place.path
        return found

    def blob(self, digest: str, body: bytes, note: Callable[[int], object] = lambda _bytes: None) -> None:
        """Uploads one blob; `note` is told how many bytes were sent since the last time, less than none where they are sent again.

        Raises UsageError with the registry's own words, or where it keeps dropping the connection.
        """
        tries = 0
        while True:
            sending = _Sending(memoryview(body), note)
            try:
                return self._whole(digest, sending)
            except _DroppedError as error:
                tries += 1
                if tries >= _TRIES:
                    raise UsageError(
                        f"the registry {self.host} did not take the blob {digest[:19]} of {megabytes(len(body))} in {tries} tries "
                        f"({error}): nothing is deployed; push again, what is there whole is not sent again"
                    ) from None
                self._wait(tries, error)
                if self.has("blobs", digest):  # only the answer was lost
                    return sending.finish()
                sending.take_back()

    def _whole(self, digest: str, sending: _Sending) -> None:
        """One upload, from its beginning to the registry's word that the blob is there."""
        joined = self._begin()
        joined += f"{'&' if '?' in joined else '?'}digest={urllib.parse.quote(digest, safe='')}"
        size = len(sending.view)
        # An empty body is no iterable to http.client's liking: it would send no Content-Length.
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        status, found, answer = self._once("PUT", joined, sending.pieces() if size else b"", headers)
        if status not in (200, 201, 204):
            if _codes(answer) & _LOST:
                raise _DroppedError(f"{status}: {said(answer)}")
            raise self._refused(f"take the blob {digest[:19]}", status, answer)
        sending.finish()
        self._same(digest, found)

    def _begin(self) -> str:
        """A new upload: the path that the blob is to be put to."""
        status, headers, answer = self.ask("POST", f"/v2/{self.repository}/blobs/uploads/", b"")
        if status != 202 or "location" not in headers:
            raise self._refused("begin an upload", status, answer)
        place = urllib.parse.urlsplit(headers["location"])
        return f"{place.path}?{place.query}" if place.query else place.path

    def manifest(self, reference: str, body: bytes, media_type: str = oci.MANIFEST_TYPE) -> None:
        """Puts a manifest or an index under a tag or its digest."""
        path = f"/v2/{self.repository}/manifests/{reference}"
        status, headers, answer = self.ask("PUT", path, body, {"Content-Type": media_type})
        # ECR's immutable tags refuse the very manifest that they name, as after an answer that was lost (aws/containers-roadmap#2380).
        if "TAG_INVALID" in _codes(answer) and self._named(reference) == oci.digest(body):
            return
        if status not in (200, 201):
            raise self._refused(f"take the manifest {reference}", status, answer)
        self._same(oci.digest(body), headers)

    def _named(self, tag: str) -> str:
        """The digest that a tag names; empty where the registry does not say."""
        accept = {"Accept": f"{oci.MANIFEST_TYPE}, {oci.INDEX_TYPE}"}
        status, headers, _ = self.ask("HEAD", f"/v2/{self.repository}/manifests/{tag}", headers=accept)
        return headers.get("docker-content-digest", "") if status == 200 else ""

    def _same(self, digest: str, headers: Mapping[str, str]) -> None:
        given = headers.get("docker-content-digest", digest)
        if given != digest:
            raise UsageError(
                f"{self.host}/{self.repository} took {digest} and calls it {given}: something changed it on the way; nothing is deployed"
            )

    def _refused(self, what: str, status: int, body: bytes) -> UsageError:
        return UsageError(f"{self.host}/{self.repository} did not {what} ({status}): {said(body)}; nothing is deployed")


class _Sending:
    """A blob on its way: `sent` bytes of it were handed to the connection, and noted."""

    def __init__(self, view: memoryview, note: Callable[[int], object]) -> None:
        self.view = view
        self.sent = 0
        self._note = note

    def pieces(self) -> Iterator[memoryview]:
        """The blob for the connection; one that asks for the next piece has sent the one before."""
        for start in range(0, len(self.view), PIECE):
            piece = self.view[start : start + PIECE]
            yield piece
            self._add(len(piece))

    def finish(self) -> None:
        """All of it is there."""
        self._add(len(self.view) - self.sent)

    def take_back(self) -> None:
        """Nothing of it counts: it is sent again."""
        self._add(-self.sent)

    def _add(self, size: int) -> None:
        self.sent += size
        if size:
            self._note(size)


def _listed(body: bytes | None) -> list[dict[str, Any]]:
    """The descriptors in an index; none where it can't be read."""
    try:
        entries = json.loads(body or b"{}").get("manifests", [])
    except (ValueError, AttributeError):
        return []
    return [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []


def _elsewhere(address: str) -> tuple[int, bytes]:
    """What lies where a registry sends us: (status, body). Without the registry's password, and by https or on this machine alone."""
    place = urllib.parse.urlsplit(address)
    here = place.hostname in ("localhost", "127.0.0.1")
    if place.scheme != "https" and not here:
        return 502, b"it sends us to an address without https"
    kind = http.client.HTTPConnection if place.scheme == "http" else http.client.HTTPSConnection
    connection = kind(place.netloc, timeout=_TIMEOUT)
    try:
        connection.request("GET", f"{place.path}?{place.query}" if place.query else place.path)
        answer = connection.getresponse()
        return answer.status, answer.read(LARGEST + 1)
    except (OSError, http.client.HTTPException) as error:
        return 502, str(error).encode()
    finally:
        connection.close()


def _codes(body: bytes) -> set[str]:
    """The codes in the body of an error, as TAG_INVALID."""
    try:
        return {str(error.get("code", "")) for error in json.loads(body)["errors"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def said(body: bytes) -> str:
    """The registry's own words in the body of an error."""
    try:
        words = "; ".join(error.get("message", error.get("code", "")) for error in json.loads(body)["errors"])
    except (ValueError, KeyError, TypeError, AttributeError):
        words = head(body.decode(errors="replace").strip(), 200)
    return masked(words) or "no reason given"


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0
