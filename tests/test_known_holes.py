"""`make audit` against an index, a list of vulnerabilities and an npm registry of the test's own."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from console.config import ROOT
from tests.test_supply import own_environment, sha256, wheel

HOLE = {
    "id": "GHSA-hole",
    "summary": "lets anyone in",
    "affected": [
        {
            "package": {"name": "stranger", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}
NPM_HOLE = {
    "id": 1,
    "url": "https://example.org/1",
    "title": "lets anyone in as well",
    "severity": "high",
    "vulnerable_versions": "<2",
    "cwe": [],
    "cvss": {"score": 0, "vectorString": None},
}
LEFT_PAD = {"version": "1.0.0", "integrity": "sha512-AAAA"}
NODE_LOCK: dict[str, Any] = {
    "lockfileVersion": 3,
    "packages": {"": {"dependencies": {"left-pad": "1.0.0"}}, "node_modules/left-pad": LEFT_PAD},
}


# PyPI's own address can't be set: here it knows no package.
NO_PYPI = """
import os, requests
get = requests.Session.get
def elsewhere(session, url, **options):
    return get(session, url.replace("https://pypi.org/pypi", os.environ["PIP_INDEX_URL"]), **options)
requests.Session.get = elsewhere
"""


class World:
    """Answers as an index, as OSV and as an npm registry do, and knows of what the test tells it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.package = wheel(directory, "stranger")
        self.holes: list[dict[str, Any]] = []
        self.yanked = False
        self.npm: dict[str, list[dict[str, Any]]] = {}
        self.address = ""
        (directory / "lock.txt").write_text(f"stranger==1.0 \\\n    --hash=sha256:{sha256(self.package)}\n")
        (directory / "package-lock.json").write_text(json.dumps(NODE_LOCK))
        (directory / "sitecustomize.py").write_text(NO_PYPI)
        (directory / "package.json").write_text(json.dumps(NODE_LOCK["packages"][""]))

    def get(self, path: str) -> tuple[str, bytes]:
        """Answer pip."""
        if path.endswith(".whl"):
            return "application/zip", self.package.read_bytes()
        yanked = ' data-yanked="it was a mistake"' if self.yanked else ""
        return "text/html", f'<a href="/{self.package.name}"{yanked}>{self.package.name}</a>'.encode()

    def post(self, path: str) -> tuple[str, bytes]:
        """Answer pip-audit and npm."""
        if path == "/osv":
            return "application/json", json.dumps({"vulns": self.holes} if self.holes else {}).encode()
        return "application/json", json.dumps(self.npm).encode()

    def audit(self, service: str = "osv") -> subprocess.CompletedProcess[str]:
        """Run the audit of the test's two lock files."""
        environment = own_environment(
            PIP_INDEX_URL=f"{self.address}/simple",
            PIP_RETRIES="0",
            PYTHONPATH=str(self.directory),
            PIP_AUDIT_OSV_URL=f"{self.address}/osv",
            npm_config_registry=self.address,
            npm_config_cache=str(self.directory / "npm"),
            npm_config_fetch_retries="0",
        )
        files = (str(self.directory / "lock.txt"), str(self.directory / "package-lock.json"))
        command = (sys.executable, str(ROOT / "scripts" / "audit.py"), "--service", service, *files)
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Serve the test's own registries."""
    world = World(tmp_path)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.endswith("/json"):
                self.send_error(404)
            else:
                self.answer(*world.get(self.path))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(*world.post(self.path))

        def answer(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        world.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield world
        server.shutdown()
        thread.join()


def test_an_audit_without_findings_passes(world: World):
    done = world.audit()
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Nothing is known.") == 3
    assert "No answer" not in done.stdout


def test_known_vulnerabilities_are_named_and_fail_the_audit(world: World):
    world.holes = [HOLE]
    world.yanked = True
    world.npm = {"left-pad": [NPM_HOLE]}
    done = world.audit()
    assert done.returncode == 1
    assert "stranger==1.0: GHSA-hole (fixed in 1.1)" in done.stdout
    assert "stranger==1.0: withdrawn by its author" in done.stdout
    assert "left-pad: lets anyone in as well" in done.stdout
    assert done.stderr == "Not clear: something is known.\n"
    assert "Nothing is known." not in done.stdout


def test_one_vulnerability_fails_the_audit(world: World):
    world.npm = {"left-pad": [NPM_HOLE]}
    done = world.audit()
    assert done.returncode == 1
    assert done.stdout.count("Nothing is known.") == 2


def test_a_service_that_does_not_answer_fails_the_audit(world: World):
    world.address = "http://127.0.0.1:9"
    done = world.audit()
    assert done.returncode == 1
    assert done.stdout.count("No answer for") == 3
    assert "Nothing is known." not in done.stdout
    assert done.stderr == "Not clear: 3 of 3 questions got no answer. Asking takes the network.\n"


def test_a_package_that_a_service_does_not_know_has_no_answer(world: World):
    done = world.audit("pypi")
    assert done.returncode == 1
    assert "No answer for 1 Python packages: pypi: " in done.stdout
    assert "not found on PyPI" in done.stdout
