"""What a decision is made of: the phases of a route, the segments of a phase, and what one build's image is to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..manifest.document import Manifest


@dataclass(frozen=True)
class Phase:
    """One call of one build's image."""

    build: str
    direction: str
    migrations: tuple[str, ...]


@dataclass(frozen=True)
class Segment:
    """Migrations that run in one transaction, or, if not `atomic`, one migration that runs outside any."""

    atomic: bool
    migrations: tuple[str, ...]

    def halves(self) -> tuple[Segment, Segment]:
        """Return two segments that do the same one after the other."""
        middle = len(self.migrations) // 2
        return Segment(self.atomic, self.migrations[:middle]), Segment(self.atomic, self.migrations[middle:])


@dataclass(frozen=True)
class Decision:
    """What this image is to do: `migrations` in the order to run; `status` is run, nothing, needs or refused.

    After `run`, `rest` says what is left for the build `needs`, which goes `needs_direction` (back or forward).
    """

    status: str
    migrations: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    needs: str | None = None
    needs_digest: str | None = None
    needs_direction: str | None = None
    reason: str | None = None


def segments(
    order: Iterable[str], image: Manifest, *, together: bool, transactional: bool = True
) -> tuple[Segment, ...]:
    """Cut `order` into what runs in one transaction.

    `together`: the database can run several migrations in one; `transactional`: it can undo changes of the schema at all.
    """
    cut: list[Segment] = []
    for key in order:
        atomic = image[key].atomic and transactional
        if cut and together and atomic and cut[-1].atomic:
            cut[-1] = Segment(True, (*cut[-1].migrations, key))
        else:
            cut.append(Segment(atomic, (key,)))
    return tuple(cut)
