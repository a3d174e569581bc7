"""From seeds to exact packages: everything that they need, of both architectures at once where a cross compiler needs it.

Rules of architectures: https://wiki.debian.org/Multiarch/Implementation. Control data is read by python-debian.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from debian.deb822 import Packages
from debian.debian_support import version_compare

from lastgood.debian.seeds import Seeds, Stage
from lastgood.errors import UsageError

# What is linked or compiled against is of the architecture that is made; everything else is a program that runs on this one.
_LIBRARIES = ("libs", "libdevel", "oldlibs")
_COMPARED: Mapping[str, Callable[[int, int], bool]] = {
    "<<": operator.lt, "<=": operator.le, "=": operator.eq, ">=": operator.ge, ">>": operator.gt,
}  # fmt: skip

Key = tuple[str, str]  # name, and the architecture of the index that it is taken from


@dataclass(frozen=True)
class Candidate:
    """One version of a package in an archive."""

    archive: str
    stanza: Packages

    @property
    def version(self) -> str:
        """Debian's version."""
        return str(self.stanza["Version"])


class Index:
    """All versions of all packages of one architecture; a stanza is parsed when it is asked for (60,000 of them would take 15 s)."""

    def __init__(self, texts: Iterable[tuple[str, str]]) -> None:
        self._stanzas: dict[str, list[tuple[str, str]]] = {}
        self._providers: dict[str, list[str]] = {}
        self._parsed: dict[str, list[Candidate]] = {}
        for archive, text in texts:
            for stanza in text.split("\n\n"):
                found = re.match(r"Package: (\S+)", stanza)
                if not found:
                    continue
                self._stanzas.setdefault(found.group(1), []).append((archive, stanza))
                provides = re.search(r"^Provides: (.+)$", stanza, re.MULTILINE)
                for part in provides.group(1).split(",") if provides else ():
                    self._providers.setdefault(part.split()[0].split(":")[0], []).append(found.group(1))

    def versions(self, name: str) -> list[Candidate]:
        """All versions of a package, in the order of the suites."""
        if name not in self._parsed:
            self._parsed[name] = [
                Candidate(archive, Packages(stanza)) for archive, stanza in self._stanzas.get(name, ())
            ]
        return self._parsed[name]

    def newest(self, name: str) -> Candidate | None:
        """The newest version; of two that are equal the first suite's."""
        best: Candidate | None = None
        for candidate in self.versions(name):
            if best is None or version_compare(candidate.version, best.version) > 0:
                best = candidate
        return best

    def providers(self, name: str) -> list[str]:
        """The packages that provide a virtual one."""
        return self._providers.get(name, [])

    def nearest(self, name: str) -> list[str]:
        """Up to three names of packages that look like `name`, the most alike first."""
        return difflib.get_close_matches(name, [one for one in self._stanzas if one[0] == name[0]], n=3, cutoff=0.7)


class Resolver:
    """Chooses one version of each package for all stages. `keep` names the versions that stay as long as they exist and fit."""

    def __init__(self, indices: Mapping[str, Index], keep: Mapping[Key, str]) -> None:
        self._indices = indices
        self._keep = dict(keep)

    def resolve(self, seeds: Seeds) -> dict[str, dict[str, list[Candidate]]]:
        """The packages of every stage and architecture.

        Raises UsageError for a package that does not exist, or versions that do not go together (a mirror amid an update).
        """
        while True:
            closures = {
                stage: {one: self._closure(one, wanted, seeds) for one, wanted in table.items()}
                for stage, table in seeds.stages.items()
            }
            clash = next(self._clashes(seeds, closures), None)
            if clash is None:
                return {
                    stage: {one: _listed(chosen) for one, chosen in table.items()} for stage, table in closures.items()
                }
            key, needed, text = clash
            # A kept version that no longer fits gives way, and so does the one that wants another: both to their newest.
            held = [one for one in (key, needed) if self._keep.pop(one, None) is not None]
            if not held:
                raise UsageError(f"{text}: the mirror is amid an update; try again later, or name another mirror")

    def version(self, key: Key) -> Candidate | None:
        """The version of that package: the kept one if it exists, else the newest."""
        name, architecture = key
        kept = self._keep.get(key)
        for candidate in self._indices[architecture].versions(name) if kept else ():
            if candidate.version == kept:
                return candidate
        return self._indices[architecture].newest(name)

    def _closure(self, architecture: str, stage: Stage, seeds: Seeds) -> dict[Key, Candidate]:
        """What the seeds need (Depends and Pre-Depends), but for what is left out on purpose and what only that needs."""
        walk = _Walk(self, self._indices, stage, architecture)
        waiting: list[tuple[Key, str]] = [(walk.seed(one.name, one.architecture), one.asker) for one in stage.wanted]
        asked = {key[0] for key, _ in waiting}
        without = stage.without - asked
        while waiting:
            key, asker = waiting.pop(0)
            if key in walk.chosen:
                continue
            found = self.version(key)
            if found is None:
                raise self._unknown(key, asker, seeds)
            walk.chosen[key] = found
            needed = [group for group in groups(found) if not walk.satisfied(group, key, without)]
            waiting += [(walk.pick(group, key, without), key[0]) for group in needed]
        return walk.chosen

    def _unknown(self, key: Key, asker: str, seeds: Seeds) -> UsageError:
        near = self._indices[key[1]].nearest(key[0])
        hint = f" (the nearest {'name is' if len(near) == 1 else 'names are'} {', '.join(near)})" if near else ""
        return UsageError(
            f"{asker} asks for the Debian package {key[0]!r}, which does not exist in {seeds.suite} for {key[1]}{hint}: mend the name "
            f"in {seeds.file}"
        )

    def _clashes(
        self, seeds: Seeds, closures: Mapping[str, Mapping[str, Mapping[Key, Candidate]]]
    ) -> Iterator[tuple[Key, Key, str]]:
        for stage, table in closures.items():
            for architecture, chosen in table.items():
                walk = _Walk(self, self._indices, seeds.stages[stage][architecture], architecture)
                for key, candidate in chosen.items():
                    for group in groups(candidate):
                        wrong = walk.wrong(group, key, chosen)
                        if wrong:
                            needed, relation = wrong
                            text = (
                                f"{key[0]} {candidate.version} asks for {needed[0]} ({' '.join(relation)}), and the Debian mirror has "
                                f"{chosen[needed].version}"
                            )
                            yield key, needed, text


