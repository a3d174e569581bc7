"""Byte-code of a tree, compiled by the image's own Python: unchecked-hash, no debug ranges, the same bytes on every machine.

Where the source leaves the image, `source.pyc` stands where `source.py` stood ("sourceless"), else in `__pycache__`. What an image without
the sources of its dependencies loses: `inspect.getsource` of them, and the text of their lines in tracebacks and at Sentry; the file name,
line number and function of every frame stay, as do all lines of the application itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lastgood import beneath
from lastgood.errors import UsageError
from lastgood.python.interpreter import VERSION, Python

_SUFFIX = f".cpython-{VERSION.replace('.', '')}.pyc"

# Takes lines of JSON [source, where its byte-code goes, the name it has in the image]; prints JSON [name, why] of what does not compile.
# Each is compiled in a process that has compiled nothing before: that would decide which strings are shared, and so a few bytes of the
# result.
_COMPILE = """
import json, os, py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
for line in sys.stdin.readlines():
    source, target, name = json.loads(line)
    child = os.fork()
    if not child:
        answer = b""
        try:
            py_compile.compile(source, target, name, True, invalidation_mode=mode)
        except py_compile.PyCompileError as error:
            answer = json.dumps([name, error.msg]).encode() + b"\\n"
        except Exception as error:
            answer = json.dumps([name, f"{type(error).__name__}: {error}"]).encode() + b"\\n"
        finally:
            os.write(1, answer)
            os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        print(json.dumps([name, f"the process ended (status {status})"]), flush=True)
"""


def cached(source: Path) -> Path:
    """Where the byte-code of `source` lies while the source is there, too."""
    return source.parent / "__pycache__" / f"{source.stem}{_SUFFIX}"


def source_of(path: str) -> str | None:
    """The source that the byte-code `path` was made of, or None where `path` is no byte-code."""
    if path.endswith(_SUFFIX) and "/__pycache__/" in path:
        folder, _, name = path.rpartition("/__pycache__/")
        return f"{folder}/{name.removesuffix(_SUFFIX)}.py"
    return f"{path[:-1]}" if path.endswith(".pyc") else None


def compile_tree(tree: Path, folders: Iterable[str], python: Python) -> None:
    """Byte-compiles `folders` of `tree` by `python`. Raises UsageError naming the first file that does not."""
    sources = [path for folder in folders for path in beneath.files(tree, folder, ".py")]
    broken = compile_files(tree, sources, python)
    if broken:
        path, reason = min(broken.items())
        text = f"*** Error compiling '{path}'...\n{reason.rstrip()}"
        raise UsageError(
            f"the image's Python can't compile what is to go into it: {text}; mend the file and build again"
        )


def compile_files(tree: Path, sources: Iterable[Path], python: Python) -> dict[str, str]:
    """Compiles `sources` below `tree` into `__pycache__` beside them; returns {path below tree: why it does not compile}."""
    top = tree.resolve()
    wanted = {source.resolve().relative_to(top).as_posix(): source for source in sources}
    for parent in {source.parent / "__pycache__" for source in wanted.values()}:
        if parent.is_symlink():  # where byte-code goes is no package's to say
            parent.unlink()
    return compiled({name: (source, cached(source)) for name, source in wanted.items()}, python)


def compiled(wanted: Mapping[str, tuple[Path, Path]], python: Python) -> dict[str, str]:
    """Compiles {name in the image: (source, where its byte-code goes)}; returns {name: why it does not compile}.

    An unchecked-hash file never looks at the source's time, which layers set to one value. The work is shared out over the cores.
    """
    count = os.cpu_count() or 1
    ordered = sorted(wanted, key=lambda name: (-wanted[name][0].stat().st_size, name))
    shares = [ordered[number::count] for number in range(count)]

    def work(share: list[str]) -> list[tuple[str, str]]:
        lines = [json.dumps([*map(str, wanted[name]), f"/{name}"]) for name in share]
        environment = {"PYTHONNODEBUGRANGES": "1", "PYTHONWARNINGS": "ignore"}
        done = python.run(["-B", "-S", "-c", _COMPILE], environment=environment, given="\n".join(lines))
        if done.returncode:
            lines = (done.stderr.strip() or "it said nothing").splitlines()
            raise UsageError(
                f"the image's Python can't compile: {lines[-1]}; remove {python.root.parent} and build again"
            )
        return [(name.removeprefix("/"), reason) for name, reason in map(json.loads, done.stdout.splitlines())]

    with ThreadPoolExecutor(count) as pool:
        return {
            name: reason for answers in pool.map(work, [share for share in shares if share]) for name, reason in answers
        }


def sourceless(source: Path) -> None:
    """Puts the byte-code of `source` in its place. A link to a source beside it becomes one to that one's byte-code."""
    if source.is_symlink():
        target = source.readlink()
        if not target.is_absolute() and target.suffix == ".py":
            source.with_suffix(".pyc").symlink_to(target.with_suffix(".pyc"))
            source.unlink()
        return
    cached(source).replace(source.with_suffix(".pyc"))
    source.unlink()
