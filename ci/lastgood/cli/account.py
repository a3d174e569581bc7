"""What an account needs."""

from __future__ import annotations

import argparse

from lastgood.cli.common import environment
from lastgood.cli.verbs import load, result, verb


@verb(environment)
def bootstrap(options: argparse.Namespace) -> None:
    """create or update what an account needs once: registry, release record, migration function, roles"""
    from lastgood.deploy import bootstrap as bootstrapper
    from lastgood.deploy.place import Place

    facts = bootstrapper.bootstrap(Place.of(load(options), options.environment).session)
    result(options, facts, "\n".join(f"{key}: {value}" for key, value in facts.items()))
