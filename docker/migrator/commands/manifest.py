"""`manifest`: what this build knows of migrations."""

from __future__ import annotations

from argparse import Namespace

from .. import manifest
from ..errors import UsageError


def make_manifest(args: Namespace) -> int:
    """Print this project's manifest."""
    if not args.build:
        raise UsageError("the build has no name: pass --build NAME or set LASTGOOD_BUILD")
    text = manifest.compute(args.build, args.commit).dumps()
    manifest.loads(text, "this build's manifest")  # who reads it would refuse what is not as the schema says
    print(text, end="")
    return 0
