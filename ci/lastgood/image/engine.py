"""A Dockerfile built by the engine: by BuildKit where it is there, else by the engine's own builder; each failure as one sentence."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from lastgood.errors import UsageError
from lastgood.report.terminal import say
from lastgood.report.text import masked


@contextlib.contextmanager
def connected(file: Path) -> Iterator[Any]:
    """The client of the engine for the time of the block. Raises UsageError, naming the Dockerfile, for whatever goes wrong with it."""
    import docker.client
    from docker.errors import DockerException

    try:
        with contextlib.closing(docker.client.from_env(timeout=600)) as engine:
            engine.ping()
            yield engine
    except DockerException as error:
        said = masked(str(error).strip()).partition("\n")[0][:200]
        raise UsageError(
            f"no Docker engine does what is needed ({said}): {file.name} is built by one; start it (`lastgood doctor`), or leave "
            "dockerfile out of [tool.lastgood.image]"
        ) from None


def build(engine: Any, context: Path, file: str, tag: str, created: str) -> None:
    """Builds `file` of the folder `context` as `tag`; `created` is the time that its files get. Raises UsageError for a step that fails."""
    if not (context / file).is_file():
        raise UsageError(f"{file} is not known to git: add it, then build")
    found = shutil.which("docker")
    if found and not subprocess.run([found, "buildx", "version"], capture_output=True, check=False).returncode:
        _by_buildkit(found, context, file, tag, created)
    else:
        _by_classic(engine, context, file, tag)


def _by_buildkit(docker: str, context: Path, file: str, tag: str, created: str) -> None:
    epoch = int(datetime.fromisoformat(created).timestamp())
    command = [
        docker,
        "buildx",
        "build",
        "--load",
        "--progress=plain",
        "--provenance=false",
    ]
    done = subprocess.run(
        [*command, f"--tag={tag}", f"--file={context / file}", str(context)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch)},
    )
    if done.returncode:
        for line in done.stderr.splitlines()[-20:]:
            say(f"  {line}")
        raise UsageError(buildkit_failure(done.stderr, (context / file).read_text(encoding="utf-8"), file))


def buildkit_failure(output: str, text: str, file: str) -> str:
    """One sentence for BuildKit's plain output about the Dockerfile's `text`: the line and the error."""
    step_ = re.search(r"^ > \[[^\]]*\] (.+):$", output, re.MULTILINE)
    cause = re.findall(r"^ERROR: (.+)$", output, re.MULTILINE)
    error = (
        cause[-1].removeprefix("failed to build: ").removeprefix("failed to solve: ") if cause else "it said nothing"
    )
    return failure(error, step_.group(1) if step_ else "", text, file)


def _by_classic(engine: Any, context: Path, file: str, tag: str) -> None:
    current = ""
    said: list[str] = []
    for event in engine.api.build(path=str(context), dockerfile=file, tag=tag, rm=True, forcerm=True, decode=True):
        text = str(event.get("stream", "")).strip()
        if re.match(r"Step \d+/\d+ : ", text):
            current, said = text.partition(" : ")[2], []
        elif text:
            said += text.splitlines()
        if "error" in event:
            for line in said[-20:]:
                say(f"  {line}")
            raise UsageError(failure(str(event["error"]), current, (context / file).read_text(encoding="utf-8"), file))


def failure(error: str, current: str, text: str, file: str) -> str:
    """One sentence for an error in the instruction `current`, as the builder shows it, of the Dockerfile's `text`."""
    start = re.escape(current.split("  ")[0][:60])
    number = next(
        (at for at, line in enumerate(text.splitlines(), start=1) if current and re.match(start, line.strip())), 0
    )
    place = f"{file}:{number}" if number else file
    if "requires BuildKit" in error:
        said = error.strip().splitlines()[0].partition(". ")[0]
        return (
            f"{place}: {f'`{current}`: ' if current else ''}{said}, and this machine's docker has none: install its buildx (the package "
            "docker-buildx or docker-buildx-plugin), or write the step without it"
        )
    return f"{place}: {f'`{current}`: ' if current else ''}{error.strip().splitlines()[0]}; mend it and build again"
