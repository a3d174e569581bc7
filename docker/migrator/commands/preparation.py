"""What `back` and `forward` do before they may decide: the files, the facts, what was interrupted, and who is here."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from .. import manifest
from ..database import connection as database
from ..database.ledger import Identity
from ..decision import interruption
from ..decision.facts import BACK, Facts
from ..decision.world import Manifests
from ..errors import Refused
from ..manifest import Manifest
from ..output import progress
from . import arguments

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from ..database.executor import Executor


def load(connection: BaseDatabaseWrapper, args: Namespace) -> tuple[Executor, Manifest, Facts]:
    """Load this image's files, now that nobody else can change what is applied, and compare them with its manifest."""
    from ..database.executor import Executor
    from ..database.signals import register_receivers

    loader = manifest.load_files()
    image = arguments.own(args, loader)
    register_receivers()
    connection.prepare_database()
    hashes, promised = manifest.hashes(loader), {entry.key: entry.sha256 for entry in image.migrations}
    differing = sorted(key for key in {*hashes, *promised} if hashes.get(key) != promised.get(key))
    if differing:
        raise Refused(f"the files of this image are not those of its manifest: {', '.join(differing)}")
    commit = args.commit or image.commit or ""
    executor = Executor(connection, loader, image, Identity(image.build, args.digest or "", commit, args.actor or ""))
    facts = executor.ledger.facts()
    executor.interrupted = frozenset(facts.started)
    return executor, image, facts


def mend(executor: Executor, args: Namespace, facts: Facts) -> Facts:
    """Run again what was interrupted here, in a direction that it bears whatever had happened of it; then it is known what is applied."""
    from ..database.run import run

    names = Manifests(facts.builds, [executor.manifest]).names()
    for key, started in facts.started.items():
        known = executor.manifest.by_key.get(key)
        if known is None or known.sha256 != started.by.sha256 or not known.again:
            continue
        executor.ledger.ensure()
        progress(f"{key} was interrupted, and bears to be run again: {known.again[0]}")
        applied = names.state(facts.rows)
        originals = names.originals(key)
        applied = applied | originals if known.again[0] == BACK else applied - originals
        executor.start_from(facts.rows, names, applied)
        segments = database.segments(executor.connection, (key,), executor.manifest)
        run(executor, segments, known.again[0], [], retry=args.retry)
        facts = executor.ledger.facts()
    return facts


def taken_up(args: Namespace, facts: Facts, manifests: tuple[Manifest, ...], wanted: Manifest) -> Facts:
    """Return the facts to decide by, what was interrupted included. Raise Refused unless the caller says that it may be run again."""
    if args.resume:
        return interruption.resumed(facts, wanted, Manifests(facts.builds, manifests).names())
    reason = interruption.interrupted(facts)
    if reason:
        raise Refused(reason)
    return facts


def note_builds(executor: Executor, facts: Facts, image: Manifest, wanted: Manifest, via: tuple[Manifest, ...]) -> None:
    """Note in the ledger that this build is here, and the manifests of the others. Raise Refused for one name of two builds."""
    from django.db import transaction

    if wanted.build == image.build and not wanted.same_files(image):
        raise Refused(f"the target is another build {wanted.build} with other migrations: a name is one build's")
    executor.ledger.ensure()
    with transaction.atomic(using=executor.connection.alias):
        executor.ledger.record_build(image, facts, executor.identity)
        for other in {each.build: each for each in (*via, wanted)}.values():
            if other.build != image.build:
                executor.ledger.record_build(other, facts)
