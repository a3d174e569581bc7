"""The emulator's process as this machine sees it: start, stop, whether it is alive, and what a killed one left behind."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from lastgood.aws import local_cloud
from lastgood.errors import UsageError
from lastgood.local import virtualenv
from lastgood.local.adapters.settings import STATUS_PATH, Settings
from lastgood.local.process import started

DEADLINE = 30.0  # seconds for the emulator to answer, or to end
_PACKAGE = Path(__file__).parent
_PROC = Path("/proc")


def fingerprint(settings: Settings) -> str:
    """Changes when the emulator has to be started anew: other settings, other adapters, another lock."""
    digest = hashlib.sha256(repr(settings).encode())
    digest.update(virtualenv.lock_hash().encode())
    for file in (_PACKAGE / "launcher.py", *sorted((_PACKAGE / "adapters").glob("*.py"))):
        digest.update(file.read_bytes())
    return digest.hexdigest()


class Emulator:
    """The emulator of one instance; what it keeps lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "emulator.log"
        self.settings_file = folder / "emulator-settings.json"
        self._record = folder / "emulator.json"

    def _recorded(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def pid(self) -> int | None:
        """The process, if it is alive. Its start time tells it from a later one with the same number."""
        found = self._recorded()
        if found and started(found["pid"]) == found["started"]:
            return int(found["pid"])
        return None

    def is_current(self, settings: Settings) -> bool:
        """Whether it is alive, with these settings and adapters."""
        return self.pid() is not None and self._recorded().get("fingerprint") == fingerprint(settings)

    def status(self, port: int) -> dict[str, Any] | None:
        """What it says of itself, or None where it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", STATUS_PATH)
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return found

    def start(self, python: Path, settings: Settings) -> None:
        """Starts it and waits until it answers. Raises UsageError with the log's last line where it does not."""
        self.sweep()
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        settings.write(self.settings_file)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [str(python), "-P", str(_PACKAGE / "launcher.py"), str(self.settings_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment(),
                start_new_session=True,
            )
        record = {"pid": process.pid, "started": started(process.pid), "fingerprint": fingerprint(settings)}
        local_cloud.write_private(self._record, json.dumps(record))
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if process.poll() is not None:
                break
            if (self.status(settings.port) or {}).get("pid") == process.pid:
                process.returncode = 0  # it outlives us on purpose, and Popen would complain that nobody waits for it
                return
            time.sleep(0.05)
        raise UsageError(f"the emulator did not start: {self._last_line()}; the whole log is {self.log}")

    def _environment(self) -> dict[str, str]:
        """Only what it needs. Functions run with its environment, and none of the user's credentials must reach them."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "DOCKER_HOST") if name in os.environ}
        return kept | {
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _last_line(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """Ends it, so that it saves its state; by force after the deadline. Nothing of it stays."""
        pid = self.pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + DEADLINE
            while self.pid() is not None and time.monotonic() < end:
                time.sleep(0.02)
            if self.pid() is not None:
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # ours only if we started it
                os.waitpid(pid, 0)
        self._record.unlink(missing_ok=True)
        self.sweep()

    def sweep(self) -> None:
        """Removes what a killed emulator left: workers of functions, and their temporary folders."""
        temporary = str(self.folder / "tmp") + "/"
        for folder in _PROC.iterdir():
            if not folder.name.isdecimal():
                continue
            with contextlib.suppress(OSError):
                if temporary.encode() in (folder / "cmdline").read_bytes():
                    os.kill(int(folder.name), signal.SIGKILL)
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
