"""How gunicorn serves the console; an option on its command line goes before a value here."""

import gc
import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger

NOTIFY_VARIABLE = "CUSTOMER_MEMORY_NOTIFY_SOCKET"


def take_settings(directory: str) -> None:
    """Take the settings that `systemctl reload` left: systemd reads them anew for that command alone."""
    file = Path(directory) / "settings"
    with suppress(FileNotFoundError):
        lines = os.fsdecode(file.read_bytes()).split("\0")
        file.unlink()
        given = dict(line.split("=", 1) for line in lines if line)
        for name in set(os.environ) - given.keys():
            if name.startswith(("CONSOLE_", "WEB_CONCURRENCY")):
                del os.environ[name]
        os.environ.update(given)


# This file is read again at each reload, before anything that it sets is used.
if "RUNTIME_DIRECTORY" in os.environ:
    take_settings(os.environ["RUNTIME_DIRECTORY"])

# gunicorn would tell systemd that it is ready before any worker is. So a worker does, once it can answer.
if "NOTIFY_SOCKET" in os.environ:
    os.environ[NOTIFY_VARIABLE] = os.environ.pop("NOTIFY_SOCKET")

bind = "127.0.0.1:8000"

# Requests wait for the database, not for the processor.
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
if workers < 1:
    sys.exit("WEB_CONCURRENCY takes a number of workers, 1 or more")
threads = 8

timeout = 60
graceful_timeout = 30

# Longer than a proxy keeps an idle connection, so that none is closed just as a request comes. An idle
# connection has no thread.
keepalive = 75

# GET /badges names up to 100 conversations in its query: 4,020 bytes, close to gunicorn's default of 4,094.
limit_request_line = 8190

# The console decides which proxies' headers it reads (CONSOLE_TRUSTED_PROXIES).
forwarded_allow_ips = ""

# A worker shows that it is alive by touching a file; on a disk under load that can take too long. Counters
# are files that are mapped into memory: on a full disk that ends the worker.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 (a directory to look for)
worker_tmp_dir = MEMORY

# The console logs each request itself; gunicorn's own messages go to stderr.
accesslog = None
errorlog = "-"

# A running server is controlled by signals alone.
control_socket_disable = True

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
METRICS_PREFIX = "console-metrics-"

# gunicorn reads less than this of a body that the console left unread. Then it closes the connection, though
# its answer said that it stays open.
MAX_UNREAD_BYTES = 64 * 1024

# Its threads wait for no client. It drops no connection that was made before it was told to stop.
worker_class = "gunicorn_worker.Worker"


class Line(logging.Formatter):
    """One of gunicorn's messages as a JSON line, like the console's own (docs/decisions/0023).

    The master's messages are about itself and stay whole. A worker's may quote requests, so only the template
    is kept, up to the first colon or bracket, and the kind and places of an exception.
    """

    def __init__(self) -> None:
        super().__init__()
        self.master = os.getpid()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        template = re.split("[:(]", str(record.msg))[0].rstrip()
        line: dict[str, Any] = {
            "event": record.getMessage() if os.getpid() == self.master else template,
            "logger": record.name,
            "process": record.process,
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
        }
        error = record.exc_info[1] if record.exc_info else sys.exc_info()[1]
        if error and record.levelno >= logging.WARNING:
            line["kind"] = type(error).__qualname__
        if record.exc_info and error:
            frames = traceback.extract_tb(error.__traceback__)
            line["places"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        return json.dumps(line)


class Lines(Logger):  # type: ignore[misc]  # gunicorn states no types
    """Writes gunicorn's messages as JSON lines."""

    def setup(self, cfg: Any) -> None:
        """Set the format once everything else is set."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(Line())


logger_class = Lines


def when_ready(_server: object) -> None:
    """Give the workers one directory to count in together, before any of them is started."""
    directory = _metrics_directory()
    # A directory of ours belongs, at this moment, to the master that this one replaces (SIGUSR2).
    if directory is None or directory.name.startswith(METRICS_PREFIX):
        remove_leftovers(Path(MEMORY or tempfile.gettempdir()))
        os.environ[METRICS_VARIABLE] = tempfile.mkdtemp(prefix=f"{METRICS_PREFIX}{os.getpid()}-", dir=MEMORY)


def remove_leftovers(parent: Path) -> None:
    """Remove the counters of masters that were killed before they could remove them."""
    for directory in parent.glob(f"{METRICS_PREFIX}*"):
        pid = directory.name.removeprefix(METRICS_PREFIX).partition("-")[0]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(directory, ignore_errors=True)
        except (ValueError, OverflowError, PermissionError):
            continue  # not made here, or another user's master that runs


# The workers that a reload replaces. gunicorn would end them before their successors have loaded the console.
_replaced: list[int] = []


def on_reload(server: Any) -> None:
    """Keep the workers there are until the new ones are ready."""
    _replaced[:] = sorted(server.WORKERS)
    server.num_workers += len(_replaced)


def post_worker_init(worker: Any) -> None:
    """Say that it is ready, take over from the workers that it replaces, start the work in the background."""
    from gunicorn import systemd
    from gunicorn.arbiter import Arbiter

    from console.linking import keeper
    from console.operations import health, metrics

    if lost := health.lost_guarantee(worker.wsgi):
        sys.stderr.write(f"{lost}\n")
        sys.exit(Arbiter.APP_LOAD_ERROR)
    keeper.start(worker.wsgi.app_context)
    metrics.sample_always(worker.wsgi)
    gc.freeze()
    if NOTIFY_VARIABLE in os.environ:
        os.environ["NOTIFY_SOCKET"] = os.environ[NOTIFY_VARIABLE]
        systemd.sd_notify("READY=1", worker.log, unset_environment=True)
    for pid in _replaced[worker.age % worker.cfg.workers :: worker.cfg.workers]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def pre_request(_worker: object, request: Any) -> None:
    """Keep no connection after a large body: gunicorn reads only a part of one that the console refuses."""
    headers = dict(request.headers)
    if "TRANSFER-ENCODING" in headers or int(headers.get("CONTENT-LENGTH", 0)) >= MAX_UNREAD_BYTES:
        request.must_close = True


def worker_exit(_server: object, worker: Any) -> None:
    """End a worker at once: a restart would wait until its memory is freed."""
    if worker.pid == os.getpid():  # the master calls this too, for workers that it finds gone
        reason = sys.exc_info()[1]
        sys.stderr.flush()
        os._exit(reason.code if isinstance(reason, SystemExit) and isinstance(reason.code, int) else 1)


def child_exit(server: Any, worker: Any) -> None:
    """Take a worker that has ended out of the gauges; a worker that a reload replaced needs no successor."""
    if worker.pid in _replaced:
        _replaced.remove(worker.pid)
        server.num_workers -= 1
    # prometheus_client chooses how it counts when it is first imported, which must be after when_ready.
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # the library states no types for it


def on_exit(_server: object) -> None:
    """Remove the directory of the counters, unless it was the caller's."""
    directory = _metrics_directory()
    # Its name says whose it is: gunicorn reads this file anew on SIGHUP, and a variable here would be lost.
    if directory and directory.name.startswith(f"{METRICS_PREFIX}{os.getpid()}-"):
        shutil.rmtree(directory, ignore_errors=True)


def _metrics_directory() -> Path | None:
    value = os.environ.get(METRICS_VARIABLE)
    return Path(value) if value else None
