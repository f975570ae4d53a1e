"""Three PostgreSQL nodes under Patroni, with etcd, on loopback; everything in one throwaway directory."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from testkit import postgres

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
NODES = 3
START_SECONDS = 120

Process = subprocess.Popen[bytes]


class HaError(Exception):
    """The cluster can't be set up here, or doesn't come to what was waited for."""


def wait_for(what: str, condition: Callable[[], bool], seconds: float = START_SECONDS) -> float:
    """Wait until a condition holds; return after how many seconds."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() > started + seconds:
            raise HaError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
    return time.monotonic() - started


@dataclass
class Node:
    """One PostgreSQL and the Patroni that keeps it."""

    name: str
    directory: Path
    port: int
    api_port: int
    process: Process | None = field(default=None, repr=False)

    @property
    def data(self) -> Path:
        """Return the data directory."""
        return self.directory / "data"

    def state(self) -> dict[str, Any]:
        """Return what Patroni says of its node; nothing where it doesn't answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}/patroni", timeout=2) as answer:
                return dict(json.load(answer))
        except OSError as error:
            # A node that is starting answers 503, and says why.
            return dict(json.load(error)) if isinstance(error, urllib.request.HTTPError) else {}

    def leads(self) -> bool:
        """Say whether this node is the primary."""
        state = self.state()
        return state.get("role") in ("primary", "master") and state.get("state") == "running"

    def streams(self) -> bool:
        """Say whether this node is a standby that keeps up."""
        state = self.state()
        return state.get("role") == "replica" and state.get("replication_state") == "streaming"

    def kill_postgres(self) -> None:
        """Kill the server, as the kernel does when memory runs out; Patroni lives on."""
        os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def kill(self) -> None:
        """Kill the server and its Patroni, as the loss of the machine does."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.kill_postgres()


