"""pip-compile and pip's finder, run by the image's own Python for any platform, with this machine's pip settings."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

from lastgood import platform
from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.python import indexes, metadata, requirements
from lastgood.python.compiling import Compiler
from lastgood.python.interpreter import VERSION, Python
from lastgood.report.text import masked

# pip-compile and what it imports; pure Python all, so the image's Python can run the copies that the tool itself is locked with.
_TOOLS = ("pip", "pip-tools", "build", "click", "packaging", "pyproject_hooks", "setuptools", "wheel")
_OPTIONS = (
    "--quiet", "--no-header", "--generate-hashes", "--strip-extras", "--allow-unsafe", "--no-emit-index-url", "--no-emit-find-links",
    "--no-emit-trusted-host", "--resolver", "backtracking", "--newline", "lf",
)  # fmt: skip
# Markers and the tags of wheels are both read from the machine's name: with this one they are those of another platform.
_OTHER_MACHINE = """\
import os
_machine = os.environ["LASTGOOD_MACHINE"]
_uname = os.uname
os.uname = lambda: os.uname_result((*_uname()[:4], _machine))
"""
# Asks pip's own finder which of the locked versions have no file that runs here as it is, and fetches the source of those by pip's own
# session. Nothing of it is run: `pip download` would build. And it says of which names two indexes have files that are not the same, as
# [name, index, index]: one of the two may be a stranger's.
_FINDER = """\
import hashlib, json, shutil, sys
from pathlib import Path
from piptools.repositories import PyPIRepository
from piptools.repositories.pypi import open_local_or_remote_file
folder = Path(sys.argv[2])
wanted = json.loads((folder / "wanted.json").read_text())
repository = PyPIRepository(["--no-binary", ",".join(wanted["from_source"])] if wanted["from_source"] else [], cache_dir=sys.argv[1])
def digest(link):
    if link.hash_name == "sha256":
        return link.hash
    return hashlib.sha256(Path(link.file_path).read_bytes()).hexdigest() if link.is_file else link.url
def strangers(candidates):
    found = {}
    for link in (one.link for one in candidates):
        page = str(link.comes_from or link.url).rstrip("/").rpartition("/")[0]
        found.setdefault(page, {})[link.filename] = link
    (first, has), *others = found.items()
    for other, files in others:
        same = [digest(files[name]) == digest(has[name]) for name in has.keys() & files.keys()]
        if not same or not all(same):
            return [first, other]
clashes = []
for name, version in wanted["versions"].items():
    candidates = repository.find_all_candidates(name)
    clash = strangers(candidates) if candidates else None
    if clash:
        clashes.append([name, *clash])
    same = [one.link for one in candidates if str(one.version) == version]
    if wanted["fetch"] and same and not any(link.is_wheel for link in same):
        (folder / name).mkdir()
        with open_local_or_remote_file(same[0], repository.session) as source, (folder / name / same[0].filename).open("wb") as target:
            shutil.copyfileobj(source.stream, target)
