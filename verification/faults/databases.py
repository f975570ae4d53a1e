"""The database under test, and the way into it past the console and its roles."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from console.config import Settings, sqlite_path
from testkit.databases import SQLITE
from testkit.postgres import Cluster


@dataclass(frozen=True)
class Database:
    """A migrated, empty database that the console under test uses."""

    settings: Settings
    cluster: Cluster | None = field(default=None, repr=False)

    @property
    def engine(self) -> str:
        """Return the engine's name."""
        return self.settings.database_url.get_backend_name()

    @property
    def path(self) -> Path:
        """Return the SQLite file."""
        path = sqlite_path(self.settings.database_url)
        assert path
        return path

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """Open a driver's connection that may do everything; each statement commits by itself."""
        if self.engine == SQLITE:
            with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as connection:
                yield connection
        else:
            assert self.cluster
            with self.cluster.connect(str(self.settings.database_url.database)) as connection:
                yield connection

    def execute(self, *statements: str) -> None:
        """Run statements, each its own transaction."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query."""
        with self.connect() as connection:
            return list(connection.execute(query))
