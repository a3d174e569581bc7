"""A picture of what is in an image: layers, in them owners, in these their largest folders; each area is its compressed size.

One static SVG without scripts: light or dark as the viewer prefers, a tooltip on every tile, and a description for those who do not see it.
Tiles are laid out by squarify (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax import saxutils

import squarify

from lastgood.report.terminal import megabytes
from lastgood.report.text import line

_WIDTH, _HEIGHT, _TOP, _BOTTOM = 1280, 800, 54, 40
_CHARACTER = 0.57  # of the font's size: the mean width of a character, on the safe side
_ORIGINS = {"python": "Python distributions", "debian": "Debian packages", "project": "the project", "lastgood": "lastgood",
            "unattributed": "unattributed"}  # fmt: skip
_COLOURS = {  # origin: (light frame, light tile, dark frame, dark tile)
    "python": ("#9cc3f5", "#d5e6fb", "#2c578c", "#1c3657"),
    "debian": ("#f0aeb4", "#fadfe1", "#7d3a46", "#4d242c"),
    "project": ("#98d6a6", "#d3f0da", "#2f6b40", "#1d4228"),
    "lastgood": ("#c3aef0", "#e6dcfa", "#57439a", "#352a5c"),
    "unattributed": ("#c4c8cd", "#e6e8ea", "#565d66", "#363b42"),
}


@dataclass(frozen=True)
class Node:
    """A part of the image. `size` is compressed bytes, `unpacked` as it says; `origin` is the kind of owner, empty for a layer."""

    name: str
    size: int
    unpacked: int
    origin: str = ""
    note: str = ""
    children: Sequence[Node] = ()


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float

    def inside(self, top: float, edge: float) -> _Box:
        return _Box(self.x + edge, self.y + top, max(self.width - 2 * edge, 0), max(self.height - top - edge, 0))


def write(target: Path, layers: Sequence[Node], facts: Mapping[str, Any]) -> None:
    """Writes the picture of the layers to `target`; `facts` are the scan's."""
    target.write_text(draw(layers, facts), encoding="utf-8")


def draw(layers: Sequence[Node], facts: Mapping[str, Any]) -> str:
    """The SVG document."""
    title = f"Image of build {facts['build']}"
    sizes = (
        f"{megabytes(facts['compressed'])} compressed, {megabytes(facts['unpacked'])} unpacked, {facts['files']} files"
    )
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="title about">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="about">{escape(_about(layers, sizes))}</desc>',
        f"<style>{_style()}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{_HEIGHT}"/>',
        f'<text class="head" x="16" y="34">{escape(title)}</text>',
        f'<text class="sizes" x="{_WIDTH - 16}" y="34" text-anchor="end">{escape(sizes)}</text>',
        *_layers(layers),
        *_legend(layers),
        "</svg>",
    ]
    return "\n".join(body) + "\n"


def escape(text: str) -> str:
    """Text for XML, which has no place for control characters at all."""
    return saxutils.escape(line(text))


def _kind(node: Node) -> str:
    """The class of an owner: of those that there are, as a layer may say of its files' owners what it likes."""
    return node.origin if node.origin in _COLOURS else "unattributed"


def _about(layers: Sequence[Node], sizes: str) -> str:
    parts = [f"A treemap by compressed size: {sizes}."]
    for layer in layers:
        largest = ", ".join(f"{one.name} {megabytes(one.size)}" for one in layer.children[:3])
        parts.append(f"Layer {layer.name}, {megabytes(layer.size)}: {largest}.")
    return " ".join(parts)


def _style() -> str:
    common = (
        "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;pointer-events:none}"
        ".head{font-size:20px;font-weight:600}.sizes{font-size:15px}.layer-name{font-size:14px;font-weight:600}"
        ".name{font-size:13px;font-weight:600}.name.small{font-size:11px}.size,.folder{font-size:11px}.key{font-size:13px}"
        "rect{shape-rendering:crispEdges}.tile{stroke-width:1}"
    )
    light = [".page{fill:#fff}text{fill:#1b1f24}.quiet{fill:#49525c}.layer{fill:#eef0f2}.tile{stroke:#fff}"]
    dark = [".page{fill:#0d1117}text{fill:#f0f3f6}.quiet{fill:#c3cad2}.layer{fill:#20262e}.tile{stroke:#0d1117}"]
    for origin, (frame, tile, dark_frame, dark_tile) in _COLOURS.items():
        light.append(f".{origin}{{fill:{tile}}}.{origin}-frame{{fill:{frame}}}")
        dark.append(f".{origin}{{fill:{dark_tile}}}.{origin}-frame{{fill:{dark_frame}}}")
    return f"{common}{''.join(light)}@media(prefers-color-scheme:dark){{{''.join(dark)}}}"


