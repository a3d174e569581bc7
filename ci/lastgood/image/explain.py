"""Where the image's size goes: every step of trimming, really done once more and measured. `lastgood build --explain` prints it."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lastgood import tar
from lastgood.cache import store
from lastgood.image import trim
from lastgood.image.materials import Materials
from lastgood.platform import native
from lastgood.report.terminal import megabytes, table

_STATIC = {
    "all": 'all stay where they were installed, too; if nothing but collectstatic reads them, say static = "collected"',
    "contrib": "those of django.contrib only where collectstatic put them, the others where they were installed, too",
    "collected": "only where collectstatic put them",
}


class _Rows:
    """Measures trees as they are now; what takes long (compressing) goes on while the next step is done."""

    def __init__(self, scratch: Path, pool: ThreadPoolExecutor) -> None:
        self.scratch, self.pool = scratch, pool
        self.rows: list[dict[str, Any]] = []
        self.waiting: list[Future[int]] = []

    def add(self, part: str, step: str, tree: Path) -> None:
        """Measures `tree`: files (with links), bytes, and bytes of its layer as gzip -6."""
        paths = [path for path in tree.rglob("*") if path.is_symlink() or path.is_file()]
        size = sum(path.lstat().st_size for path in paths if not path.is_symlink())
        self.rows.append({"part": part, "step": step, "files": len(paths), "bytes": size})
        archive = self.scratch / f"{len(self.rows)}.tar"
        tar.write([(tree, "")], archive)
        self.waiting.append(self.pool.submit(_compressed, archive))

    def finished(self) -> list[dict[str, Any]]:
        """The rows, with what each saved against the one before it in the same part."""
        for row, waiting in zip(self.rows, self.waiting, strict=True):
            row["compressed"] = waiting.result()
        before: dict[str, Any] = {}
        for row in self.rows:
            same = before.get("part") == row["part"]
            row["saved"] = before["compressed"] - row["compressed"] if same else None
            before = row
        return self.rows


def _compressed(archive: Path) -> int:
    with archive.open("rb") as file:
        size = len(gzip.compress(file.read(), 6, mtime=0))
    archive.unlink()
    return size


def waterfall(materials: Materials) -> list[dict[str, Any]]:
    """{part, step, files, bytes, compressed, saved} of each step, in order; sizes in bytes, `compressed` as gzip -6.

    `saved` is None for the first row of a part, and negative where a step adds (byte-code). Nothing is taken from the cache but downloads
    and the installed packages; nothing is left in it. For this machine's own platform.
    """
    platform = native()
    with (
        tempfile.TemporaryDirectory(dir=_folder(), prefix="explain-") as name,
        ThreadPoolExecutor(2) as pool,
    ):
        scratch = Path(name)
        rows = _Rows(scratch, pool)
        materials.runtime.stages.unpack("runtime", platform, scratch / "packages")
        rows.add("base", "Debian packages as they are", scratch / "packages")
        materials.runtime.make(platform, scratch / "base", lambda step, root: rows.add("base", step, root))
        _dependencies(materials, scratch, rows)
        return rows.finished()


def _folder() -> Path:
    store.cache().mkdir(parents=True, exist_ok=True)
    return store.cache()


def _dependencies(materials: Materials, scratch: Path, rows: _Rows) -> None:
    platform = native()
    tree = scratch / "dependencies"
    trim.copy(materials.installed.tree(platform), tree)
    bare = scratch / "bare"
    trim.copy(tree, bare)
    for path in bare.rglob("*.pyc"):
        path.unlink()
    rows.add("dependencies", "wheels as they are", bare)
    rows.add("dependencies", "byte-code", tree)
    work = materials.dependencies.opened(platform, tree)
    for step in trim.STEPS:
        trim.apply(work, step)
        rows.add("dependencies", step.name, tree)


def notes(materials: Materials) -> list[str]:
    """What was decided of the data, and where a word in the configuration would save more."""
    choice, image = materials.dependencies.choice, materials.image
    said = []
    if choice.services is not None:
        origin = "declared" if image.aws_services is not None else "found in the sources"
        said.append(
            f"AWS services, {origin}: {', '.join(choice.services)} (and {', '.join(trim.CREDENTIALS)} for credentials)"
        )
    elif (materials.installed.packages() / "botocore/data").is_dir():
        said.append(
            "AWS services: no source names one, so all stay; name them as aws-services in [tool.lastgood.image]"
        )
    if choice.languages is not None:
        origin = "declared" if image.languages is not None else "by the settings"
        said.append(f"languages, {origin}: {', '.join(choice.languages)}")
    else:
        said.append("languages: all stay; name yours in LANGUAGES, or as languages in [tool.lastgood.image]")
    if choice.sources == "app":
        said.append(
            "sources: the application's stay; tracebacks name file, line and function of other frames, without the text of the line"
        )
    said.append(f"static files of installed packages: {_STATIC[choice.static]}")
    if image.without:
        lost = materials.dependencies.lost(image.without)
        said.append(
            f"without {', '.join(image.without)}: {len(lost)} modules of dependencies can't be imported"
            f"{': ' if lost else ''}{', '.join(lost[:8])}{' …' if len(lost) > 8 else ''}"
        )
    return said


def render(rows: Sequence[dict[str, Any]], said: Sequence[str] = ()) -> str:
    """The waterfall as a table for a terminal, and the notes below it."""
    lines = []
    part = ""
    for row in rows:
        saved = (
            ""
            if row["saved"] is None
            else megabytes(row["saved"])
            if row["saved"] >= 0
            else f"+{megabytes(-row['saved'])}"
        )
        shown = row["part"] if row["part"] != part else ""
        part = row["part"]
        lines.append(
            [shown, row["step"], f"{row['files']}", megabytes(row["bytes"]), megabytes(row["compressed"]), saved]
        )
    body = table(["part", "step", "files", "size", "gzip", "saved"], lines, right=(2, 3, 4, 5))
    return "\n".join([body, *said])
