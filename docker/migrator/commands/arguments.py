"""What the arguments name: this image's manifest, the target, and the stepping stones."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import manifest
from ..database.ledger import Ledger
from ..errors import UsageError
from ..manifest import Manifest

if TYPE_CHECKING:
    from ..manifest.graph import AtomLoader


def own(args: Namespace, loader: AtomLoader | None = None, *, unnamed: str | None = None) -> Manifest:
    """Return this image's manifest: the file that LASTGOOD_MANIFEST names, else computed, of what `loader` has loaded.

    Raise UsageError where the build has no name, which `unnamed` gives it, or another than --build says.
    """
    if args.manifest:
        read = manifest.load(Path(args.manifest))
        if args.build and args.build != read.build:
            raise UsageError(f"the manifest {args.manifest} is of build {read.build}, but --build says {args.build}")
        return read
    name = args.build or unnamed
    if not name:
        raise UsageError("this build has no name: pass --build NAME, or set LASTGOOD_BUILD or LASTGOOD_MANIFEST")
    return manifest.from_loader(loader or manifest.load_files(), name, args.commit)


def target(args: Namespace, ledger: Ledger, image: Manifest | None = None) -> Manifest:
    """Return the manifest that --to names: by its path, or as a build that the ledger knows or `image` is. Raise UsageError for others."""
    if not args.to.startswith("build:"):
        return manifest.load(Path(args.to))
    name = args.to[len("build:") :]
    if image and name == image.build:
        return image
    known = ledger.facts().builds.get(name)
    if known is None:
        raise UsageError(f"the database has never met build {name}: run its `forward`, or pass its manifest's path")
    return known.manifest


def via(args: Namespace) -> tuple[Manifest, ...]:
    """Return the manifests that --via names. Raise UsageError for one that can't be read."""
    return tuple(manifest.load(Path(path)) for path in args.via)
