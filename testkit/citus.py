"""A throwaway Citus on loopback, a coordinator and two workers, from the installation that CITUS_BIN names.

A database of the console is one on each node, of the same name; a copy of it is a copy on each.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.engine import URL

from console.config import ROOT
from testkit import postgres
from testkit.postgres import Cluster

INSTALLED = "CITUS_BIN" in os.environ
DISTRIBUTE = ROOT / "deploy" / "citus.sql"
WORKERS = 2
ROLES = ("console_migrate", "console_read", "console_link", "console_ingest")


@dataclass
class Coordinator(Cluster):
    """The coordinator, and the workers that its distributed tables are on."""

    workers: tuple[Cluster, ...] = ()

    @property
    def nodes(self) -> tuple[Cluster, ...]:
        """Return every node."""
        return (self, *self.workers)

    def create_database(self, template: URL | None = None, *, owner: str = postgres.OWNER) -> URL:
        """Create a database, a copy on each node where the template is distributed."""
        if template:
            for node in self.nodes:  # Citus's daemon is connected to the template
                connected = f"FROM pg_stat_activity WHERE datname = '{template.database}'"
                node.execute(f"SELECT pg_terminate_backend(pid) {connected}")
        url = super().create_database(template, owner=owner)
        for worker in self.workers:
            source = template.database if template else "template0"
            worker.execute(f'CREATE DATABASE {url.database} OWNER {owner} TEMPLATE "{source}"')
        return url

    def drop_database(self, url: URL) -> None:
        """Drop a database on every node."""
        for node in self.nodes:
            node.execute(f'DROP DATABASE "{url.database}" WITH (FORCE)')

    def distribute(self, url: URL) -> None:
        """Distribute the tables of a migrated database."""
        database = url.database or ""
        for node in self.nodes:
            node.execute("CREATE EXTENSION citus", database)
        self.execute(f"SELECT citus_set_coordinator_host('127.0.0.1', {self.port})", database)
        for worker in self.workers:
            self.execute(f"SELECT citus_add_node('127.0.0.1', {worker.port})", database)
        self.execute(DISTRIBUTE.read_text(), database)

    def move(self, url: URL, instructor_id: object) -> None:
        """Move an instructor's shards to the other worker while they are written to."""
        found = self.execute(
            "SELECT shardid, nodeport FROM citus_shards WHERE shardid ="
            f" get_shard_id_for_distribution_column('conversations', '{instructor_id}')",
            url.database or "",
        )
        ((shard, port),) = found
        (other,) = (worker.port for worker in self.workers if worker.port != port)
        self.execute(
            f"SELECT citus_move_shard_placement({shard}, '127.0.0.1', {port}, '127.0.0.1', {other},"
            " 'force_logical')",
            url.database or "",
        )


def _node() -> contextlib.AbstractContextManager[Cluster]:
    return postgres.cluster(
        shared_preload_libraries="citus", max_prepared_transactions="100", wal_level="logical"
    )


@contextlib.contextmanager
def cluster() -> Iterator[Coordinator]:
    """Make, start and in the end remove a coordinator and its workers."""
    with contextlib.ExitStack() as nodes:
        workers = tuple(nodes.enter_context(_node()) for _ in range(WORKERS))
        first = nodes.enter_context(_node())
        coordinator = Coordinator(first.directory, first.settings, first.port, first.process, workers)
        for worker in workers:
            for role in ROLES:
                worker.execute(f"CREATE ROLE {role} LOGIN")
        yield coordinator
