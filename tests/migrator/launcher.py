"""A server that has Django imported and forks a process for each `python -m migrator …`: all of it but the start of Python.

    python -W error launcher.py SOCKET

A connection is one process. It brings {"folder", "environment", "arguments"} as a line of JSON, and standard output and error as open
files; when the process has ended it gets {"exit_status"}, below zero the signal that killed it.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import socket
import sys
from typing import Any

import warm

MOST = 1 << 20  # bytes of a request


def serve(path: str) -> Any:
    """Fork a process for each connection; returns in that process, with its request."""
    warm.up()
    given = os.environ["PYTHONPATH"].split(os.pathsep)
    own = [one for one in sys.path[1:] if one not in given]
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
            line, files, _, _ = socket.recv_fds(connection, MOST, 2)
            process = os.fork()
            if process:
                _, status = os.waitpid(process, 0)
                connection.sendall(json.dumps({"exit_status": os.waitstatus_to_exitcode(status)}).encode())
                os._exit(0)
            connection.close()
            for number, file in enumerate(files, start=1):
                os.dup2(file, number)
                os.close(file)
            return {**json.loads(line), "own": own}
        connection.close()
    sys.exit()


def become(request: Any) -> None:
    """Be `python -W error -m migrator` in that folder and environment."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[:] = [request["folder"], *request["environment"]["PYTHONPATH"].split(os.pathsep), *request["own"]]
    sys.argv[1:] = request["arguments"]
    importlib.invalidate_caches()
    runpy.run_module("migrator", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    become(serve(sys.argv[1]))
