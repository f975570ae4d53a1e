"""A real gunicorn in front of a database, and a person who sends its forms."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

from sqlalchemy.engine import URL

from console.config import ROOT, Settings, sqlite_path
from testkit.factories import PASSWORD

START_SECONDS = 60
ANSWER_SECONDS = 60


@dataclass
class Server:
    """A running console; its workers are processes to be killed or paused."""

    port: int
    process: "subprocess.Popen[bytes]" = field(repr=False)

    def workers(self) -> list[int]:
        """Return the workers' process ids."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill(self, worker: int) -> None:
        """Kill a worker, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)

    def pause(self, worker: int, seconds: float) -> None:
        """Stop a worker in whatever it is doing, and let it go on."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(worker, signal.SIGCONT)


@contextlib.contextmanager
def serve(
    settings: Settings, directory: Path, *, workers: int = 2, prepare: Callable[[], None] | None = None
) -> Iterator[Server]:
    """Run the console on a port of its own; its process calls `prepare` before it becomes the server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", "--log-level", "warning"]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", str(workers), "app:app"]
    with (directory / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(settings),
            preexec_fn=prepare,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    server = Server(port, process)
    try:
        _await(server, directory / "server.log")
        yield server
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _environment(settings: Settings) -> dict[str, str]:
    urls = {
        "": settings.database_url,
        "READ_": settings.read_database_url,
        "INGEST_": settings.ingest_database_url,
    }
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CONSOLE_", "PROMETHEUS_"))
    }
    return {
        **kept,
        **{f"CONSOLE_{name}DATABASE_URL": _text(url) for name, url in urls.items()},
        "CONSOLE_SECRET_KEY": settings.secret_key,
        "CONSOLE_LOG_LEVEL": "error",
    }


def _text(url: URL) -> str:
    path = sqlite_path(url)
    return f"sqlite:///{path}" if path else url.render_as_string(hide_password=False)


def _await(server: Server, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.process.poll() is None and time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)) as connection,
        ):
            connection.request("GET", "/static/console.css")  # a console that still loads answers /healthz
            with connection.getresponse() as response:
                if response.status == 200:
                    return
        time.sleep(0.05)
    raise RuntimeError(f"the console did not start: {log.read_text()}")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered."""

    status: int
    text: str
    cookie: str | None

    def field(self, name: str) -> str | None:
        """Return what the page's first hidden field of that name holds."""
        found = re.search(rf'name="{name}"[^>]* value="([^"]*)"', self.text)
        return unescape(found[1]) if found else None


class NotSignedIn(Exception):
    """The server answers, and refused the sign-in."""


class Visitor:
    """A person at a browser: one session, one connection at a time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookie = ""
        self.token = ""
        self.connection: http.client.HTTPConnection | None = None

    def sign_in(self, email: str, password: str = PASSWORD) -> None:
        """Sign in, and take the token that makes every later form this session's."""
        self.cookie = ""
        page = self.get("/login")
        fields = {
            "email": email,
            "password": password,
            "csrf_token": page.field("csrf_token") or "",
            "next": "",
        }
        self.cookie = page.cookie or ""
        reply = self.post("/login", fields)
        if reply.status != 303:
            raise NotSignedIn(reply.text)
        self.cookie = reply.cookie or ""

    def get(self, path: str) -> Reply:
        """Get a page."""
        return self.request("GET", path)

    def post(self, path: str, fields: Mapping[str, str]) -> Reply:
        """Send a form."""
        return self.request("POST", path, urlencode(fields))

    def request(self, method: str, path: str, body: str | None = None) -> Reply:
        """Send a request; OSError or HTTPException where no answer comes."""
        headers = {"Cookie": self.cookie}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            self.connection.request(method, path, body, headers)
            with self.connection.getresponse() as response:
                text = response.read().decode()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        session = SimpleCookie(response.headers.get("Set-Cookie", "")).get("session")
        return Reply(response.status, text, f"session={session.value}" if session else None)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self.connection:
            self.connection.close()
            self.connection = None

    def sever(self, path: str, fields: Mapping[str, str]) -> None:
        """Send a form and hang up before the answer."""
        body = urlencode(fields).encode()
        head = [
            f"POST {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Cookie: {self.cookie}",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(body)}",
        ]
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
