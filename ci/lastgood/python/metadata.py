"""What a source says of itself and of its build (PEP 517), asked in the container that compiles it: no line of it runs on this machine.

pip-compile goes on deciding. It runs with this taken from pip: where pip would build a source to read its metadata, it ends instead and
leaves the archive; that is asked here, and pip-compile begins anew with the answer. What a source's own build needs is fetched as wheels.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.platform import native
from lastgood.python import compiling
from lastgood.python.compiling import Compiler
from lastgood.python.sources import Files, Source, unpack
from lastgood.report.text import readable

RECIPE = 1
_BACKEND = "setuptools.build_meta:__legacy__"  # PEP 517, for a source that names none
_REQUIRES = ("setuptools>=40.8.0",)
WANTED = 75  # the status of a run that needs an answer
# Runs a module of pip's with what is known of sources: argv has the folder of the answers, the module, and the module's own arguments.
PROGRAM = f"""\
import hashlib, runpy, shutil, sys
from pathlib import Path
from pip._internal.distributions.sdist import SourceDistribution
from pip._internal.req import req_install
folder = Path(sys.argv[1])
def prepare(self, *_arguments, **_more):
    file = self.req.local_file_path
    if not file or not Path(file).is_file():
        sys.exit(f"ERROR: {{self.req.name or self.req.link}} is no file of an index, and its build is not run while it is locked")
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    if not (folder / digest).exists():
        (folder / "wanted").mkdir(exist_ok=True)
        shutil.copy(file, folder / "wanted" / self.req.link.filename)
        sys.exit({WANTED})
    (found,) = (folder / digest).glob("*.dist-info")
    req_install.generate_metadata = lambda **_more: str(found)
    self.req.pep517_backend = self.req
    self.req.prepare_metadata(allow_editables=False)
SourceDistribution.prepare_distribution_metadata = prepare
del sys.argv[:2]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
# Runs in the container, with what the source's pyproject.toml asks for installed, or that and what its backend asked for before.
_ASK = """\
import json
from pip._vendor.pyproject_hooks import BuildBackendHookCaller
backend, path, there = json.loads({facts!r})
hooks = BuildBackendHookCaller("source", backend, backend_path=path or None)
asked = hooks.get_requires_for_build_wheel()
with open("out/asked.json", "w") as file:
    json.dump(asked, file)
if set(asked) <= set(there):
    hooks.prepare_metadata_for_build_wheel("out")
"""
Fetch = Callable[
    [Sequence[str], Path], bool
]  # puts wheels of requirements, and of what they require, into a folder; whether all are there


@dataclass(frozen=True)
class Sources:
    """Asks sources with `compiler`; `fetch` has what their builds need."""

    compiler: Compiler
    fetch: Fetch

    def requires(self, source: Source) -> tuple[str, ...]:
        """What it takes to build it: what its pyproject.toml names, and what its backend asks for. Raises as `answer` does."""
        found: list[str] = json.loads((self.answer(source) / "requires.json").read_text(encoding="utf-8"))
        return tuple(found)

    def answer(self, source: Source) -> Path:
        """The folder that holds its .dist-info and requires.json; from the cache, if it was asked before.

        Raises UsageError for a source that can't be read or does not answer, and where no engine is there to ask it.
        """
        facts = [RECIPE, _ASK, self.compiler.stages.key("compiler", native()), _sha256(source.file)]

        def make(folder: Path) -> None:
            files = unpack(source)
            try:
                requires, backend, path = _build_system(files.get("pyproject.toml", (0, b""))[1].decode())
            except (ValueError, TypeError, AttributeError) as error:
                raise UsageError(
                    f"pyproject.toml of {source.file.name} can't be read ({error}): choose another version of {source.name}"
                ) from None
            asked = self._asked(source, files, requires, backend, path, folder)
            if not {*asked} <= {*requires}:
                requires = [*dict.fromkeys([*requires, *asked])]
                self._asked(source, files, requires, backend, path, folder)
            if not any(folder.glob("*.dist-info")):
                raise _silent(source, "it says nothing of itself")
            (folder / "requires.json").write_text(json.dumps(requires), encoding="utf-8")

        name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
        return store.entry(store.cache() / "metadata" / f"{source.name}-{name}", make)

    def _asked(
        self, source: Source, files: Files, requires: Sequence[str], backend: str, path: Sequence[str], folder: Path
    ) -> list[str]:
        """What its backend asks for; its metadata go into `folder`, where all of that is among `requires`."""
        for one in requires:
            try:
                direct = Requirement(one).url
            except InvalidRequirement:
                direct = one
            if direct:  # pip would take it for an option, or build what is there
                raise _silent(source, f"it asks for {readable(one)}, which is no package of an index")
        program = _ASK.format(facts=json.dumps([backend, path, requires]))
        with tempfile.TemporaryDirectory(prefix="lastgood-build-") as wheels:
            if not self.fetch(requires, Path(wheels)):
                raise _silent(source, "what it needs is not at the index")
            body = self.compiler.run(
                native(), source, files, sorted(Path(wheels).iterdir()), f"exec $python -c {shlex.quote(program)}\n",
                lambda output: str(_silent(source, compiling.first_error(output))),
            )  # fmt: skip
        found = compiling.files(body)
        for name, (_, content) in found.items():
            if re.fullmatch(r"[\w.+!-]+\.dist-info/METADATA", name):
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(content)
        try:
            return [str(one) for one in json.loads(found["asked.json"][1])]
        except (KeyError, ValueError, TypeError):
            raise _silent(source, "it gives no answer") from None


def _build_system(text: str) -> tuple[list[str], str, list[str]]:
    """What a pyproject.toml asks for, its backend, and where that is. Raises ValueError, TypeError or AttributeError for what is none."""
    table = tomllib.loads(text).get("build-system", {})
    requires, path = (list(table.get(key, default)) for key, default in (("requires", _REQUIRES), ("backend-path", ())))
    backend = table.get("build-backend", _BACKEND)
    if not all(isinstance(one, str) for one in (*requires, *path, backend)):
        raise ValueError("[build-system] is not made of words")
    return requires, backend, path


def _silent(source: Source, problem: str) -> UsageError:
    return UsageError(
        f"{source.name} {source.version} has only a source, whose own build can't say what it needs ({problem}): add what that is to "
        "build-packages in [tool.lastgood.image], or choose a version that has a wheel, or one that builds"
    )


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def named(file: Path) -> Source:
    """The source in an archive by its name."""
    name, _, version = re.sub(r"\.(tar\.\w+|tgz|zip)$", "", file.name).rpartition("-")
    return Source(canonicalize_name(name or version), version if name else "", file)
