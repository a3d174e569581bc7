"""What an ELF file needs and offers, as the dynamic loader sees it. Parsed by pyelftools; terms are those of the ELF gABI and ld.so(8)."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection
from elftools.elf.segments import InterpSegment

from lastgood.scan import loads

MAGIC = b"\x7fELF"
_WEAK = 0x2  # VER_FLG_WEAK: the program runs without that version
_BASE = 0x1  # VER_FLG_BASE: the file's own name, not a version
_MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64", "EM_386": "i386", "EM_ARM": "arm"}
_OPENSSL = re.compile(rb"OpenSSL (\d+\.\d+\.\d+[a-z]?) +\d{1,2} [A-Z][a-z]{2} \d{4}")


@dataclass(frozen=True)
class Elf:
    """One ELF file. `versions_needed` is {library: symbol versions}; `openssl` is the version of an OpenSSL that is inside it."""

    machine: str
    bits: int
    interpreter: str = ""
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    versions_needed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    versions: tuple[str, ...] = ()
    openssl: str = ""
    opens: tuple[str, ...] = ()
    dynamic: bool = True

    def as_row(self) -> list[Any]:
        """JSON-able, in the order of the fields."""
        return [getattr(self, name) for name in self.__dataclass_fields__]

    @classmethod
    def of(cls, row: Sequence[Any]) -> Elf:
        """From what `as_row` gave."""
        machine, bits, interpreter, soname, needed, rpath, runpath, wanted, versions, openssl, opens, dynamic = row
        return cls(
            machine, bits, interpreter, soname, tuple(needed), tuple(rpath), tuple(runpath),
            {name: tuple(found) for name, found in wanted.items()}, tuple(versions), openssl, tuple(opens), dynamic,
        )  # fmt: skip


def parse(content: bytes) -> Elf | None:
    """The facts of an ELF file; None for one that is not linked to run (an object file), or that is damaged."""
    try:
        file = ELFFile(io.BytesIO(content))
        if file["e_type"] not in ("ET_EXEC", "ET_DYN"):
            return None
        return _facts(file, content)
    except (ELFError, ValueError, KeyError, AttributeError, UnicodeDecodeError):
        return None


def _facts(file: ELFFile, content: bytes) -> Elf:
    tags: dict[str, list[str]] = {"needed": [], "rpath": [], "runpath": [], "soname": []}
    interpreter, dynamic = "", False
    for segment in file.iter_segments():
        if isinstance(segment, InterpSegment):
            interpreter = segment.get_interp_name()
    wanted: dict[str, tuple[str, ...]] = {}
    offered: list[str] = []
    for section in file.iter_sections():
        if isinstance(section, DynamicSection):
            dynamic = True
            for tag in section.iter_tags():
                name = tag.entry.d_tag.removeprefix("DT_").lower() if isinstance(tag.entry.d_tag, str) else ""
                if name in tags:
                    tags[name].append(getattr(tag, name))
        elif isinstance(section, GNUVerNeedSection):
            for library, versions in section.iter_versions():
                wanted[str(library.name)] = tuple(one.name for one in versions if not one["vna_flags"] & _WEAK)
        elif isinstance(section, GNUVerDefSection):
            for definition, names in section.iter_versions():
                if not definition["vd_flags"] & _BASE:
                    offered.append(next(iter(names)).name)
    openssl = _OPENSSL.search(content) if b"OpenSSL " in content else None
    return Elf(
        machine=_MACHINES.get(file["e_machine"], str(file["e_machine"])),
        bits=file.elfclass,
        interpreter=interpreter,
        soname=next(iter(tags["soname"]), ""),
        needed=tuple(tags["needed"]),
        # The loader takes no notice of DT_RPATH where there is a DT_RUNPATH.
        rpath=() if tags["runpath"] else _folders(tags["rpath"]),
        runpath=_folders(tags["runpath"]),
        versions_needed=wanted,
        versions=tuple(offered),
        openssl=openssl.group(1).decode() if openssl else "",
        opens=_opens(file, content),
        dynamic=dynamic,
    )


def _folders(values: list[str]) -> tuple[str, ...]:
    return tuple(folder for value in values for folder in value.split(":") if folder)


def _opens(file: ELFFile, content: bytes) -> tuple[str, ...]:
    """Libraries that it may dlopen: it knows dlopen (or is libc, which has it), and they are named but not linked to."""
    dynamic = file.get_section_by_name(".dynsym")
    if b"dlopen\0" not in content or not isinstance(dynamic, SymbolTableSection):
        return ()
    if not any(one.name == "dlopen" for one in dynamic.iter_symbols()):
        return ()
    names = file.get_section_by_name(".dynstr")
    linked = set(loads.strings(names.data())) if names else set()
    return tuple(name for name in loads.strings(content) if name not in linked)
