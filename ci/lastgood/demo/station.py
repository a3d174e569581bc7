"""One part of the demo: which commands ran in it, what was expected of it, and what held."""

from __future__ import annotations

from dataclasses import dataclass, field

from lastgood.report.terminal import say


@dataclass
class Expectation:
    """One thing that must hold after a station."""

    text: str
    held: bool
    found: str = ""


@dataclass
class Command:
    """One command that ran: its arguments, exit status and duration in seconds."""

    line: str
    status: int
    seconds: float


@dataclass
class Station:
    """One part of the story, with what happened in it. `asked` and `failed` count the visitor's questions."""

    title: str
    began: str
    seconds: float = 0.0
    commands: list[Command] = field(default_factory=list)
    expectations: list[Expectation] = field(default_factory=list)
    asked: int = 0
    failed: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    outcome: str = ""

    def expect(self, text: str, held: bool, found: object = "") -> None:
        """Records whether an expectation held; the run goes on, and its exit status tells."""
        self.expectations.append(Expectation(text, held, str(found)))
        say(f"{'✓' if held else '✗'} {text}" + (f" (found: {found})" if not held and found != "" else ""))

    @property
    def held(self) -> bool:
        """Whether all of them did."""
        return all(expectation.held for expectation in self.expectations)
