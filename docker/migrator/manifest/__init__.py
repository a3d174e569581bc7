"""What a build knows of migrations: read from a document, or made of the project's files. No database is needed.

document    what a manifest says, and its text; schema.py checks that against manifest.schema.json
files       makes it: graph.py connects the files, operations.py, kinds.py and effect.py say what each does, squash.py what each stands for
served      what of a project this migrator would pass over
"""

from __future__ import annotations

from . import served
from .document import Manifest, Migration, load, loads
from .files import compute, from_loader, hashes, load_files

__all__ = ["Manifest", "Migration", "compute", "from_loader", "hashes", "load", "load_files", "loads", "served"]
