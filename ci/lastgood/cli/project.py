"""A project that is there already, and becomes one that lastgood ships."""

from __future__ import annotations

import argparse
from pathlib import Path

from lastgood.cli.verbs import flag, load, option, result, verb
from lastgood.errors import Refused, UsageError


@verb(
    flag("--dry-run", help="write nothing; show what would be written"),
    flag("--check", help="write nothing; fail when the repository says what the configuration does not"),
    option(
        "--bundle", default="OWNER/lastgood", metavar="OWNER/NAME", help="the repository whose workflows yours call"
    ),
    option("--bundle-version", default="v1.0.0", metavar="TAG", help="the release of it that they call (v1.0.0)"),
)
def init(options: argparse.Namespace) -> None:
    """in a repository of yours: find what it is, write [tool.lastgood], workflows and .gitignore, say what is left to do"""
    from lastgood.adopt import examine, telling, writing

    root = Path(options.project).resolve()
    if not root.is_dir():
        raise UsageError(f"{root} is no folder: name that of your project with --project")
    found = examine.find(root)
    files = writing.plan(root, found, options.bundle, options.bundle_version)
    facts = {
        "found": found.as_dict(),
        "files": [{"path": str(file.path), "state": file.state, "text": file.text} for file in files],
        "next": list(telling.following(found, files, options.bundle)),
    }
    if options.check:
        drifted = list(writing.drift(load(options), found, files))
        result(
            options, facts | {"drift": drifted}, "\n".join(drifted) or "the configuration says what the repository says"
        )
        if drifted:
            raise Refused(f"{len(drifted)} of what the repository says is not in its configuration: see above")
        return
    if not options.dry_run:
        writing.write(files)
    result(options, facts, telling.text(root, found, files, options.bundle, dry_run=options.dry_run))
