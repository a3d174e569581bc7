"""Pushes a build to a registry over HTTP, only what is missing there. Protocol: https://github.com/opencontainers/distribution-spec."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from lastgood.errors import UsageError
from lastgood.image import oci
from lastgood.image.build import Image
from lastgood.report.terminal import megabytes, step

_TIMEOUT = 120  # seconds, for one answer of the registry


@dataclass
class Registry:
    """One repository at a registry, as `localhost:4566` and `board`. `authorization` is the header's value, never shown."""

    host: str
    repository: str
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def ecr(cls, repository_uri: str, token: str) -> Registry:
        """From ECR's repositoryUri and the authorizationToken of GetAuthorizationToken (base64 of `AWS:password`)."""
        host, _, repository = repository_uri.partition("/")
        base64.b64decode(token, validate=True)
        return cls(host, repository, f"Basic {token}")

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One request; returns (status, headers in lower case, body). Raises UsageError where the registry does not answer."""
        connection: http.client.HTTPConnection
        if self.host.partition(":")[0] in ("localhost", "127.0.0.1"):
            connection = http.client.HTTPConnection(self.host, timeout=_TIMEOUT)
        else:
            connection = http.client.HTTPSConnection(self.host, timeout=_TIMEOUT, context=ssl.create_default_context())
        sent = dict(headers or {}) | ({"Authorization": self.authorization} if self.authorization else {})
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise UsageError(
                f"the registry {self.host} does not answer ({error or type(error).__name__}): is it up, and is the address right?"
            ) from None
        finally:
            connection.close()

    def has(self, kind: str, digest: str) -> bool:
        """Whether the repository holds the blob or manifest (`kind` is `blobs` or `manifests`)."""
        headers = {"Accept": oci.MANIFEST_TYPE} if kind == "manifests" else {}
        return self.ask("HEAD", f"/v2/{self.repository}/{kind}/{digest}", headers=headers)[0] == 200

    def blob(self, digest: str, body: bytes) -> None:
        """Uploads one blob. Raises UsageError with the registry's own words."""
        status, headers, answer = self.ask("POST", f"/v2/{self.repository}/blobs/uploads/")
        if status != 202 or "location" not in headers:
            raise self._refused("begin an upload", status, answer)
        place = urllib.parse.urlsplit(headers["location"])
        query = f"{place.query}&" if place.query else ""
        path = f"{place.path}?{query}digest={urllib.parse.quote(digest, safe='')}"
        status, _, answer = self.ask("PUT", path, body, {"Content-Type": "application/octet-stream"})
        if status not in (201, 204):
            raise self._refused(f"take the blob {digest[:19]}", status, answer)

    def manifest(self, reference: str, body: bytes) -> None:
        """Puts the manifest under a tag or its digest."""
        path = f"/v2/{self.repository}/manifests/{reference}"
        status, _, answer = self.ask("PUT", path, body, {"Content-Type": oci.MANIFEST_TYPE})
        if status not in (200, 201):
            raise self._refused(f"take the manifest {reference}", status, answer)

    def _refused(self, what: str, status: int, body: bytes) -> UsageError:
        try:
            said = "; ".join(error.get("message", error.get("code", "")) for error in json.loads(body)["errors"])
        except (ValueError, KeyError, TypeError, AttributeError):
            said = body[:200].decode(errors="replace")
        return UsageError(
            f"{self.host}/{self.repository} did not {what} ({status}): {said or 'no reason given'}; nothing is deployed"
        )


def tag(image: Image) -> str:
    """The tag that a build is pushed under. Tags are immutable, and one commit gives another image when the bundle changes."""
    return f"{image.build}-{image.digest.removeprefix('sha256:')[:12]}"


def push(image: Image, registry: Registry) -> dict[str, object]:
    """Pushes what the registry lacks: blobs first, then the manifest under the build's tag.

    Returns {"image": the reference by digest, "sent": bytes, "skipped": bytes}.
    """
    sent = skipped = 0
    with step("push") as shown:
        configuration = (image.folder / "config.json").read_bytes()
        body = (image.folder / "manifest.json").read_bytes()
        for layer in image.layers:
            if registry.has("blobs", layer.digest):
                skipped += layer.compressed
            else:
                registry.blob(layer.digest, layer.blob.read_bytes())
                sent += layer.compressed
        if not registry.has("blobs", image.image_id):
            registry.blob(image.image_id, configuration)
            sent += len(configuration)
        if not registry.has("manifests", image.digest):
            registry.manifest(tag(image), body)
            sent += len(body)
        if not registry.has("manifests", image.digest):
            raise UsageError(f"{registry.host} took build {image.build} but does not have {image.digest}: push again")
        shown.note(f"{megabytes(sent)} sent, {megabytes(skipped)} were there")
    return {"image": f"{registry.host}/{registry.repository}@{image.digest}", "sent": sent, "skipped": skipped}
