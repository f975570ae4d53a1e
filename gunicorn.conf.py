"""How gunicorn serves the console; an option on its command line goes before a value here."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Protocol

bind = "127.0.0.1:8000"

# Requests wait for the database, not for the processor.
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 8

timeout = 60
graceful_timeout = 30

# GET /badges names up to 100 conversations in its query: about 4,100 bytes, just over gunicorn's own limit.
limit_request_line = 8190

# A worker shows that it is alive by touching a file; on a disk under load that can take too long.
if Path("/dev/shm").is_dir():  # noqa: S108 (a directory to look for, not a file name to guess)
    worker_tmp_dir = "/dev/shm"  # noqa: S108

# The console logs each request itself; gunicorn's own messages go to stderr.
accesslog = None
errorlog = "-"

# Nobody steers a running server through gunicornc; signals do.
control_socket_disable = True

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
METRICS_PREFIX = "console-metrics-"


class Worker(Protocol):
    """What is used here of gunicorn's worker."""

    pid: int
    wsgi: Any


def when_ready(_server: object) -> None:
    """Give the workers one directory to count in together, before any of them is started."""
    directory = _metrics_directory()
    # One of ours, at this moment, is that of the master which this one replaces (SIGUSR2).
    if directory is None or directory.name.startswith(METRICS_PREFIX):
        os.environ[METRICS_VARIABLE] = tempfile.mkdtemp(prefix=f"{METRICS_PREFIX}{os.getpid()}-")


def post_worker_init(worker: Worker) -> None:
    """Move the audit events that wait since the last run."""
    from console import linking

    linking.catch_up(worker.wsgi)


def child_exit(_server: object, worker: Worker) -> None:
    """Take a worker that has ended out of the gauges."""
    # prometheus_client chooses how it counts when it is first imported, which must be after when_ready.
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # the library states no types for it


def on_exit(_server: object) -> None:
    """Remove the directory of the counters, unless it was the caller's."""
    directory = _metrics_directory()
    # Told by its name: gunicorn reads this file anew on SIGHUP, and a variable here would be lost.
    if directory and directory.name.startswith(f"{METRICS_PREFIX}{os.getpid()}-"):
        shutil.rmtree(directory, ignore_errors=True)


def _metrics_directory() -> Path | None:
    value = os.environ.get(METRICS_VARIABLE)
    return Path(value) if value else None
