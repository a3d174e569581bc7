"""pip-compile and pip's finder, run by the image's own Python for any platform, with this machine's pip settings."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lastgood import platform
from lastgood.cache import store
from lastgood.errors import UsageError
from lastgood.python import metadata
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
# Asks pip's own finder, with its own settings, which of the locked versions have no file that runs here as it is, and fetches the source
# of those by pip's own session. Nothing of it is run: `pip download` would build.
_FINDER = """\
import json, shutil, sys
from pathlib import Path
from piptools.repositories import PyPIRepository
from piptools.repositories.pypi import open_local_or_remote_file
folder = Path(sys.argv[2])
repository = PyPIRepository([], cache_dir=sys.argv[1])
for name, version in json.loads((folder / "wanted.json").read_text()).items():
    same = [one.link for one in repository.find_all_candidates(name) if str(one.version) == version]
    if same and not any(link.is_wheel for link in same):
        (folder / name).mkdir()
        with open_local_or_remote_file(same[0], repository.session) as source, (folder / name / same[0].filename).open("wb") as target:
            shutil.copyfileobj(source.stream, target)
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

    def sources(self, versions: Mapping[str, str], one: platform.Platform, folder: Path) -> dict[str, Path]:
        """Of {name: version} those that have only a source for this Python and platform: {name: its file, fetched below `folder`}."""
        folder.mkdir()
        (folder / "wanted.json").write_text(json.dumps(dict(versions)), encoding="utf-8")
        done = self._run(
            [str(self._work / "finder.py"), str(store.cache() / "pip-tools"), str(folder)], one, self._work
        )
        if done.returncode:
            raise UsageError(explain(done.stderr + done.stdout, self._cooldown))
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
        environment = _settings() | {
            "HOME": os.environ.get("HOME", "/"),
            "PIP_CACHE_DIR": str(store.cache() / "pip"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "CUSTOM_COMPILE_COMMAND": "lastgood lock",
        }
        if one != platform.native():
            folders.insert(0, str(self._work / "other-machine"))
            environment["LASTGOOD_MACHINE"] = one.machine
        if self._cooldown:
            environment["PIP_UPLOADED_PRIOR_TO"] = f"P{self._cooldown}D"
        environment["PYTHONPATH"] = os.pathsep.join(folders)
        return self._python.run(list(arguments), environment=environment, cwd=cwd)


def _settings() -> dict[str, str]:
    """What pip needs of this machine: its indexes and certificates, by the variables and files that pip itself reads."""
    return {
        key: value
        for key, value in os.environ.items()
        if key.startswith(("PIP_", "SSL_", "REQUESTS_", "NETRC", "XDG_CONFIG_")) or "proxy" in key.lower()
    }


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
    for rule in (_index_problem, _hash_problem, _version_problem):
        said = rule(output, cooldown)
        if said:
            return said
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    tail = " / ".join(lines[-3:]) or "it said nothing"
    return f"requirements.in does not compile: {tail}; mend it and run `lastgood lock` again"


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
