"""A small build made by hand, and a registry that checks what it is sent."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from lastgood.image import built, layers, oci
from lastgood.image.built import Image, Variant
from lastgood.image.push import Registry

MakeImage = Callable[..., Image]


@pytest.fixture
def make_image(tmp_path: Path) -> MakeImage:
    """Makes a build of one layer a keyword: `make_image("1", base={"etc/x": b"1"})`; each of several `platforms` has its own base."""

    def make(build: str, platforms: tuple[str, ...] = ("linux/amd64",), **contents: Mapping[str, bytes]) -> Image:
        folder = tmp_path / f"build-{build}"
        variants: list[Variant] = []
        bodies = {}
        for platform in platforms:
            made = []
            for name, files in contents.items():
                tree = folder / platform / name
                own = {"etc/platform": platform.encode()} if name == "base" and len(platforms) > 1 else {}
                for path, content in (dict(files) | own).items():
                    (tree / path).parent.mkdir(parents=True, exist_ok=True)
                    (tree / path).write_bytes(content)
                layers.write([(tree, "")], folder / platform / f"{name}.tar")
                made.append(layers.seal(name, folder / platform / f"{name}.tar"))
            configuration = oci.config({"User": "65532"}, made, "2026-01-02T03:04:05Z", platform)
            bodies[platform] = oci.manifest(configuration, made, {"build": build})
            size = sum(layer.compressed for layer in made) + len(configuration)
            unpacked = sum(layer.size for layer in made)
            ids = (oci.digest(bodies[platform]), oci.digest(configuration))
            variants.append(Variant(platform, *ids, tuple(made), size, unpacked))
            for kind, body in (("config", configuration), ("manifest", bodies[platform])):
                (folder / built.name(kind, len(variants) - 1, variants[-1])).write_bytes(body)
        index = oci.index(bodies, {"build": build})
        (folder / "index.json").write_bytes(index)
        first = variants[0]
        return Image(
            build=build,
            commit="c" * 40,
            version=build,
            created="2026-01-02T03:04:05Z",
            digest=oci.digest(index) if len(platforms) > 1 else first.digest,
            image_id=first.image_id,
            manifest_sha="m",
            size=first.size,
            unpacked=first.unpacked,
            layers=first.layers,
            folder=folder,
            variants=tuple(variants),
        )

    return make


class FakeRegistry(ThreadingHTTPServer):
    """The part of the distribution specification that a push uses; it believes no digest that it did not compute."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self.received = 0
        self.asked: list[str] = []
        # The connection is dropped after so many bytes of a body, once for each; a negative number also forgets the upload.
        self.drops: list[int] = []
        # Seconds that the client was to wait, as it would have.
        self.pauses: list[float] = []
        # Answers given instead of the right one, by the start of "METHOD path": (status, body), or None to hang up.
        self.faults: dict[str, tuple[int, bytes] | None] = {}

    @cached_property
    def client(self) -> Registry:
        """A push's side of it."""
        return Registry(f"127.0.0.1:{self.server_port}", "shop", pause=self.pauses.append)


class _Handler(BaseHTTPRequestHandler):
    server: FakeRegistry
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        place = urllib.parse.urlsplit(self.path)
        if size and "/blobs/uploads/" in place.path and self.server.drops:
            return self.drop(place.path, self.server.drops.pop(0))
        body = self.rfile.read(size)
        self.server.asked.append(f"{self.command} {place.path}")
        for start, fault in self.server.faults.items():
            if f"{self.command} {place.path}".startswith(start):
                return self.hang_up() if fault is None else self.answer(*fault)
        name = place.path.rpartition("/")[2]
        if self.command == "HEAD":
            kind = self.server.blobs if "/blobs/" in place.path else self.server.manifests
            return self.answer(200 if name in kind else 404)
        if self.command == "POST":
            path = f"/v2/shop/blobs/uploads/{uuid4().hex}"
            self.server.uploads[path] = bytearray()
            return self.answer(202, headers={"Location": f"{path}?state=a%2Fb"})
        if self.command == "GET":
            return self.status(place.path)
        self.server.received += len(body)
        if self.command == "PATCH":
            return self.piece(place.path, body)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if "/manifests/" in place.path:
            data = json.loads(body)
            if "manifests" in data:
                known = [entry["digest"] in self.server.manifests for entry in data["manifests"]]
            else:
                known = [entry["digest"] in self.server.blobs for entry in [data["config"], *data["layers"]]]
            if not all(known):
                return self.answer(400, _error("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"))
            self.server.manifests |= {name: body, digest: body}
        else:
            query = urllib.parse.parse_qs(place.query)
            whole = bytes(self.server.uploads.pop(place.path, b"")) + body
            digest = f"sha256:{hashlib.sha256(whole).hexdigest()}"
            if query != {"state": ["a/b"], "digest": [digest]}:
                return self.answer(400, _error("DIGEST_INVALID", "provided digest did not match uploaded content"))
            self.server.blobs[digest] = whole
        return self.answer(201)

    do_HEAD = do_GET = do_POST = do_PUT = do_PATCH = handle_one  # noqa: N815  the names that http.server calls

    def drop(self, path: str, keep: int) -> None:
        if keep >= 0:
            self.server.uploads[path] += self.rfile.read(keep)
            self.server.received += keep
        else:
            self.server.uploads.pop(path)
        self.server.asked.append(f"{self.command} {path} dropped")
        self.hang_up()

    def piece(self, path: str, body: bytes) -> None:
        start = len(self.server.uploads[path])
        if self.headers["Content-Range"] != f"{start}-{start + len(body) - 1}":
            return self.answer(416, _error("RANGE_INVALID", "out of order"))
        self.server.uploads[path] += body
        return self.answer(202, headers={"Location": f"{path}?state=a%2Fb", "Range": f"0-{start + len(body) - 1}"})

    def status(self, path: str) -> None:
        if path not in self.server.uploads:
            return self.answer(404, _error("BLOB_UPLOAD_UNKNOWN", "upload unknown to registry"))
        there = max(len(self.server.uploads[path]) - 1, 0)
        return self.answer(204, headers={"Location": f"{path}?state=a%2Fb", "Range": f"0-{there}"})

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


def _error(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """An empty registry on a loopback port."""
    with FakeRegistry() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.client.close()
        server.shutdown()
        thread.join()
