"""What somebody wants of an environment: which build, who wants it and why, and what it may cost."""

from __future__ import annotations

from dataclasses import dataclass

from lastgood.record.release import BuildFacts, Release

DEPLOY, ROLLBACK, RECREATE = "deploy", "rollback", "recreate"


@dataclass(frozen=True)
class Order:
    """One release to be made of `build`. `kind` is `deploy`, `rollback` or `recreate`.

    `undoes` are the numbers of the releases that it takes back when it is good, `again` also releases a build that is last good
    already, `accept_loss` lets its migrations lose what no rollback brings back; `signed` says who has signed for the build.
    """

    kind: str
    build: BuildFacts
    who: str
    reason: str
    undoes: tuple[int, ...] = ()
    again: bool = True
    accept_loss: bool = False
    signed: str = ""

    @property
    def anew(self) -> bool:
        """Whether the stack is deleted first."""
        return self.kind == RECREATE

    @property
    def service_first(self) -> bool:
        """Whether the service gets the build before the database does, where the build's code can live with what is there.

        The way back is the mirror of the way forward, where it is the old code that meets the new schema, too.
        """
        return self.kind != DEPLOY

    def is_done(self, last: Release | None) -> bool:
        """Whether last good is what is wanted, and nobody wants it again."""
        return last is not None and last.facts.digest == self.build.digest and not self.again
