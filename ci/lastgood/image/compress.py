"""Compression that gives the same bytes on every machine: both libraries are pinned, and each brings its own C code.

Levels were chosen by measuring (docs/benchmarks.md). What is kept in the cache is compressed once and pulled by every task, so it is
worth seconds; the application's layer is compressed in every build, so it must cost none. Workers and size of a job are fixed, not taken
from the machine: they decide where one job ends, and so the bytes.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

RECIPE = 1  # counted up with every change of a level, and when a library is upgraded that gives other bytes
TYPES = {
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
}
SUFFIXES = {"zstd": "zst", "gzip": "gz"}
_ONCE = {"zstd": 19, "gzip": 10}
_EVERY_TIME = {"zstd": 12, "gzip": 9}
_WORKERS = 2
_JOB = 1 << 24  # bytes of one worker's share


def compress(body: bytes, method: str, *, once: bool) -> bytes:
    """`body` compressed by `method`, `zstd` or `gzip`; `once` takes the level for what is compressed once and kept."""
    level = (_ONCE if once else _EVERY_TIME)[method]
    if method == "gzip":
        import deflate

        return bytes(deflate.gzip_compress(body, level))  # libdeflate's header names no time and no system
    import zstandard

    workers: dict[str, Any] = {"threads": _WORKERS, "job_size": _JOB, "overlap_log": 9} if len(body) > _JOB else {}
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(body), write_content_size=True, write_checksum=False, **workers
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(body)


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = ..., /) -> bytes:
        """Up to `size` bytes, none at the end."""


def expanding(packed: Readable, media_type: str) -> Readable:
    """What was compressed as `media_type`, to be read piece by piece, and all of it: engines read every frame and member, too.

    Reading raises one of `errors(media_type)` for what is not compressed so.
    """
    if media_type == TYPES["gzip"]:
        import gzip

        return gzip.GzipFile(fileobj=cast("Any", packed), mode="rb")
    import zstandard

    return zstandard.ZstdDecompressor().stream_reader(cast("Any", packed), read_across_frames=True, closefd=False)


def errors(media_type: str) -> tuple[type[Exception], ...]:
    """What reading from `expanding` raises for bytes that are not compressed as `media_type`."""
    if media_type == TYPES["gzip"]:
        import gzip
        import zlib

        return gzip.BadGzipFile, EOFError, zlib.error
    import zstandard

    return (zstandard.ZstdError,)
