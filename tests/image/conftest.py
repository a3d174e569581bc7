"""A small build made by hand, and a registry that checks what it is sent."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from lastgood.image import layers, oci
from lastgood.image.build import Image
from lastgood.image.push import Registry

MakeImage = Callable[..., Image]


@pytest.fixture
def make_image(tmp_path: Path) -> MakeImage:
    """Makes a build of one layer a keyword: `make_image("1", base={"etc/x": b"1"})`."""

    def make(build: str, **contents: Mapping[str, bytes]) -> Image:
        folder = tmp_path / f"build-{build}"
        made = []
        for name, files in contents.items():
            for path, content in files.items():
                (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / name / path).write_bytes(content)
            layers.write([(folder / name, "")], folder / f"{name}.tar")
            made.append(layers.seal(name, folder / f"{name}.tar"))
        configuration = oci.config({"User": "65532"}, made, "2026-01-02T03:04:05Z")
        body = oci.manifest(configuration, made, {"build": build})
        (folder / "config.json").write_bytes(configuration)
        (folder / "manifest.json").write_bytes(body)
        return Image(
            build=build,
            commit="c" * 40,
            version=build,
            created="2026-01-02T03:04:05Z",
            digest=oci.digest(body),
            image_id=oci.digest(configuration),
            manifest_sha="m",
            size=sum(layer.compressed for layer in made) + len(configuration),
            unpacked=sum(layer.size for layer in made),
            layers=tuple(made),
            folder=folder,
        )

    return make


class FakeRegistry(ThreadingHTTPServer):
    """The part of the distribution specification that a push uses; it believes no digest that it did not compute."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.received = 0
        self.asked: list[str] = []
        # Answers given instead of the right one, by the start of "METHOD path": (status, body), or None to hang up.
        self.faults: dict[str, tuple[int, bytes] | None] = {}

    @property
    def client(self) -> Registry:
        """A push's side of it."""
        return Registry(f"127.0.0.1:{self.server_port}", "shop")


class _Handler(BaseHTTPRequestHandler):
    server: FakeRegistry

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        place = urllib.parse.urlsplit(self.path)
        self.server.asked.append(f"{self.command} {place.path}")
        for start, fault in self.server.faults.items():
            if f"{self.command} {place.path}".startswith(start):
                return self.connection.close() if fault is None else self.answer(*fault)
        name = place.path.rpartition("/")[2]
        if self.command == "HEAD":
            kind = self.server.blobs if "/blobs/" in place.path else self.server.manifests
            return self.answer(200 if name in kind else 404)
        if self.command == "POST":
            return self.answer(202, headers={"Location": "/v2/shop/blobs/uploads/1?state=a%2Fb"})
        self.server.received += len(body)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if "/manifests/" in place.path:
            data = json.loads(body)
            known = [entry["digest"] in self.server.blobs for entry in [data["config"], *data["layers"]]]
            if not all(known):
                return self.answer(400, _error("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"))
            self.server.manifests |= {name: body, digest: body}
        else:
            query = urllib.parse.parse_qs(place.query)
            if query != {"state": ["a/b"], "digest": [digest]}:
                return self.answer(400, _error("DIGEST_INVALID", "provided digest did not match uploaded content"))
            self.server.blobs[digest] = body
        return self.answer(201)

    do_HEAD = do_POST = do_PUT = handle_one  # noqa: N815  the names that http.server calls

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
        server.shutdown()
        thread.join()
