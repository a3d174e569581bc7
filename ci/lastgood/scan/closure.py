"""Whether every native file of an image finds what it needs inside it: a simulation of ld.so(8) over the image's paths.

Of each program, and of each module that a program may open, the loader's search is followed breadth first: DT_RPATH of the file and of
those that led to it (unless it has DT_RUNPATH), LD_LIBRARY_PATH of the configuration, DT_RUNPATH of the file alone, the folders of
ld.so.conf where an ld.so.cache stands beside it, the default folders. Then each symbol version that a file needs must be one that the
library found for it defines, as glibc checks before it starts a program.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lastgood.platform import ALL, Platform
from lastgood.scan.elf import Elf
from lastgood.scan.view import View


@dataclass(frozen=True)
class Hole:
    """Something that a file needs and the image lacks. `kind`: library, version, interpreter or machine."""

    kind: str
    path: str
    needs: str
    wanted_at: str = ""
    provider: str = ""


@dataclass
class _Loaded:
    """One object in a simulated process."""

    path: str
    elf: Elf
    parent: _Loaded | None = None
    found: dict[str, str] = field(default_factory=dict)


class Loader:
    """The dynamic loader of one platform inside an image; `library_path` is LD_LIBRARY_PATH of the image's configuration."""

    def __init__(self, view: View, platform: str, library_path: Sequence[str] = ()) -> None:
        self.view = view
        self.platform: Platform = ALL.get(platform, ALL["linux/amd64"])
        self.elves: dict[str, Elf] = {
            path: elf for facts in view.layers for path, elf in facts.elves.items() if path in view.entries
        }
        # A name of a library by its file, so that what a link leads to is looked up once.
        self._real: dict[str, str | None] = {}
        triplet = self.platform.triplet
        defaults = [f"lib/{triplet}", f"usr/lib/{triplet}", "lib", "usr/lib", "lib64", "usr/lib64"]
        self.library_path = [folder.strip("/") for folder in library_path if folder]
        self.defaults = [*self._configured(), *defaults]
        self.holes: dict[tuple[str, str, str], Hole] = {}
        self.reached: set[str] = set()

    def _configured(self) -> list[str]:
        """The folders of ld.so.conf and of the files that it includes; without a cache the loader never looks there."""
        if "etc/ld.so.cache" not in self.view.entries:
            return []
        texts = {path: text for facts in self.view.layers for path, text in facts.texts.items()}
        files = ["etc/ld.so.conf", *sorted(path for path in texts if path.startswith("etc/ld.so.conf.d/"))]
        lines = [line.strip() for file in files for line in texts.get(file, "").splitlines()]
        return [line.strip("/") for line in lines if line.startswith("/")]

    def real(self, path: str) -> str | None:
        """The ELF file that a path leads to, None where none is."""
        if path not in self._real:
            found = self.view.resolve(path)
            self._real[path] = found if found in self.elves else None
        return self._real[path]

    def _folders(self, loaded: _Loaded) -> list[str]:
        folders: list[str] = []
        if not loaded.elf.runpath:
            step: _Loaded | None = loaded
            while step:
                folders += _expanded(step.elf.rpath, step.path, self.platform)
                step = step.parent
        return [
            *folders,
            *self.library_path,
            *_expanded(loaded.elf.runpath, loaded.path, self.platform),
            *self.defaults,
        ]

    def find(self, name: str, loaded: _Loaded) -> str | None:
        """The file that the loader takes for a name of DT_NEEDED; one of another machine is passed over, as the loader does."""
        if "/" in name:
            return self.real(name.strip("/"))
        for folder in dict.fromkeys(self._folders(loaded)):
            found = self.real(f"{folder}/{name}")
            if found and (self.elves[found].machine, self.elves[found].bits) == (loaded.elf.machine, loaded.elf.bits):
                return found
        return None

    def load(self, path: str) -> None:
        """Follows one program or module, and notes its holes."""
        first = _Loaded(path, self.elves[path])
        if not self._own(first):
            return
        process: dict[str, _Loaded] = {path: first}
        names: dict[str, str] = {self.elves[path].soname: path}
        queue = [first]
        while queue:
            here = queue.pop(0)
            for name in here.elf.needed:
                found = names.get(name) or self.find(name, here)
                if found is None:
                    self._hole(Hole("library", here.path, name, f"{self.platform.libraries}/{name}"))
                    continue
                names.setdefault(name, found)
                here.found[name] = found
                if found not in process:
                    process[found] = _Loaded(found, self.elves[found], here)
                    names.setdefault(self.elves[found].soname, found)
                    self.reached.add(found)
                    queue.append(process[found])
        for one in process.values():
            self._versions(one)

    def _own(self, one: _Loaded) -> bool:
        if (one.elf.machine, one.elf.bits) != (self.platform.machine, 64):
            self._hole(Hole("machine", one.path, f"{one.elf.machine} ({one.elf.bits} bits)"))
            return False
        if one.elf.interpreter and self.real(one.elf.interpreter.strip("/")) is None:
            self._hole(Hole("interpreter", one.path, one.elf.interpreter, one.elf.interpreter.strip("/")))
        return True

    def _versions(self, one: _Loaded) -> None:
        for library, wanted in one.elf.versions_needed.items():
            provider = one.found.get(library)
            offered = self.elves[provider].versions if provider else ()
            for version in wanted:
                # A library without any versions is taken as it is: the loader only warns.
                if provider and offered and version not in offered:
                    self._hole(Hole("version", one.path, version, provider=provider))

    def _hole(self, hole: Hole) -> None:
        self.holes.setdefault((hole.kind, hole.path, hole.needs), hole)


def _expanded(folders: Sequence[str], path: str, platform: Platform) -> list[str]:
    """Search folders with the loader's own words in them replaced; a relative one depends on where a program is started: left out."""
    origin = f"/{posixpath.dirname(path)}"
    words = {"ORIGIN": origin, "LIB": f"lib/{platform.triplet}", "PLATFORM": platform.machine}
    found = []
    for folder in folders:
        for word, value in words.items():
            folder = folder.replace(f"${{{word}}}", value).replace(f"${word}", value)
        if folder.startswith("/"):
            found.append(posixpath.normpath(folder).strip("/"))
    return found


def holes(view: View, platform: str, library_path: Sequence[str] = ()) -> tuple[Hole, ...]:
    """What is missing, by file. A library that some other file leads to is checked as part of that process only, where its paths hold."""
    loader = Loader(view, platform, library_path)
    libraries = [path for path in sorted(loader.elves) if _library(path, loader.elves[path])]
    for path in sorted(set(loader.elves) - set(libraries)):
        loader.load(path)
    for path in libraries:
        if path not in loader.reached:
            loader.load(path)
    return tuple(sorted(loader.holes.values(), key=lambda hole: (hole.path, hole.needs)))


def _library(path: str, elf: Elf) -> bool:
    """A library to link to, not a program or a module: these are loaded only by others."""
    return not elf.interpreter and bool(elf.soname) and posixpath.basename(path).startswith("lib")


def opened(view: View) -> Mapping[str, tuple[str, ...]]:
    """{file: libraries that it opens by name}, of ELF files and Python sources: nothing proves that they are needed or found."""
    found = {
        path: elf.opens
        for facts in view.layers
        for path, elf in facts.elves.items()
        if elf.opens and path in view.entries
    }
    return found | {path: names for facts in view.layers for path, names in facts.loads.items() if path in view.entries}
