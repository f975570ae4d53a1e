"""A real gunicorn with the configuration that ships, and a visitor at a browser in front of it."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from bs4 import BeautifulSoup

from console.config import ROOT, Settings
from testkit.databases import environment
from testkit.pages import fields_of

SECONDS = 60


@dataclass
class Console:
    """A running gunicorn."""

    port: int
    log: Path
    process: "subprocess.Popen[bytes]" = field(repr=False)

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}"

    def workers(self) -> set[int]:
        """Return the workers' process ids."""
        pid = self.process.pid
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    def wait_until_up(self) -> None:
        """Wait until it is loaded: before that it answers /healthz alone."""
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):
                requests.get(f"{self.url}/static/console.css", timeout=SECONDS)
                return
            time.sleep(0.05)
        raise RuntimeError(f"the console did not start: {self.log.read_text()}")

    def stop(self) -> int:
        """Stop it as systemd would, and return its status."""
        self.process.terminate()
        return self.process.wait(SECONDS)


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    settings: Settings,
    directory: Path,
    *,
    listener: socket.socket | None = None,
    extra: Mapping[str, str] | None = None,
    options: tuple[str, ...] = (),
    app: str = "app:app",
    before: tuple[str, ...] = (),
) -> Console:
    """Start the console, on a port of its own or on a socket that is handed over as systemd does it."""
    port = listener.getsockname()[1] if listener else free_port()
    kept = {name: value for name, value in environment(settings).items() if not name.startswith("PROMETHEUS")}
    gunicorn = [*before, sys.executable, str(Path(sys.executable).with_name("gunicorn")), *options, app]
    handed: dict[str, Any] = {}
    if listener:
        # The variable has to name the process that gunicorn will be.
        gunicorn = ["/bin/sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", *gunicorn]
        inherited = listener.fileno()
        handed = {"preexec_fn": lambda: os.dup2(inherited, 3), "pass_fds": (3,)}
    else:
        gunicorn[-1:-1] = ["--bind", f"127.0.0.1:{port}"]
    log = directory / "console.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            gunicorn,
            cwd=ROOT,
            env={**kept, **(extra or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **handed,
        )
    return Console(port, log, process)


@contextlib.contextmanager
def serve(settings: Settings, directory: Path, **how: Any) -> Iterator[Console]:
    """Run the console; `how` as for `start`."""
    console = start(settings, directory, **how)
    try:
        console.wait_until_up()
        yield console
    finally:
        if console.process.poll() is None:
            console.stop()


class Visitor:
    """A visitor at a browser: keeps cookies, fills in forms."""

    def __init__(self, url: str, **session: Any) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        for name, value in session.items():
            setattr(self.session, name, value)

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def request(self, method: str, path: str, **how: Any) -> requests.Response:
        """Send a request and follow nothing."""
        how = {"timeout": SECONDS, "allow_redirects": False, **how}
        return self.session.request(method, urljoin(self.url, path), **how)

    def get(self, path: str, **how: Any) -> requests.Response:
        """Get a page."""
        return self.request("GET", path, **how)

    def post(self, path: str, data: Any, **how: Any) -> requests.Response:
        """Send a body."""
        return self.request("POST", path, data=data, **how)

    def submit(self, page: str, action: str, **changes: str) -> requests.Response:
        """Send the form that posts to `action` on the page at `page`, with changes."""
        form = BeautifulSoup(self.get(page).text, "html5lib").select_one(
            f'form[method=post][action^="{action}"]'
        )
        assert form, page
        return self.post(action, {**fields_of(form), **changes})

    def sign_in(self, email: str, password: str) -> requests.Response:
        """Sign in through the form."""
        return self.submit("/login", "/login", email=email, password=password)