print(json.dumps(clashes))
"""


class Tools:
    """pip-compile, run by the image's Python in the folder `work`; `compiler` is where sources are asked what they are.

    `cooldown` is how many days old a file must be to be taken.
    """

    def __init__(self, compiler: Compiler, work: Path, cooldown: int) -> None:
        self.ask = metadata.Sources(compiler, self._fetch)
        self._python = Python(compiler.stages.wheels())
        self._cooldown = cooldown
        self._work = work
        self._folder = work / "tools"
        _link_tools(self._folder)
        other = work / "other-machine"
        other.mkdir()
        (other / "sitecustomize.py").write_text(_OTHER_MACHINE, encoding="utf-8")
        (work / "finder.py").write_text(_FINDER, encoding="utf-8")
        (work / "run.py").write_text(metadata.PROGRAM, encoding="utf-8")

    def compile(self, where: Path, one: platform.Platform, arguments: Sequence[str]) -> None:
        """Runs pip-compile in `where`. Raises UsageError with one sentence for what it could not do."""
        known = where.with_name(f"{where.name}-sources")
        known.mkdir(exist_ok=True)
        while True:
            done = self._run(
                [str(self._work / "run.py"), str(known), "piptools", "compile", *_OPTIONS, *arguments], one, where
            )
            if done.returncode != metadata.WANTED:
                break
            for file in tuple((known / "wanted").iterdir()):
                (known / hashlib.sha256(file.read_bytes()).hexdigest()).symlink_to(
                    self.ask.answer(metadata.named(file))
                )
                file.unlink()
        if done.returncode:
            output = done.stderr + done.stdout
            missing = re.search(r"No matching distribution found for ([A-Za-z0-9._-]+)", output)
            if missing:  # pip-compile does not say that an index refused the password, pip does
                asked = self._run(["-m", "pip", "index", "versions", "--no-input", missing.group(1)], one, where)
                output = "".join(line for line in asked.stderr.splitlines(keepends=True) if "WARNING" in line) + output
            raise UsageError(explain(output, self._cooldown))

    def sources(self, text: str, one: platform.Platform, folder: Path, *, fetch: bool = True) -> dict[str, Path]:
        """What a lock's `text` names that has, or shall have, only a source for this Python and platform: {name: its file, below `folder`}.

        Raises UsageError for a name that two indexes have, unless what one has is the other's: whoever may write to one of them could
        otherwise get in. Without `fetch` that is all that is done.
        """
        lines = requirements.locked("the lock", text)
        named = [line.requirement for line in lines if line.requirement and not line.requirement.url]
        versions = {str(canonicalize_name(each.name)): next(iter(each.specifier)).version for each in named}
        folder.mkdir()
        wanted = {"versions": versions, "from_source": sorted(requirements.from_source(lines)), "fetch": fetch}
        (folder / "wanted.json").write_text(json.dumps(wanted), encoding="utf-8")
        done = self._run(
            [str(self._work / "finder.py"), str(store.cache() / "pip-tools"), str(folder)], one, self._work
        )
        if done.returncode:
            raise UsageError(explain(done.stderr + done.stdout, self._cooldown))
        for name, *places in json.loads(done.stdout.splitlines()[-1]):
            raise UsageError(
                f"{name} is at two indexes that pip's settings name, with different files ({masked(' and '.join(places))}): who has the "
                "name at one of them could get into the image; name one index for all that has both (a proxy), or take a name that only "
                "yours has"
            )
        return {file.parent.name: file for file in folder.glob("*/*")}

    def _fetch(self, requirements: Sequence[str], folder: Path) -> bool:
        options = ["--quiet", "--no-input", "--only-binary", ":all:", "--dest", str(folder)]
        program = [str(self._work / "run.py"), str(folder), "pip", "download"]
        done = self._run([*program, *options, *requirements], platform.native(), self._work)
        problem = _index_problem(masked(done.stderr + done.stdout), self._cooldown) if done.returncode else None
        if problem:
            raise UsageError(problem)
        return not done.returncode

    def _run(self, arguments: Iterable[str], one: platform.Platform, cwd: Path) -> subprocess.CompletedProcess[str]:
        folders = [str(self._folder)]
        environment = (
            {"HOME": "/"}
            | indexes.settings()
            | {
                "PIP_CACHE_DIR": str(store.cache() / "pip"),
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "CUSTOM_COMPILE_COMMAND": "lastgood lock",
            }
        )
        if one != platform.native():
            folders.insert(0, str(self._work / "other-machine"))
            environment["LASTGOOD_MACHINE"] = one.machine
        if self._cooldown:
            environment["PIP_UPLOADED_PRIOR_TO"] = f"P{self._cooldown}D"
        environment["PYTHONPATH"] = os.pathsep.join(folders)
        return self._python.run(list(arguments), environment=environment, cwd=cwd)


def _link_tools(folder: Path) -> None:
    folder.mkdir()
    for tool in _TOOLS:
        for file in importlib.metadata.files(tool) or ():
            top = file.parts[0]
            origin = Path(str(file.locate())).parents[len(file.parts) - 1] / top
            if top not in ("..", "__pycache__") and not (folder / top).exists() and origin.exists():
                (folder / top).symlink_to(origin)


def explain(output: str, cooldown: int = 0) -> str:
    """One sentence for what pip-compile could not do."""
    output = masked(output)
    for rule in (_git_problem, _index_problem, _hash_problem, _version_problem):
        said = rule(output, cooldown)
        if said:
            return said
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    tail = " / ".join(lines[-3:]) or "it said nothing"
    return f"requirements.in does not compile: {tail}; mend it and run `lastgood lock` again"


def _git_problem(output: str, _cooldown: int) -> str | None:
    found = re.search(
        r"when git (?:clone|fetch|checkout|rev-parse)\b|Running command git (?:clone|fetch|checkout)\b", output
    )
    if not found or not re.search(r"^\W*(?:fatal|remote|error|ERROR): ", output, re.MULTILINE):
        return None
    place = re.search(r"Cloning (?:git\+)?(\S+)|git clone (?:-\S+ )*(\S+://\S+)", output)
    said = re.findall(r"^\W*(?:fatal|remote): (.+)$", output, re.MULTILINE)
    return (
        f"requirements.in: git can't fetch {(place and (place[1] or place[2])) or 'what it names'} "
        f"({said[0].strip() if said else 'it does not answer'}): mend its address or your access to it; better name a version that an "
        "index has, for only files have hashes that a lock can keep"
    )


def _index_problem(output: str, cooldown: int) -> str | None:
    if "does not provide upload-time metadata" in output:
        return (
            f"[tool.lastgood.lock] cooldown is {cooldown} days, and the Python index does not say when its files were uploaded (the JSON "
            "simple API with upload-time, PEP 700): use an index that does, or remove the key"
        )
    if "WARNING: Retrying" in output:
        return "the Python index does not answer, so requirements.in could not be compiled: check the network and pip's settings"
    if re.search(r"\b40[13] (Client )?Error", output):
        return (
            "the Python index refuses the user or password that pip's settings name, so requirements.in could not be compiled: mend "
            "them (PIP_INDEX_URL, netrc or pip's keyring)"
        )
    return None


def _hash_problem(output: str, _cooldown: int) -> str | None:
    if not re.search(r"^\s*Expected sha256", output, re.MULTILINE):
        return None
    name = re.search(r"^\s*(\S+) from \S+.*:\s*$", output, re.MULTILINE)
    return (
        f"requirements.txt: {name.group(1) if name else 'a requirement'} has another hash at the index than the lock names: find out "
        "why it changed; then remove its lines from requirements.txt and run `lastgood lock`"
    )


def _version_problem(output: str, cooldown: int) -> str | None:
    old = f", uploaded {cooldown} days ago or more" if cooldown else ""
    fitting = f"{old}," if old else ""
    found = re.search(r"satisfies the requirement ([^\s(]+) .*\(from versions: (?!none)", output)
    if found:
        wanted = f"{found.group(1)} and Python {VERSION}"
        return f"requirements.in: no version at the index{fitting} fits {wanted}: ask for another one"
    found = re.search(r"No matching distribution found for ([^\s(]+)", output)
    if found:
        return (
            f"requirements.in: {found.group(1)} does not exist for Python {VERSION} at the index{old}: mend its name or "
            "version"
        )
    clash = re.findall(r"RequirementInformation\(requirement=\w+\('([^']+)'\), parent=(?:None|\w+\('([^ ']+))", output)
    if clash:
        wishes = [f"{_distribution(parent) if parent else 'requirements.in'} asks for {wish}" for wish, parent in clash]
        return f"requirements.in: no versions fit: {', '.join(dict.fromkeys(wishes))}; ask for others"
    return None


def _distribution(address: str) -> str:
    """`django 5.2` of the address of one of its files."""
    name, _, rest = address.rpartition("/")[2].partition("-")
    version = re.split(r"-|\.tar|\.zip", rest)[0]
    return f"{name.lower()} {version}"
