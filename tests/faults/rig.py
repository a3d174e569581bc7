"""One cloud, one small project, its builds; and what a fault is made of: holding a call, cutting a wire, closing a gate, killing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from fixtures import emulator as shared
from fixtures.ports import free_ports
from lastgood.aws import local_cloud
from lastgood.config import project as projects
from lastgood.local import cloud, emulator, virtualenv
from lastgood.local.adapters.settings import REGION
from lastgood.record.lock import holder
from lastgood.record.table import Record

from faults import builds
from faults.wire import Wire

HERE = Path(__file__).parent
STACK = "board-local"
PATIENCE = 240.0  # seconds for a condition, on a machine with much else to do
PAUSE = 0.1
ROWS = 20
AT_GATE = "query LIKE 'SELECT pg_sleep%faults.closed%' AND pid <> pg_backend_pid() AND state <> 'idle'"
T = TypeVar("T")
_SCHEMA = (
    "SELECT md5(string_agg(t, ',' ORDER BY t)) FROM (SELECT table_name || column_name || data_type || is_nullable AS t "
    "FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE 'lastgood%' UNION ALL "
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE 'lastgood%') AS all_of_it"
)


class NotMade(Exception):
    """A fault could not be made as declared: what it waits for did not come."""


def until(condition: Callable[[], T], what: str, alive: Tool | None = None, seconds: float = PATIENCE) -> T:
    """Waits for the condition to become true, and returns what it returned. With `alive`, not longer than the tool lives."""
    end = time.monotonic() + seconds
    while True:
        ended = alive is not None and alive.process.poll() is not None
        found = condition()
        if found:
            return found
        if ended or time.monotonic() > end:
            said = f"; the tool had ended with {alive.process.returncode}:\n{alive.said()[-1500:]}" if alive else ""
            raise NotMade(f"{what} did not come{said}")
        time.sleep(PAUSE)


class Tool:
    """A `lastgood` command that runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._said: list[bytes] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:  # by a pipe: where its disk is full, it has no file to write to
        assert self.process.stderr is not None
        self._said += self.process.stderr

    def said(self) -> str:
        """What it has said so far."""
        return b"".join(self._said).decode(errors="replace")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Ctrl-C, or another signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Waits for its end; returns its exit status."""
        try:
            return self.process.wait(timeout=PATIENCE * 2)
        except subprocess.TimeoutExpired:
            self.kill()
            raise NotMade(f"the command did not end:\n{self.said()[-1500:]}") from None


class Held:
    """A rule in force."""

    def __init__(self, rig: Rig, rule: dict[str, Any]) -> None:
        self._rig = rig
        self.id = str(rule["id"])

    def hits(self) -> int:
        """How often it applied."""
        try:
            return (self._rig.folder / "hits.log").read_text(encoding="utf-8").splitlines().count(f"{self.id} hit")
        except OSError:
            return 0

    def met(self, alive: Tool | None = None, times: int = 1) -> None:
        """Waits until it has applied."""
        until(lambda: self.hits() >= times, f"the call that {self.id} waits for", alive)

    def release(self) -> None:
        """Takes it away; what it held goes on."""
        self._rig.rules = [one for one in self._rig.rules if one["id"] != self.id]
        self._rig.write_rules()


class Rig:
    """The cloud with the builds pushed, and `old` deployed as last good."""

    def __init__(self, root: Path) -> None:
        self.root = root / "board"
        self.digests: dict[str, str] = {}
        self.base = "old"  # which of `old` and `other` is last good between two faults
        self.rules: list[dict[str, Any]] = []
        self._sessions: list[subprocess.Popen[bytes]] = []
        self._others: list[Tool] = []
        self._wire: Wire | None = None
        self.schemas: dict[str, str] = {}

    # --- set-up -------------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Brings all of it up."""
        builds.make(self.root)
        shared.share(self.root)
        port, site, database = free_ports(3)
        os.environ |= {
            "LASTGOOD_LOCAL_PORT": str(port), "LASTGOOD_SITE_PORT": str(site), "LASTGOOD_DATABASE_PORT": str(database)
        }  # fmt: skip
        self._instead()
        self.up()
        self.run("bootstrap", "--environment", "local")
        for name in builds.BUILDS:
            builds.checkout(self.root, name)
            self.digests[name] = json.loads(self.run("build", "--json"))["digest"]
            self.run("push", "--environment", "local")
        builds.checkout(self.root, "main")
        self.sql("CREATE SCHEMA faults; CREATE TABLE faults.closed (name text); GRANT USAGE ON SCHEMA faults TO PUBLIC; "
                 "GRANT SELECT ON faults.closed TO PUBLIC")  # fmt: skip
        self.run("deploy", "--environment", "local", "--digest", self.digests["old"])
        self.sql(
            "INSERT INTO releases_release (environment, number, state, kind, build, commit, version, digest, who, started, reason) "
            f"SELECT 'shown', n, 'good', 'deploy', 'b' || n, '', '', '', 'somebody', now(), 'row ' || n FROM generate_series(1, {ROWS}) n"
        )
        self.schemas["old"] = self.schemas["other"] = self.sql(_SCHEMA)

    def _instead(self) -> None:
        """The emulator is started by way of emulated.py."""
        python = virtualenv.ensure(self.root)
        wrapper = self.root.parent / "python"
        wrapper.write_text(f'#!/bin/sh\nexec "{python}" -P "{HERE / "emulated.py"}" "$2" "$3"\n', encoding="utf-8")
        wrapper.chmod(0o755)
        cast("Any", virtualenv).ensure = lambda _root: wrapper

    def up(self) -> None:
        """`lastgood local up`, and the wire between the tool and the emulator."""
        self.project = projects.load(self.root)
        cloud.up(self.project)
        known = local_cloud.read(self.project.state)
        assert known is not None
        self.cloud = known
        self._wire = self._wire or Wire(self.project.local.port)
        local_cloud.write(
            self.project.state,
            local_cloud.LocalCloud(**{**known.__dict__, "endpoint_url": f"http://127.0.0.1:{self.wire.port}"}),
        )

    @property
    def wire(self) -> Wire:
        """The wire between the tool and the emulator."""
        assert self._wire is not None
        return self._wire

    def end(self) -> None:
        """Removes all of it."""
        if self._wire:
            self._wire.close()
        cloud.clean(self.project)

    # --- the tool -----------------------------------------------------------------------------------------------------------

    def _environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "LASTGOOD_STATE"))}
        return kept | {"NO_COLOR": "1"} | more

    def run(self, *arguments: str, exits: tuple[int, ...] = (0,)) -> str:
        """Runs `lastgood …` to its end; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-P", str(HERE / "tool.py"), *arguments],
            cwd=self.root,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE * 5,
        )
        if done.returncode not in exits:
            raise NotMade(f"`lastgood {' '.join(arguments)}` ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return done.stdout

    def tool(self, *arguments: str, root: Path | None = None, **asked: Any) -> Tool:
        """Starts `lastgood …`; `asked` is for tool.py."""
        process = subprocess.Popen(
            [sys.executable, "-P", str(HERE / "tool.py"), *arguments],
            cwd=root or self.root,
            env=self._environment(FAULTS_TOOL=json.dumps(asked), LASTGOOD_STATE=str(self.project.state)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        found = Tool(process)
        self._others.append(found)
        return found

    def deploy(self, build: str = "new", **asked: Any) -> Tool:
        """Starts to deploy a build."""
        return self.tool("deploy", "--environment", "local", "--digest", self.digests[build], **asked)

    def status(self) -> dict[str, Any]:
        """`lastgood status`."""
        found: dict[str, Any] = json.loads(self.run("status", "--environment", "local", "--json"))
        return found

    # --- AWS ----------------------------------------------------------------------------------------------------------------

    def rule(self, do: str, **what: Any) -> Held:
        """A rule for calls or events, in force from now on: emulated.py says what there is."""
        rule = {"id": f"r-{uuid.uuid4().hex[:8]}", "do": do, **what}
        self.rules.append(rule)
        self.write_rules()
        return Held(self, rule)

    def write_rules(self) -> None:
        """Tells the emulator."""
        file = self.folder / "rules.json"
        part = file.with_suffix(".part")
        part.write_text(json.dumps(self.rules), encoding="utf-8")
        part.replace(file)

    @property
    def folder(self) -> Path:
        """What the instance keeps outside of Docker."""
        return local_cloud.folder(self.project.state)

    def client(self, service: str) -> Any:
        """A client of the tests' own, by no wire."""
        import boto3
        from botocore.config import Config

        port = self.project.local.port
        make: Any = boto3.client
        return make(
            service, endpoint_url=f"http://127.0.0.1:{port}", region_name=REGION, aws_access_key_id="rig",
            aws_secret_access_key="rig", config=Config(retries={"max_attempts": 2}),
        )  # fmt: skip

    def stack(self) -> str:
        """The stack's status; `absent` where there is none."""
        try:
            return str(self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"])
        except Exception as error:
            if "does not exist" in str(error):
                return "absent"
            raise

    def settled(self) -> bool:
        """Whether nothing goes on in the stack."""
        status = self.stack()
        return not status.endswith("_IN_PROGRESS") or status == "REVIEW_IN_PROGRESS"

    def emulator(self) -> int:
        """The emulator's process."""
        pid = emulator.Emulator(self.folder).pid()
        assert pid is not None
        return pid

    # --- containers ---------------------------------------------------------------------------------------------------------

    def containers(self, name: str) -> list[str]:
        """The running containers of tasks (`web`, `release`), or the database (`postgres`), by name."""
        found = self._docker(
            "ps", "--filter", f"label=lastgood.instance={self.cloud.instance}", "--format", "{{.Names}}"
        )
        return [one for one in found.split() if one.endswith(f"-{name}")]

    def kill_container(self, name: str) -> None:
        """SIGKILL to all that runs in it."""
        self._docker("kill", name)

    def _docker(self, *arguments: str) -> str:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotMade(f"docker {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    @contextlib.contextmanager
    def without_image(self, build: str) -> Iterator[None]:
        """A build is neither in the registry nor in the engine."""
        which = {"repositoryName": "board", "imageIds": [{"imageDigest": self.digests[build]}]}
        ecr = self.client("ecr")
        image = ecr.batch_get_image(**which)["images"][0]
        name = f"localhost:{self.project.local.port}/board:{self.digests[build].replace(':', '-')}"
        kept = f"lastgood-faults:{self.cloud.instance}"
        there = bool(self._docker("images", "--quiet", name).strip())
        if there:
            self._docker("tag", name, kept)
            self._docker("image", "rm", "--force", name)
        ecr.batch_delete_image(**which)
        try:
            yield
        finally:
            tag = {"imageTag": image["imageId"]["imageTag"]} if image["imageId"].get("imageTag") else {}
            ecr.put_image(
                repositoryName="board",
                imageManifest=image["imageManifest"],
                imageManifestMediaType=image["imageManifestMediaType"],
                **tag,
            )
            if there:
                self._docker("tag", kept, name)
                self._docker("image", "rm", "--force", kept)

    # --- the database -------------------------------------------------------------------------------------------------------

    def sql(self, text: str) -> str:
        """Runs statements as the database's administrator; returns what psql prints."""
        done = self._psql(["-c", text], stdin=subprocess.DEVNULL)
        out, errors = done.communicate(timeout=PATIENCE)
        if done.returncode:
            raise NotMade(f"psql: {errors.decode(errors='replace').strip()}")
        return out.decode().strip()

    def _psql(self, arguments: list[str], stdin: int) -> subprocess.Popen[bytes]:
        name = f"lastgood-{self.cloud.instance}-postgres"
        command = [
            "docker",
            "exec",
            "-i",
            name,
            "psql",
            "-h",
            "/tmp",
            "-U",
            "postgres",
            "-d",
            "board",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            *arguments,
        ]
        return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    @contextlib.contextmanager
    def session(self, text: str) -> Iterator[None]:
        """A session that has run `text` in a transaction, which it keeps open."""
        open_ = self._psql([], stdin=subprocess.PIPE)
        assert open_.stdin is not None
        assert open_.stdout is not None
        open_.stdin.write(f"BEGIN; {text}; SELECT 'there';\n".encode())
        open_.stdin.flush()
        while open_.stdout.readline().strip() != b"there":
            if open_.poll() is not None:
                raise NotMade("the session ended")
        try:
            yield
        finally:
            open_.stdin.close()
            open_.wait(timeout=60)

    def close(self, gate: str) -> None:
        """Closes a gate of the migration: `forward` or `back`."""
        self.sql(f"INSERT INTO faults.closed VALUES ('{gate}')")

    def open(self) -> None:
        """Opens all gates."""
        self.sql("DELETE FROM faults.closed")

    def waiting(self) -> bool:
        """Whether a migration waits at a gate."""
        return self.sql(f"SELECT count(*) FROM pg_stat_activity WHERE {AT_GATE}") != "0"

    def at_gate(self, tool: Tool | None = None) -> None:
        """Waits until a migration has come to its gate."""
        until(self.waiting, "a migration at its gate", tool)

    def rows(self) -> str:
        """What the application's rows are, without the column that comes and goes."""
        return self.sql("SELECT count(*) || ' ' || md5(string_agg(concat(number, state, build, reason, started), ',' ORDER BY id)) "
                        "FROM releases_release")  # fmt: skip

    def cut_database(self) -> None:
        """Nobody on the tasks' network reaches the database."""
        self._docker("network", "disconnect", self.cloud.network, f"lastgood-{self.cloud.instance}-postgres")

    def mend_database(self) -> None:
        """It is reached again, by the same name."""
        name = f"lastgood-{self.cloud.instance}-postgres"
        with contextlib.suppress(NotMade):
            self._docker("network", "connect", "--alias", "postgres", self.cloud.network, name)

    def pause(self, *names: str, on: bool) -> None:
        """What runs in a container stands still, or goes on."""
        for one in names:
            with contextlib.suppress(NotMade):
                self._docker("pause" if on else "unpause", one)

    def restart_database(self) -> None:
        """It is killed, and started again."""
        self._docker("restart", "--time", "0", f"lastgood-{self.cloud.instance}-postgres")
        until(lambda: self._is_up(), "the database")

    def _is_up(self) -> bool:
        try:
            return self.sql("SELECT 1") == "1"
        except NotMade:
            return False

    # --- afterwards ---------------------------------------------------------------------------------------------------------

    def calm(self) -> None:
        """Takes every fault away, whatever is left of it."""
        self.rules = []
        self.write_rules()
        for one in self._others:
            if one.process.poll() is None:
                one.kill()
        self._others = []
        self.wire.mend()
        self.pause(*self.containers("web"), on=False)
        self.mend_database()
        if emulator.Emulator(self.folder).pid() is None:
            self.up()
        until(self._is_up, "the database")
        self.sql("DROP EVENT TRIGGER IF EXISTS full_disk")
        self.open()

    def record(self) -> Record:
        """The release record, by no wire."""
        import boto3

        port = self.project.local.port
        resource = boto3.resource(
            "dynamodb",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name=REGION,
            aws_access_key_id="rig",
            aws_secret_access_key="rig",
        )
        return Record(resource.Table("lastgood-board"), "local")

    def lock(self) -> dict[str, Any] | None:
        """The deploy lock, if somebody has it."""
        return holder(self.record())

    def exits(self) -> list[int]:
        """The exit statuses of the newest operation's release tasks, as far as they have ended."""
        return [
            int(hop["exit"]) for hop in (self.record().operation() or {}).get("hops", ()) if hop.get("exit") is not None
        ]

    def orphans(self) -> list[str]:
        """What is left behind: release tasks, web tasks too many, open operations, locks in the database."""
        left = [f"container {name}" for name in self.containers("release")]
        web = self.containers("web")
        if len(web) != 1:
            left.append(f"{len(web)} web containers")
        ecs = self.client("ecs")
        arns = ecs.list_tasks(cluster="board_local")["taskArns"]
        if len(arns) != 1:
            left.append(f"{len(arns)} tasks")
        tables = [one for one in self.client("dynamodb").list_tables()["TableNames"] if "Open" in one or "open" in one]
        left += [f"open operation in {one}" for one in tables if self.client("dynamodb").scan(TableName=one)["Items"]]
        held = self.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        if held != "0":
            left.append(f"{held} advisory locks")
        return left

    def schema(self) -> str:
        """The catalog's view of the application's tables."""
        return self.sql(_SCHEMA)