@dataclass
class Cluster:
    """The nodes, and how to start what runs on them."""

    directory: Path
    etcd_port: int
    nodes: list[Node]
    processes: list[Process] = field(default_factory=list)

    def url(self, user: str) -> URL:
        """Return the address at which a driver finds the primary, whichever node that is."""
        hosts = tuple(f"127.0.0.1:{node.port}" for node in self.nodes)
        query = {
            "host": hosts,
            "target_session_attrs": "read-write",
            "connect_timeout": "2",
            "tcp_user_timeout": "3000",
        }
        return URL.create("postgresql+psycopg", username=user, database="postgres", query=query)

    def primary(self) -> Node | None:
        """Return the node that is the primary."""
        return next((node for node in self.nodes if node.leads()), None)

    def is_whole(self) -> bool:
        """Say whether there is a primary, and every other node a standby, one of them synchronous."""
        primary = self.primary()
        others = [node for node in self.nodes if node is not primary]
        synchronous = any(node.state().get("sync_standby") for node in others)
        return primary is not None and synchronous and all(node.streams() for node in others)

    def start(self, node: Node) -> None:
        """Start a node's Patroni, which starts its PostgreSQL."""
        node.process = self._run(self.directory / "venv" / "bin" / "patroni", node.directory / "patroni.yml")

    def start_etcd(self, peer_port: int) -> None:
        """Start etcd, in which the nodes agree on who leads."""
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.etcd_port, peer_port))
        options = {
            "data-dir": self.directory / "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "log-level": "error",
        }
        self._run(etcd(), *(f"--{name}={value}" for name, value in options.items()))
        wait_for("etcd", lambda: _answers(f"{client}/health"))

    def stop(self) -> None:
        """Stop all that was started, Patroni first so that it starts nothing again."""
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        for node in self.nodes:
            # Where Patroni was killed, its PostgreSQL may be left.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                node.kill_postgres()

    def _run(self, *command: str | Path) -> Process:
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                env={**os.environ, "HOME": str(self.directory)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **postgres.identity(),
            )
        self.processes.append(process)
        return process


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Install Patroni, start the nodes, and in the end stop them and remove everything."""
    with tempfile.TemporaryDirectory(prefix="console-ha-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        install_patroni(directory / "venv")
        if user := postgres.identity():
            os.chown(directory, user["user"], user["group"])
        etcd_port, peer_port, *ports = free_ports(2 + 2 * NODES)
        pairs = zip(ports[::2], ports[1::2], strict=True)
        nodes = [
            Node(f"node{number}", directory / f"node{number}", port, api_port)
            for number, (port, api_port) in enumerate(pairs, 1)
        ]
        made = Cluster(directory, etcd_port, nodes)
        try:
            made.start_etcd(peer_port)
            for node in nodes:
                node.directory.mkdir()
                (node.directory / "patroni.yml").write_text(json.dumps(configuration(made, node)))
                if user:
                    os.chown(node.directory, user["user"], user["group"])
                made.start(node)
            wait_for("the cluster", made.is_whole)
            yield made
        except HaError as error:
            raise HaError(f"{error}\n{(directory / 'log').read_text()[-4000:]}") from error
        finally:
            made.stop()


def configuration(of: Cluster, node: Node) -> dict[str, Any]:
    """Return a node's patroni.yml, as JSON, which YAML includes."""
    return {
        "scope": "console",
        "name": node.name,
        "restapi": {
            "listen": f"127.0.0.1:{node.api_port}",
            "connect_address": f"127.0.0.1:{node.api_port}",
        },
        "etcd3": {"host": f"127.0.0.1:{of.etcd_port}"},
        "bootstrap": {
            "dcs": {
                # The least that Patroni takes: a node that is gone altogether is noticed after `ttl`.
                "ttl": 20,
                "loop_wait": 2,
                "retry_timeout": 3,
                # A server that died is not started again where another can take over at once.
                "primary_start_timeout": 0,
                # What was acknowledged is on two nodes, always.
                "synchronous_mode": True,
                "synchronous_mode_strict": True,
                "postgresql": {"use_pg_rewind": True},
            },
            "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
        },
        "postgresql": {
            "listen": f"127.0.0.1:{node.port}",
            "connect_address": f"127.0.0.1:{node.port}",
            "data_dir": str(node.data),
            "bin_dir": str(postgres.bin_directory()),
            "authentication": {
                "superuser": {"username": "postgres"},
                "replication": {"username": "replicator"},
                "rewind": {"username": "postgres"},
            },
            "parameters": {"unix_socket_directories": str(node.directory), "shared_buffers": "64MB"},
            # Loopback alone, and nothing of worth.
            "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
        },
    }


def install_patroni(where: Path) -> None:
    """Install the locked Patroni into an environment that the cluster's user may use."""
    python = shared_python()
    if subprocess.run([python, "-m", "venv", where], check=False, capture_output=True).returncode:
        apt_install("python3-venv")
        run(python, "-m", "venv", "--clear", str(where))
    pip = (str(where / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--require-hashes", "--requirement", str(REQUIREMENTS))


def shared_python() -> str:
    """Return a Python that the cluster's user may run: one in a home directory can be closed to others."""
    for candidate in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        probe = [candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(probe, check=False, cwd="/", **postgres.identity()).returncode == 0:
                return candidate
        except OSError:
            continue
    raise HaError("no Python 3.11 or newer that every user may run: apt-get install python3 python3-venv")


def etcd() -> str:
    """Return etcd's program, installed where it is missing."""
    if not shutil.which("etcd"):
        apt_install("etcd-server")
    return shutil.which("etcd") or "etcd"


def apt_install(package: str) -> None:
    """Install a Debian package, or say what to type."""
    command = ("apt-get", "install", "--yes", "--no-install-recommends", package)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise HaError(f"{package} is missing. On Debian or Ubuntu, as root: {' '.join(command)}")
    run("apt-get", "update", "-qq")
    run(*command)


def run(*command: str) -> None:
    """Run a command, and show what it said only where it fails."""
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise HaError(f"{' '.join(command)} failed: {done.stdout}")


def free_ports(count: int) -> list[int]:
    """Return free ports."""
    with contextlib.ExitStack() as open_ones:
        probes = [open_ones.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
