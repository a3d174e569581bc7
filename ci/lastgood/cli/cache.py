"""The cache of downloads and layers."""

from __future__ import annotations

import argparse

from lastgood.cli.verbs import flag, result, verb


@verb(
    flag("--prune", help="remove what was not used for long, and what is too much"),
    flag("--clear", help="remove everything but what the newest builds need"),
)
def cache(options: argparse.Namespace) -> None:
    """what the cache of downloads and layers holds, by kind; --prune what is old or too much, --clear all that no build needs"""
    from lastgood.cache import prune, store
    from lastgood.report.terminal import megabytes

    folder = store.cache()
    removed, freed = (0, 0)
    if options.prune or options.clear:
        removed, freed = (prune.clear if options.clear else prune.prune)(folder)
    facts = prune.summary(folder) | {"removed": removed, "freed": freed}
    text = prune.render(facts)
    if options.prune or options.clear:
        text += f"\n{removed} entries removed, {megabytes(freed)} freed"
    result(options, facts, text)