def _placed(nodes: Sequence[Node], box: _Box) -> Iterator[tuple[Node, _Box]]:
    shown = sorted((node for node in nodes if node.size > 0), key=lambda node: -node.size)
    if not shown or box.width < 1 or box.height < 1:
        return
    sizes = squarify.normalize_sizes([node.size for node in shown], box.width, box.height)
    for node, place in zip(shown, squarify.squarify(sizes, box.x, box.y, box.width, box.height), strict=True):
        yield node, _Box(place["x"], place["y"], place["dx"], place["dy"])


def _layers(layers: Sequence[Node]) -> Iterator[str]:
    for layer, box in _placed(layers, _Box(14, _TOP, _WIDTH - 28, _HEIGHT - _TOP - _BOTTOM)):
        yield f"<g><title>{escape(f'layer {layer.name}: {_sizes(layer)}')}</title>"
        yield _rect(box.inside(2, 2), "layer")
        label = _whole(f"{layer.name} · {megabytes(layer.size)}", box.width - 14, 14)
        headed = bool(label) and box.height > 44
        yield _text(box.x + 8, box.y + 19, label if headed else "", "layer-name")
        yield "</g>"
        for owner, place in _placed(layer.children, box.inside(26 if headed else 3, 3)):
            yield from _owner(layer, owner, place, "" if headed else f"{layer.name}: ")


def _owner(layer: Node, owner: Node, box: _Box, before: str) -> Iterator[str]:
    what = f"{owner.name} {owner.note}".strip()
    tip = f"{what} in layer {layer.name}: {_sizes(owner)}"
    # One folder that is nearly all of it says nothing.
    divided = len(owner.children) > 1 and max(one.size for one in owner.children) < 0.95 * owner.size
    nested = divided and box.width > 110 and box.height > 64
    yield f"<g><title>{escape(tip)}</title>{_rect(box, f'tile {_kind(owner)}-frame' if nested else f'tile {_kind(owner)}')}"
    if box.height > 20:
        yield from _owner_label(owner, box, f"{before}{owner.name}", nested)
    yield "</g>"
    if nested:
        for folder, place in _placed(owner.children, box.inside(21, 2)):
            yield f"<g><title>{escape(f'{folder.name} of {what}: {_sizes(folder)}')}</title>{_rect(place, f'tile {_kind(owner)}')}"
            label = _fitted(folder.name.rpartition("/")[2] or folder.name, place.width - 8, 11)
            if label and place.height > 16:
                yield _text(place.x + 4, place.y + 13, label, "folder")
                if place.height > 32:
                    yield _text(
                        place.x + 4, place.y + 26, _whole(megabytes(folder.size), place.width - 8, 11), "size quiet"
                    )
            yield "</g>"


def _owner_label(owner: Node, box: _Box, name: str, nested: bool) -> Iterator[str]:
    large = _whole(name, box.width - 10, 13)
    shown = large or _fitted(name, box.width - 10, 11)
    if not shown:
        return
    yield _text(box.x + 5, box.y + 15, shown, "name" if large else "name small")
    size = megabytes(owner.size)
    if nested:
        room = box.width - 18 - 13 * _CHARACTER * len(shown)
        rest = _whole(f"{owner.note} · {size}", room, 11) if owner.note else ""
        yield _text(box.x + box.width - 5, box.y + 15, rest or _whole(size, room, 11), "size quiet", "end")
    elif box.height > 34:
        rest = _whole(f"{owner.note} · {size}", box.width - 10, 11) if owner.note else ""
        yield _text(box.x + 5, box.y + 29, rest or _whole(size, box.width - 10, 11), "size quiet")


def _legend(layers: Sequence[Node]) -> Iterator[str]:
    sums: dict[str, int] = {}
    for layer in layers:
        for owner in layer.children:
            sums[_kind(owner)] = sums.get(_kind(owner), 0) + owner.size
    x = 16.0
    for origin, title in _ORIGINS.items():
        if sums.get(origin):
            label = f"{title} · {megabytes(sums[origin])}"
            yield _rect(_Box(x, _HEIGHT - 26, 14, 14), f"{origin}-frame")
            yield _text(x + 21, _HEIGHT - 14, label, "key")
            x += 21 + len(label) * 13 * _CHARACTER + 24


def _sizes(node: Node) -> str:
    return f"{megabytes(node.size)} compressed, {megabytes(node.unpacked)} unpacked"


def _whole(label: str, width: float, size: float) -> str:
    """The label if all of it fits, else nothing."""
    return label if len(label) <= int(width / (size * _CHARACTER)) else ""


def _fitted(label: str, width: float, size: float) -> str:
    """As much of a label as fits, cut with an ellipsis; empty where nothing that says something does."""
    room = int(width / (size * _CHARACTER))
    if len(label) <= room:
        return label
    return f"{label[: room - 1].rstrip('-._ /')}…" if room >= 5 else ""


def _rect(box: _Box, kind: str) -> str:
    return f'<rect class="{kind}" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"/>'


def _text(x: float, y: float, label: str, kind: str, anchor: str = "") -> str:
    end = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{end}>{escape(label)}</text>' if label else ""
