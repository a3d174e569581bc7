"""The results as docs/benchmarks.md: generated, never written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.verdict import Figure, Goal, ratios

_HEAD = """\
# Benchmarks

Made by `make bench` and never edited by hand. It builds both sides on one machine in one run: lastgood's image, and the images that
others make of the same project with the same locked dependencies. `make bench ONLY=size` measures one part anew ({parts}).
"""
_PEERS = """\
## What is compared

| image | what it is |
|---|---|
{rows}

In favour of the others: the Debian packages of their stages lie in their bases already (no build of theirs is charged for them), static
files are collected while the image is built, their wheels come from a server on loopback. What lastgood compiles from source (psycopg-c)
they take as the ready-made wheel of the same version. The distroless image has no byte-code of dependencies but what pip compiles.
All images run with a read-only root, /tmp in memory, and a PostgreSQL 17 on a network of their own; rounds take turns (A B C D A B C D).
Sizes are in MB of 10⁶ bytes.
"""
_COMPARED = {
    "lastgood": "`lastgood build`, as this repository is",
    "slim": "`python:3.13-slim` rebuilt: minimal Debian {suite} with docker-slim's excludes, and CPython from Debian's source with "
    "docker-library's flags (PGO, LTO, shared library); one stage, `pip install --no-cache-dir`, run as root",
    "multi-stage": "cookiecutter-django's way: compilers and uv (byte-code compiled) in a builder, the virtual environment and the code "
    "copied into slim with libpq-dev, gettext and wait-for-it",
    "distroless": "Google's `python3-debian13` rebuilt from its package list, with a virtual environment made as in Google's example",
}
_UNITS = {"MB": (1e6, 1), "kB": (1e3, 1), "s": (1.0, 2)}
_FLOOR = """\
The floor is what the processes of lastgood's image really open (strace) while they boot, run `migrate --check` and answer one request for
each of some pages (of a visitor, and of a superuser in the admin, who logs in) and for the static files that these refer to: those files
alone, in one archive."""
_COMMANDS = """\
Commands: `lastgood build`, `lastgood build --load`, `docker build` (the engine's own builder with its layer cache). Upload: the compressed
bytes that a registry which holds the build before does not have."""
PARTS = ("size", "build", "code", "start", "memory", "floor")


def page(results: Mapping[str, Any], suite: str) -> str:
    """The whole document. `results`: {"machine": {...}, "subjects": {name: {"title", "versions", "measured": {part: date}, part: …}}}."""
    lines = [_HEAD.format(parts=", ".join(PARTS))]
    lines += ["## Goals", "", *_goals(results["subjects"]), ""]
    lines += ["## Machine", "", *(f"- {key}: {value}" for key, value in results["machine"].items()), ""]
    compared = [f"| {name} | {text.format(suite=suite)} |" for name, text in _COMPARED.items()]
    lines.append(_PEERS.format(rows="\n".join(compared)))
    for subject in results["subjects"].values():
        lines += [*_subject(subject)]
    return "\n".join(lines).rstrip() + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)] + [""]


def _amount(goal: Goal, value: float) -> str:
    divisor, digits = _UNITS[goal.unit]
    return f"{value / divisor:.{digits}f} {goal.unit}"


def _goals(subjects: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            f"{name}: {goal.text}",
            _amount(goal, goal.ours),
            _amount(goal, goal.theirs),
            f"{goal.ratio:.2f}×",
            f"≤ {goal.limit:.2f}×",
            "met" if goal.met else "**not met**",
        ]
        for name, subject in subjects.items()
        for goal in ratios(subject)
    ]
    return _table(["goal", "lastgood", "against", "ratio", "promised", ""], rows)


def _subject(subject: Mapping[str, Any]) -> list[str]:
    lines = [f"## {subject['title'][0].upper()}{subject['title'][1:]}", ""]
    lines += [f"{subject['packages']} locked packages, among them {', '.join(subject['versions'])}.", ""]
    sections = {"size": _size, "build": _build, "start": _start, "memory": _memory}
    for part, section in sections.items():
        if subject.get(part):
            parts = ("build", "code") if part == "build" else (part,)
            dates = dict.fromkeys(subject["measured"][one] for one in parts if one in subject["measured"])
            lines += [*section(subject), f"Measured {', '.join(dates)}.", ""]
    return lines


def _mb(value: float) -> str:
    return f"{value / 1e6:.1f}"


def _size(subject: Mapping[str, Any]) -> list[str]:
    rows = [
        [name, str(one["files"]), _mb(one["unpacked"]), _mb(one["gzip"]), _mb(one["zstd"]), _mb(one["pushed"])]
        for name, one in subject["size"].items()
    ]
    floor = subject.get("floor")
    if floor:
        ours = subject["size"]["lastgood"]
        rows.append(
            ["*floor*", str(floor["files"]), _mb(floor["unpacked"]), _mb(floor["gzip"]), _mb(floor["zstd"]), ""]
        )
        ratio = [f"{ours[kind] / floor[kind]:.2f}×" for kind in ("files", "unpacked", "gzip", "zstd")]
        rows.append(["*lastgood / floor*", *ratio, ""])
        least = [
            f"{floor[kind] / subject['size']['distroless'][kind]:.2f}×"
            for kind in ("files", "unpacked", "gzip", "zstd")
        ]
        rows.append(["*floor / distroless*", *least, ""])
    lines = ["### Size", ""]
    lines += _table(["image", "files", "unpacked MB", "gzip -6 MB", "zstd -19 MB", "as pushed MB"], rows)
    if floor:
        lines += [_FLOOR, ""]
    return lines


def _build(subject: Mapping[str, Any]) -> list[str]:
    lines = ["### Builds and uploads", ""]
    for kind, text in (
        (
            "cold",
            "nothing cached (lastgood fetches its Debian packages and wheels from the network, too; the others have their base)",
        ),
        ("dependency", "one dependency in another version"),
        ("code", "one line of a view changed"),
        (
            "model",
            "one line of models.py changed, which static files and the manifest are made with: lastgood makes them again",
        ),
    ):
        if kind not in subject["build"]:
            continue
        runs = subject["build"][kind]
        rows = [
            [side, Figure.of(times).seconds(), str(len(times)), _upload(subject["upload"][kind].get(side))]
            for side, times in runs.items()
        ]
        lines += [f"**{text[0].upper()}{text[1:]}**", ""]
        lines += _table(["build", "median (least–most)", "n", "upload"], rows)
    return [*lines, _COMMANDS, ""]


def _upload(size: float | None) -> str:
    if size is None:
        return "as above"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _start(subject: Mapping[str, Any]) -> list[str]:
    kinds = {"warm": "warm", "cold": "cold (layer files evicted)", "migrate": "`migrate --check`"}
    start = subject["start"]
    rows = [[name, *(f"{Figure.of(start[kind][name]).seconds()}" for kind in kinds)] for name in start["warm"]]
    count = {kind: min(len(runs) for runs in start[kind].values()) for kind in kinds}
    header = ["image", *(f"{text}, n={count[kind]}" for kind, text in kinds.items())]
    return [
        "### Start",
        "",
        "From the creation of the container to its first answer; medians (least–most).",
        "",
        *_table(header, rows),
    ]


def _memory(subject: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            name,
            *(
                _mb(Figure.of([run[when][kind] for run in runs]).median)
                for when in ("first", "busy")
                for kind in ("rss", "pss")
            ),
        ]
        for name, runs in subject["memory"].items()
    ]
    header = ["image", "RSS MB, first answer", "PSS MB, first answer", "RSS MB, 40 requests", "PSS MB, 40 requests"]
    count = min(len(runs) for runs in subject["memory"].values())
    return [
        "### Memory",
        "",
        f"All processes of the container together; medians, n={count}.",
        "",
        *_table(header, rows),
    ]
