"""The scan of a build: what it weighs and why, whether it runs, and what must not be in it. Facts in one JSON-able document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lastgood.cache import store
from lastgood.config.project import Budget
from lastgood.image.built import Image
from lastgood.report import treemap
from lastgood.scan import audit, budget, closure, contents, cost, owners, packages, rules, view, weigh
from lastgood.scan.contents import Contents
from lastgood.scan.findings import Finding, judge

_FOLDERS = 10  # of an owner, in the picture
FindPackage = Callable[[str, str], tuple[str, ...]]


@dataclass(frozen=True)
class Options:
    """What a scan is told beside the budget. `before` is the build to compare with, `against` its name for people, and why there is
    none where there is none; `known` are the layers of other builds, {digest: bytes}, newest first; `price` is USD a GB and month."""

    accept: Sequence[str] = ()
    before: Contents | None = None
    against: str = ""
    kept: int = cost.KEPT
    price: float = cost.PRICE
    known: Sequence[Mapping[str, int]] = ()
    bandwidths: Sequence[int] = cost.BANDWIDTHS
    mirror: str | None = None
    services: audit.Services | None = None
    find_package: FindPackage | None = None


@dataclass(frozen=True)
class Examined:
    """All that was found out of the image of one platform. `owned` is for reports, `proved` for rules: it believes no claim."""

    side: view.Side
    view: view.View
    owners: owners.Owners
    owned: Mapping[tuple[int, str], str]
    proved: Mapping[tuple[int, str], str]
    pieces: tuple[weigh.Piece, ...]
    configuration: Mapping[str, Any]
    contents: Contents

    def weights(self, what: str) -> tuple[weigh.Weight, ...]:
        """By `layer`, `owner`, `kind` or `folder`."""
        rest = self.side.size - sum(layer.compressed for layer in self.side.layers)
        return weigh.by(self.pieces, what, rest, self.owners if what == "owner" else None)


def examine(image: Image) -> tuple[Examined, ...]:
    """Reads the image of every platform; layers that the cache knows are not opened."""
    return tuple(_examine(image, side) for side in view.sides(image))


def _examine(image: Image, side: view.Side) -> Examined:
    seen = view.read(side.layers)
    whose = owners.Owners(seen)
    owned = owners.attribute(seen, whose)
    claimed = any(layer.claims for layer in seen.layers)
    proved = owners.attribute(seen, whose, claims=False) if claimed else owned
    pieces = tuple(weigh.pieces(seen, owned))
    rest = side.size - sum(layer.compressed for layer in side.layers)
    weights = weigh.by(pieces, "owner", rest, whose)
    sizes = Contents.of(image.build, weights, {layer.digest: layer.compressed for layer in side.layers})
    configuration = view.configuration(image, side.image_id)
    return Examined(side, seen, whose, owned, proved, pieces, configuration, sizes)


def scan(image: Image, limits: Budget | int, options: Options = Options()) -> dict[str, Any]:
    """Facts and findings of a build; sizes in bytes. `limits` is the budget, or its total alone."""
    return facts(image, examine(image), limits if isinstance(limits, Budget) else Budget(total=limits), options)


def facts(image: Image, examined: Sequence[Examined], limits: Budget, options: Options) -> dict[str, Any]:
    """The document of a scan, from what was examined."""
    first = examined[0]
    causes = contents.growth(options.before, first.contents) if options.before else ()
    audited = audit.audit(first.owners, options.services) if options.services else audit.NOTHING
    found = [replace(one, platform=part.side.platform) for part in examined for one in _findings(part, limits, options)]
    judged = judge(
        found if len(examined) > 1 else [replace(one, platform="") for one in found], options.accept, audited.findings
    )
    used = budget.lines(first.contents, limits, options.before)
    return {
        "build": image.build,
        "digest": image.digest,
        "compressed": first.side.size,
        "unpacked": first.side.unpacked,
        "files": first.contents.files,
        "budget": limits.total,
        "budgets": [asdict(line) | {"over": line.over} for line in used],
        "platforms": [_platform(one) for one in examined],
        "layers": _layers(first),
        **{f"{what}s": [one.as_dict(what) for one in first.weights(what)] for what in ("owner", "kind", "folder")},
        "wasted": _wasted(first.view),
        "growth": _growth(first.contents, options, causes),
        "native": _native(first),
        "cost": _cost(first, options),
        "findings": [one.as_dict() for one in judged.findings],
        "accepted": [one.as_dict() for one in judged.accepted],
        "stale": list(judged.stale),
        "notes": _notes(limits, options, judged.stale),
        "vulnerabilities": audited.as_dict(),
    }


def keep(image: Image, examined: Sequence[Examined]) -> None:
    """Leaves the contents of a scanned build in its folder, for later comparisons and for the release record."""
    image.folder.mkdir(parents=True, exist_ok=True)
    with store.replacing(image.folder / contents.FILE) as part:
        part.write_text(examined[0].contents.text() + "\n", encoding="utf-8")


def _findings(one: Examined, limits: Budget, options: Options) -> list[Finding]:
    causes = contents.growth(options.before, one.contents) if options.before else ()
    path = _library_path(one.configuration)
    present = {package.name for package in one.owners.packages}
    find = options.find_package or (lambda path, platform: packages.holding(path, platform, options.mirror))
    return [
        *budget.verdict(one.contents, budget.lines(one.contents, limits, options.before), causes),
        *(
            rules.hole(one.view, group, find(group[0].wanted_at, one.side.platform), present)
            for group in rules.together(closure.holes(one.view, one.side.platform, path))
        ),
        *rules.openssl(one.view, one.proved, one.owners),
        *rules.layers(one.view),
        *rules.configuration(one.configuration),
        *rules.entries(one.view),
        *rules.scripts(one.view, one.configuration)[0],
    ]


def _library_path(configuration: Mapping[str, Any]) -> list[str]:
    environment = [one.partition("=") for one in (configuration.get("config") or {}).get("Env") or ()]
    return next((value.split(":") for name, _, value in environment if name == "LD_LIBRARY_PATH"), [])


def _platform(one: Examined) -> dict[str, Any]:
    side = one.side
    return {"platform": side.platform, "compressed": side.size, "unpacked": side.unpacked, "files": one.contents.files}


def _layers(one: Examined) -> list[dict[str, Any]]:
    """The layers in their order; `largest` are the heaviest owners of each."""
    rows = []
    for layer in one.view.layers:
        mine = weigh.by((piece for piece in one.pieces if piece.layer == layer.name), "owner", 0)
        sizes = {"compressed": layer.compressed, "unpacked": layer.unpacked, "files": layer.files}
        rows.append({"layer": layer.name, "digest": layer.digest, **sizes, "largest": [part.name for part in mine[:3]]})
    return rows


def _wasted(seen: view.View) -> dict[str, Any]:
    largest = sorted(seen.wasted, key=lambda one: -one.packed)[:10]
    return {
        "compressed": sum(one.packed for one in seen.wasted),
        "unpacked": sum(one.size for one in seen.wasted),
        "files": len(seen.wasted),
        "largest": [asdict(one) for one in largest],
    }


def _growth(now: Contents, options: Options, causes: Sequence[contents.Cause]) -> dict[str, Any] | None:
    if options.before is None:
        return None
    return {
        "against": options.against,
        "build": options.before.build,
        "compressed": now.size - options.before.size,
        "unpacked": now.unpacked - options.before.unpacked,
        "files": now.files - options.before.files,
        "causes": [one.as_dict() for one in causes],
    }


def _native(one: Examined) -> dict[str, Any]:
    """Of the native files, and what is loaded by name: `in_image` says which of those names lead to a file."""
    opened = closure.opened(one.view)
    names = {path.rpartition("/")[2] for path in one.view.entries}
    loads = [
        {"path": path, "opens": list(found), "in_image": [name for name in found if name in names]}
        for path, found in opened.items()
    ]
    files = sum(path in one.view.entries for layer in one.view.layers for path in layer.elves)
    return {
        "files": files,
        "opens": loads,
        "scripts_without_interpreter": rules.scripts(one.view, one.configuration)[1],
    }


def _cost(one: Examined, options: Options) -> dict[str, Any]:
    known = [dict(one.contents.layers), *options.known]
    return {
        "storage": cost.storage(one.side.size, known, options.kept, options.price),
        "pull_seconds": cost.pull(one.side.size, options.bandwidths),
    }


def _notes(limits: Budget, options: Options, stale: Sequence[str]) -> list[str]:
    notes = []
    if options.before is None and options.against:
        notes.append(f"growth was not looked at: {options.against}")
    elif options.before is None and limits.growth is not None:
        notes.append("budget.growth was not checked: name what to compare with, as --against last-good")
    notes += [f"accepted, but no longer found: remove {entry!r} from [tool.lastgood.image] accept" for entry in stale]
    return notes


def tree(one: Examined) -> tuple[treemap.Node, ...]:
    """Layers → owners → their largest folders, for the picture."""
    layers = []
    for layer in one.view.layers:
        owned: dict[str, dict[str, list[int]]] = {}
        for piece in one.pieces:
            if piece.layer == layer.name:
                sums = owned.setdefault(piece.owner, {}).setdefault(_branch(piece.entry.path, piece.entry.kind), [0, 0])
                sums[0] += piece.entry.packed
                sums[1] += piece.entry.size
        nodes = [_node(one, owner, folders) for owner, folders in owned.items()]
        children = tuple(sorted(nodes, key=lambda node: -node.size))
        layers.append(treemap.Node(layer.name, layer.compressed, layer.unpacked, children=children))
    return tuple(layers)


def _branch(path: str, kind: str) -> str:
    """The folder that a file is drawn in: two levels below where distributions or the system's libraries lie."""
    parts = path.split("/") if kind == "folder" else path.split("/")[:-1]
    if parts[-1:] == ["__pycache__"]:  # byte-code is drawn with its sources
        parts = parts[:-1]
    for number, part in enumerate(parts):
        if part in ("site-packages", "dist-packages"):
            return "/".join(parts[number + 1 : number + 3]) or "/"
    return "/".join(parts[:4] if parts[:1] == ["usr"] else parts[:2]) or "/"


def _node(one: Examined, owner: str, folders: Mapping[str, Sequence[int]]) -> treemap.Node:
    origin, _, name = owner.partition(":")
    heaviest = sorted(folders.items(), key=lambda pair: -pair[1][0])
    parts = [treemap.Node(folder, packed, size) for folder, (packed, size) in heaviest[:_FOLDERS]]
    rest = heaviest[_FOLDERS:]
    if rest:
        parts.append(treemap.Node("others", sum(sums[0] for _, sums in rest), sum(sums[1] for _, sums in rest)))
    packed, size = (sum(sums[number] for sums in folders.values()) for number in (0, 1))
    title = name or {"project": "the project", "lastgood": "lastgood"}.get(origin, origin)
    return treemap.Node(title, packed, size, origin, one.owners.version(owner), tuple(parts))
