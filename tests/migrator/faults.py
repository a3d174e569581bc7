"""What can go wrong between two statements, and a way to have it go wrong at exactly one of them."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Boundaries:
    """Numbers the statements and commits of this process, from 0, and does what the fault says before the one it names.

    kill       the process is gone, as by the kernel's out-of-memory killer
    terminate  the server ends the session
    cut        the network is gone, and both sides notice
    deaf       the statement still gets to the server, its answer does not come back
    """

    def __init__(self, fault: dict[str, Any]) -> None:
        self.how, self.at = fault.get("how"), fault.get("at")
        self.statements: list[str] = []
        self.proxy: Proxy | None = None

    def __enter__(self) -> None:
        from django.db import connection
        from django.db.backends.base.base import BaseDatabaseWrapper

        self.connection, self.wrapper = connection, BaseDatabaseWrapper
        self.commit = BaseDatabaseWrapper._commit
        self.address = {name: connection.settings_dict[name] for name in ("HOST", "PORT")}
        if self.how in ("cut", "deaf"):
            self.proxy = Proxy(**self.address)
            connection.settings_dict.update(HOST="127.0.0.1", PORT=self.proxy.port)
        connection.execute_wrappers.append(self.statement)
        BaseDatabaseWrapper._commit = self.committed(self.commit)  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        self.connection.execute_wrappers.remove(self.statement)
        self.wrapper._commit = self.commit  # type: ignore[method-assign]
        self.connection.settings_dict.update(self.address)
        if self.proxy:
            self.proxy.cut()

    def statement(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self.boundary(str(sql))
        return execute(sql, params, many, context)

    def committed(self, commit: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def counted(wrapper: Any) -> Any:
            self.boundary("COMMIT")
            return commit(wrapper)

        return counted

    def boundary(self, sql: str) -> None:
        """Take note of the statement that comes next."""
        number = len(self.statements)
        self.statements.append(sql)
        if number != self.at:
            return
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.how == "terminate":
            self.terminate()
        elif self.proxy and self.how == "cut":
            self.proxy.cut()
        elif self.proxy:
            self.proxy.deaf = True

    def terminate(self) -> None:
        import psycopg

        with psycopg.connect(**_parameters(self.connection), autocommit=True) as other:
            pid = self.connection.connection.info.backend_pid
            # The second argument waits until the session is gone, in milliseconds.
            assert other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid]).fetchone() == (True,)


def _parameters(connection: Any) -> dict[str, Any]:
    known = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    return {option: connection.settings_dict[name] for name, option in known.items() if connection.settings_dict[name]}


class Proxy:
    """The network between this process and the server, on 127.0.0.1."""

    def __init__(self, HOST: str, PORT: str) -> None:  # noqa: N803 (as Django calls them)
        self.host, self.server_port = HOST, int(PORT or 5432)
        self.deaf = False
        self.sockets: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = str(self.listener.getsockname()[1])
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return  # cut
            if self.host.startswith("/"):
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(Path(self.host) / f".s.PGSQL.{self.server_port}"))
            else:
                server = socket.create_connection((self.host, self.server_port))
            self.sockets += [client, server]
            for one, other, back in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.pump, args=(one, other, back), daemon=True).start()

    def pump(self, one: socket.socket, other: socket.socket, back: bool) -> None:
        try:
            while data := one.recv(65536):
                if back and self.deaf:
                    self.cut()
                    return
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def cut(self) -> None:
        """Close all at once, without a farewell, and let nobody in again."""
        self.listener.close()
        for each in self.sockets:
            try:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # gone already
