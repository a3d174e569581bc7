"""How gunicorn serves the board: `python -m gunicorn` in this folder finds this file by its name."""

from __future__ import annotations

import os
from typing import Any

from gunicorn.glogging import Logger

wsgi_app = "board.wsgi"
bind = "0.0.0.0:8000"  # in a container; who may come near is the security groups' matter

# One import for all workers: a build that can't start fails at once and as a whole, and the workers share its memory.
preload_app = True
workers = 2
worker_class = "gthread"
threads = 4

# The root file system is read-only and there is no home: the heartbeat files need memory, the control socket a folder.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
control_socket_disable = True

timeout = 30  # seconds without a heartbeat
graceful_timeout = 25  # seconds to finish what was begun; ECS kills after 30
keepalive = 75  # seconds; longer than the load balancer's idle timeout of 60, or it would write into closed connections

errorlog = "-"
accesslog = "-"
# Without the query string: it may hold what nobody should log.
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(B)s %(M)sms "%(a)s"'


class QuietLogger(Logger):
    """Logs no request for /livez or /healthz: two a few seconds per task would bury the rest."""

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> None:
        if environ.get("PATH_INFO") not in ("/livez", "/healthz"):
            super().access(resp, req, environ, request_time)


logger_class = QuietLogger
