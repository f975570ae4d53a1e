"""An application under gunicorn as the console ships it, in processes of its own."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
from sqlalchemy.engine import URL

from benchmarks import dataset
from console.config import ROOT, sqlite_path

CONSOLE = ("--config", "gunicorn.conf.py", "app:app")
FLASK_ADMIN = ("--config", "python:benchmarks.peers.server", "benchmarks.peers.admin_flask:serve()")

_START_SECONDS = 30


@contextlib.contextmanager
def served(url: URL, application: tuple[str, ...] = CONSOLE) -> Iterator[tuple[int, psutil.Process]]:
    """Serve an application on that database; give its port and the server's process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    environment = {
        **os.environ,
        "CONSOLE_DATABASE_URL": _address(url),
        "CONSOLE_SECRET_KEY": "signs the benchmark's sessions alone",
        "CONSOLE_CUSTOMER_BADGE": "true",
        "CONSOLE_WHATSAPP_APP_SECRET": dataset.APP_SECRET,
        "CONSOLE_LOG_LEVEL": "info",
    }
    options = ("--bind", f"127.0.0.1:{port}", "--log-level", "warning")
    server = subprocess.Popen(
        (sys.executable, "-m", "gunicorn", *options, *application),
        cwd=ROOT,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(port)
        yield port, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(_START_SECONDS)


def memory(server: psutil.Process) -> int:
    """Return how much memory the server's processes hold together, in bytes."""
    return sum(process.memory_info().rss for process in (server, *server.children(recursive=True)))


def _address(url: URL) -> str:
    """Return the address as a person would write it."""
    path = sqlite_path(url)
    return f"sqlite:///{path}" if path else url.render_as_string(hide_password=False)


def _await(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.1)
    raise RuntimeError("gunicorn did not start")
