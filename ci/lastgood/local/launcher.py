"""The emulator's process: ministack with our adapters, and the site front. Run by .venv-local's Python as `launcher.py SETTINGS`.

It listens on 127.0.0.1 and on the gateway of the instance's own Docker network, nowhere else. SIGTERM saves the state and ends it.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lastgood.local.adapters.settings import Settings


def _find_lastgood() -> None:
    """Makes `lastgood` importable from where this file lies, without its neighbours in site-packages."""
    package = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location(
        "lastgood", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{package} is not the lastgood package: install lastgood again")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules["lastgood"] = loaded
    spec.loader.exec_module(loaded)


def _application(settings: Settings) -> Any:
    from lastgood.local.adapters import restart, site
    from lastgood.local.adapters.settings import STATUS_PATH
    from lastgood.local.adapters.wrap import module

    emulator = module("app").app

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["server"][1] == settings.site_port:
            await site.answer(settings, scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == STATUS_PATH:
            await site.status(settings, send, os.getpid())
        elif scope["type"] == "websocket" and scope["server"][1] == settings.site_port:
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            if scope["type"] == "http" and scope["method"] != "GET":
                restart.touch()
            await emulator(scope, receive, send)

    return application


async def _serve(settings: Settings) -> None:
    from lastgood.local.adapters import tasks

    serve = importlib.import_module("hypercorn.asyncio").serve
    config = importlib.import_module("hypercorn.config").Config()
    config.bind = [
        f"127.0.0.1:{settings.port}",
        f"{settings.gateway}:{settings.port}",
        f"127.0.0.1:{settings.site_port}",
    ]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.accesslog = None
    ending = asyncio.Event()

    def end() -> None:
        tasks.close()
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    await serve(_application(settings), config, shutdown_trigger=ending.wait)


def main(settings_file: str) -> None:
    """Runs until SIGTERM."""
    _find_lastgood()
    from lastgood.local.adapters import install
    from lastgood.local.adapters.settings import Settings

    settings = Settings.read(Path(settings_file))
    folder = Path(settings.folder)
    # ministack reads its settings from the environment when it is imported.
    os.environ.update(
        GATEWAY_PORT=str(settings.port),
        PERSIST_STATE="1",
        STATE_DIR=str(folder / "state"),
        S3_DATA_DIR=str(folder / "s3"),
        TMPDIR=str(folder / "tmp"),
        MINISTACK_DOCKER_TIMEOUT="60",
        IOT_MTLS_ENABLED="0",
        SFTP_ENABLED="0",
    )
    install(settings)
    logging.getLogger("persistence").setLevel(logging.WARNING)  # it says every five seconds what it has saved
    asyncio.run(_serve(settings))


if __name__ == "__main__":
    main(sys.argv[1])
