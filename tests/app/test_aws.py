from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from board import aws
from django.test import override_settings

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-west-1"}


class Stacks(BaseHTTPRequestHandler):
    """A CloudFormation whose every stack has one output: the port that the question came from."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = (
            "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>x</StackName>"
            "<StackStatus>CREATE_COMPLETE</StackStatus><CreationTime>2026-01-01T00:00:00Z</CreationTime><Outputs><member>"
            f"<OutputKey>Port</OutputKey><OutputValue>{self.client_address[1]}</OutputValue></member></Outputs></member>"
            "</Stacks></DescribeStacksResult></DescribeStacksResponse>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stacks)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with override_settings(AWS_CLIENTS=[]):
        yield


@pytest.mark.usefixtures("region")
def test_a_client_is_made_once_whoever_asks() -> None:
    with ThreadPoolExecutor(8) as pool:
        clients = set(pool.map(lambda _: aws.client("cloudformation"), range(8)))
    assert clients == {aws.client("cloudformation")}
    assert aws.client("ssm") is not aws.client("cloudformation")


@pytest.mark.usefixtures("region")
def test_a_changed_setting_makes_new_ones() -> None:
    before = aws.client("ssm")
    with override_settings(ENVIRONMENT="staging"):
        assert aws.client("ssm") is not before


def test_override() -> None:
    fake = object()
    with aws.override(ssm=fake):
        assert aws.client("ssm") is fake
    assert "ssm" not in aws._overrides


def test_a_connection_is_not_shared_over_a_fork(python: Any, endpoint: str) -> None:
    program = """
import os
from board import aws

def port():
    return aws.client("cloudformation").describe_stacks(StackName="x")["Stacks"][0]["Outputs"][0]["OutputValue"]

mine = [port(), port()]
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, port().encode())
    os._exit(0)
os.wait()
print(*mine, os.read(read, 9).decode(), port())
aws.close()
"""
    done = python("-c", program, AWS_ENDPOINT_URL=endpoint, **KEYS)
    assert (done.returncode, done.stderr) == (0, "")
    first, second, child, again = done.stdout.split()
    assert first == second == again  # kept alive: or the child's being another would prove nothing
    assert child != first


def test_nobody_is_called_and_nothing_imported_at_import(python: Any) -> None:
    program = """
import socket, sys
def refuse(*_): raise SystemExit("a connection was made")
socket.socket.connect = refuse
import board.wsgi
from board import aws
print(sorted(aws._clients))
"""
    url = "postgresql://build:build@db.invalid/build"
    done = python("-c", program, ENVIRONMENT="production", DATABASE_URL=url, **KEYS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['cloudformation']\n", "")


def test_no_region_is_said_and_the_board_starts(python: Any) -> None:
    done = python("-c", "import board.wsgi", ENVIRONMENT="local")
    assert (done.returncode, done.stderr) == (
        0,
        "WARNING board.wsgi: AWS_REGION is not set: what stacks and parameters say stays unknown.\n",
    )
