"""The floor: what the processes really open in the image while they start, check the migrations and answer; no image can hold less.

strace watches inside the container (it is brought in from this machine, with the libraries it needs, by a volume). `-y` prints the path
behind each descriptor, so links are resolved as the kernel did it.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from lastgood.report.terminal import step

from bench import containers, sizes
from bench.machine import run
from bench.projects import Subject

_OPENED = re.compile(r"open(?:at|at2)?\(.*\) = \d+<(/[^>]*)>")
_EXECUTED = re.compile(r'execve(?:at)?\((?:AT_FDCWD, )?"([^"]+)".* = 0$')


def opened(trace: str) -> set[str]:
    """The paths (without leading slash) that a trace of `strace -f -y -e trace=open,openat,openat2,execve` opened or executed."""
    found = set()
    for line in trace.splitlines():
        match = _OPENED.search(line) or _EXECUTED.search(line)
        if match:
            found.add(match.group(1).lstrip("/"))
    return found


def resolve(path: str, entries: Mapping[str, sizes.Entry]) -> str:
    """`path` with the image's own symbolic links followed (at most 40, as the kernel does)."""
    for _ in range(40):
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            head = "/".join(parts[:count])
            entry = entries.get(head)
            if entry and entry.member.issym():
                base = "" if entry.member.linkname.startswith("/") else "/".join(parts[: count - 1])
                path = _normal("/".join((base, entry.member.linkname, *parts[count:])))
                break
        else:
            return path
    return path


def _normal(path: str) -> str:
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            kept = kept[:-1]
        elif part not in ("", "."):
            kept.append(part)
    return "/".join(kept)


def measure(
    client: Any, subject: Subject, image: containers.Image, place: containers.Place, folder: Path
) -> dict[str, int]:
    """files, unpacked, gzip and zstd of the floor of `image`, and the bytes of files that it has beside them."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch, step(f"floor of {image.name}"):
        tools = _strace(Path(scratch) / "strace")
        output = Path(scratch) / "out"
        output.mkdir(mode=0o777)
        output.chmod(0o777)
        volumes = {str(tools): {"bind": "/strace", "mode": "ro"}, str(output): {"bind": "/out", "mode": "rw"}}
        watched = containers.Watched(volumes, _command)
        with place.started(subject, image, watched) as container:
            containers.first_answer(container, subject.paths[0])
            password = place.passwords[subject.name]
            static = containers.as_staff(container, subject.login, subject.staff, subject.name, password)
            static += containers.static_of(container, subject.paths)
            containers.requests(container, [*subject.paths, *dict.fromkeys(static)])
        place.finish(subject, image, [*image.python, "manage.py", "migrate", "--check"], watched)
        trace = "".join(file.read_text(encoding="utf-8", errors="replace") for file in output.iterdir())
        with sizes.saved(client, image.tag, folder) as found:
            return _weigh(found, opened(trace), Path(scratch), folder)


def _command(arguments: list[str], name: str) -> tuple[list[str], list[str]]:
    """(entry point, arguments) that run `arguments` under strace."""
    strace = ["/strace/loader", "--library-path", "/strace", "/strace/strace"]
    return strace, [
        "-f",
        "-y",
        "-s",
        "4096",
        "-e",
        "trace=open,openat,openat2,execve",
        "-o",
        f"/out/{name}",
        *arguments,
    ]


def _strace(target: Path) -> Path:
    """A folder with strace, the libraries it needs and their loader."""
    target.mkdir()
    program = shutil.which("strace")
    assert program is not None
    shutil.copy(program, target / "strace")
    for line in run(["ldd", program]).splitlines():
        for path in re.findall(r"(/\S+) \(0x", line):
            shutil.copy(path, target / Path(path).name)
            if Path(path).name.startswith("ld-"):
                shutil.copy(path, target / "loader")
    target.chmod(0o755)
    return target


def _weigh(found: sizes.Saved, paths: Iterable[str], scratch: Path, folder: Path) -> dict[str, int]:
    entries = sizes.merged(found.layers)
    used = {resolve(path, entries) for path in paths}
    used |= {resolve(path.lstrip("/"), entries) for path in _interpreters(found, entries, used)}
    kept = sorted(path for path in used if path in entries and entries[path].member.isreg())
    target = scratch / "floor.tar"
    archives = [tarfile.open(layer) for layer in found.layers]  # noqa: SIM115
    try:
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
            for path in kept:
                entry = entries[path]
                archive.addfile(entry.member, archives[entry.layer].extractfile(entry.member))
    finally:
        for opened_ in archives:
            opened_.close()
    weights = sizes.compressed([target], folder / "compressed.json")
    return {"files": len(kept), "unpacked": sum(entries[path].size for path in kept)} | weights


def _interpreters(found: sizes.Saved, entries: Mapping[str, sizes.Entry], paths: Iterable[str]) -> set[str]:
    """The loaders of the programs among `paths`: the kernel opens them, which no trace shows."""
    wanted = set()
    for path in paths:
        entry = entries.get(path)
        if entry is None or not entry.member.isreg() or not entry.member.mode & 0o111:
            continue
        with tarfile.open(found.layers[entry.layer]) as archive:
            content = archive.extractfile(entry.member)
            body = content.read() if content else b""
        if body[:4] == b"\x7fELF":
            segments = ELFFile(io.BytesIO(body)).iter_segments(type="PT_INTERP")
            wanted |= {segment.get_interp_name() for segment in segments}  # type: ignore[attr-defined]
    return wanted