@dataclass(frozen=True)
class _Relation:
    name: str
    version: tuple[str, str] | None


def groups(candidate: Candidate) -> Iterator[list[_Relation]]:
    """What a package needs: groups of alternatives."""
    relations = candidate.stanza.relations
    for group in [*(relations["pre-depends"] or ()), *(relations["depends"] or ())]:
        yield [_Relation(one["name"], one.get("version")) for one in group]


class _Walk:
    """One closure: which architecture each name is taken of."""

    def __init__(self, resolver: Resolver, indices: Mapping[str, Index], stage: Stage, architecture: str) -> None:
        self._resolver = resolver
        self._indices = indices
        self._machine = stage.machine
        self._target = architecture
        self.chosen: dict[Key, Candidate] = {}

    def seed(self, name: str, architecture: str | None) -> Key:
        """Where a package that a person asks for is taken from."""
        if architecture or self._machine == self._target:
            return name, architecture or self._target
        found = self._resolver.version((name, self._target)) or self._resolver.version((name, self._machine))
        linked = found is not None and (
            found.stanza.get("Multi-Arch") == "same" or found.stanza.get("Section", "").rpartition("/")[2] in _LIBRARIES
        )
        return name, self._target if linked or found is None else self._machine

    def key(self, name: str, asker: Key) -> Key:
        """Where a dependency is taken from: its asker's architecture, but for a program, which has to run on the machine."""
        found = self._resolver.version((name, asker[1]))
        if asker[1] != self._machine and found is not None and found.stanza.get("Multi-Arch") == "foreign":
            return name, self._machine
        return name, asker[1]

    def satisfied(self, group: list[_Relation], asker: Key, without: frozenset[str]) -> bool:
        """Whether one of the alternatives is chosen already or left out on purpose."""
        return any(one.name in without or self.key(one.name, asker) in self.chosen for one in group)

    def pick(self, group: list[_Relation], asker: Key, without: frozenset[str]) -> Key:
        """The alternative to take: the first that exists, or whatever provides it."""
        for one in group:
            key = self.key(one.name, asker)
            if self._resolver.version(key) is not None:
                return key
            providers = [self.key(name, asker) for name in self._indices[asker[1]].providers(one.name)]
            taken = [provider for provider in providers if provider in self.chosen or provider[0] in without]
            if taken or providers:
                return (taken or providers)[0]
        return self.key(group[0].name, asker)

    def wrong(
        self, group: list[_Relation], asker: Key, chosen: Mapping[Key, Candidate]
    ) -> tuple[Key, tuple[str, str]] | None:
        """The chosen alternative whose version does not do, where none does. A provided one is believed."""
        found: tuple[Key, tuple[str, str]] | None = None
        for one in group:
            key = self.key(one.name, asker)
            if key not in chosen:
                continue
            if one.version is None or _fits(chosen[key].version, one.version):
                return None
            found = found or (key, one.version)
        provided = any(
            self.key(name, asker) in chosen for one in group for name in self._indices[asker[1]].providers(one.name)
        )
        return None if provided else found


def _fits(version: str, relation: tuple[str, str]) -> bool:
    return _COMPARED[relation[0]](version_compare(version, relation[1]), 0)


def _listed(chosen: Mapping[Key, Candidate]) -> list[Candidate]:
    """By name and architecture; what is for all architectures once."""
    unique = {(key[0], str(one.stanza["Architecture"])): one for key, one in chosen.items()}
    return [one for _, one in sorted(unique.items())]
