"""A server that has Django imported and forks a worker for each build: a run costs milliseconds, not the start of Python.

    python worker.py SOCKET

A worker takes requests, one JSON object a line. First {"folder", "environment"}, then one of

    {"arguments": […], "fault": null or {"how": "kill" | "terminate" | "cut" | "deaf", "at": 3}}    run the migrator
    {"migrate": […]}                                                                               run Django's own migrate
    {"plain": true}                                                                                what that would still do
    {"use": true}                                                                                  write and read, as its code does

and answers {"exit_status", "stdout", "stderr", "statements"}, the last two {"plan"} and {"wrong"}.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import warm

APPS = ("a", "s", "z")  # those of histories.py


def serve(path: str) -> None:
    """Fork a worker for each connection."""
    warm.up()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks for their exit status
    print("ready", flush=True)
    while warm.somebody_connects(listener):
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                work(connection)
            finally:
                os._exit(0)
        connection.close()


def work(connection: socket.socket) -> None:
    """Be the process of one build."""
    stream = connection.makefile("rwb")
    first = json.loads(stream.readline())
    os.environ.update(first["environment"])
    os.chdir(first["folder"])
    sys.path[:0] = first["environment"]["PYTHONPATH"].split(":")
    warnings.simplefilter(os.environ.get("PYTHONWARNINGS", "error"))  # type: ignore[arg-type]
    answer(stream, {"pid": os.getpid()})
    for line in stream:
        request = json.loads(line)
        if "migrate" in request:
            answer(stream, migrate(request["migrate"]))
        elif request.get("plain"):
            answer(stream, plain())
        elif request.get("use"):
            answer(stream, use())
        else:
            answer(stream, run(request["arguments"], request.get("fault")))


def answer(stream: Any, data: dict[str, Any]) -> None:
    stream.write(json.dumps(data).encode() + b"\n")
    stream.flush()


def run(arguments: list[str], fault: dict[str, Any] | None) -> dict[str, Any]:
    """Run the migrator here, with a fault at one of its statements."""
    from faults import Boundaries
    from migrator.__main__ import main, set_up

    stdout, stderr = io.StringIO(), io.StringIO()
    boundaries = Boundaries(fault or {})
    with redirect_stdout(stdout), redirect_stderr(stderr):
        set_up()
        with boundaries:
            exit_status = main(arguments)
    from django.db import connections

    connections.close_all()
    said = {"exit_status": exit_status, "stdout": stdout.getvalue(), "stderr": stderr.getvalue()}
    return {**said, "statements": boundaries.statements}


def migrate(arguments: list[str]) -> dict[str, Any]:
    """Run Django's own migrate."""
    from django.core.management import call_command
    from django.db import connections
    from migrator.__main__ import set_up

    stdout, stderr, exit_status = io.StringIO(), io.StringIO(), 0
    set_up()
    try:
        call_command("migrate", *arguments, interactive=False, stdout=stdout, stderr=stderr)
    except Exception as error:
        exit_status = 1
        stderr.write(f"{type(error).__name__}: {error}")
    connections.close_all()
    return {"exit_status": exit_status, "stdout": stdout.getvalue(), "stderr": stderr.getvalue()}


def plain() -> dict[str, Any]:
    """Return what `manage.py migrate` of this build would do now, or what it would die of."""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor
    from migrator.__main__ import set_up

    set_up()
    executor = MigrationExecutor(connection)
    executor.loader.check_consistent_history(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    connection.close()
    return {"plan": [str(migration) for migration, _ in plan]}


def use() -> dict[str, Any]:
    """Make, read, change and delete a row by each of this build's models; return what went wrong. Nothing of it stays."""
    from django.db import connection, transaction
    from migrator.__main__ import set_up
    from migrator.manifest.graph import AtomLoader

    set_up()
    wrong = []
    for model in AtomLoader().project_state().apps.get_models():
        if model._meta.app_label not in APPS:
            continue
        try:
            with transaction.atomic():
                model.objects.all().delete()
                row = model.objects.create(mark="used")
                row = model.objects.get(pk=row.pk)
                row.mark = "changed"
                row.save()
                row.delete()
                transaction.set_rollback(True)
        except Exception as error:
            wrong.append(f"{model._meta.label}: {type(error).__name__}")
    connection.close()
    return {"wrong": wrong}


if __name__ == "__main__":
    serve(sys.argv[1])
