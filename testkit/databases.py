"""The two engines that a test of the database runs on, and the way into either past the console."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from flask import current_app
from sqlalchemy import URL, Connection, NullPool, Pool, create_engine, event, text
from sqlalchemy.engine import ExceptionContext

from console.config import ROOT, Settings, database_url, read_only, sqlite_path
from console.database import Base, Scope, app_engines, db, writing
from testkit.postgres import Cluster

SQLITE, POSTGRESQL = ENGINES = ("sqlite", "postgresql")

# For what only one engine has: files and PRAGMAs here, servers, roles and processes there.
on_sqlite = pytest.mark.parametrize("engine", [SQLITE], indirect=True)
on_postgresql = pytest.mark.parametrize("engine", [POSTGRESQL], indirect=True)

PARTITION = ROOT / "deploy" / "partition.sql"
PARTITIONED = os.environ.get("CONSOLE_TEST_TABLES") == "partitioned"
"""Whether the tests on PostgreSQL run on partitioned tables: `make test-partitioned`."""

# For what is refused where tables are partitioned: to downgrade their keys.
downgrading = pytest.mark.parametrize("engine", [SQLITE] if PARTITIONED else ENGINES, indirect=True)

OWNER = "console_migrate"
AN_EVENT = "INSERT INTO audit_events"


def settings_for(where: Path | URL, **changes: object) -> Settings:
    """Return the settings of a console on one SQLite file or one PostgreSQL database, with the badge on.

    On PostgreSQL each part has its own role, as in production.
    """
    secret_key = "a secret of the tests alone, which is long enough"
    values: dict[str, object] = {"secret_key": secret_key, "customer_badge": True}
    if isinstance(where, Path):
        url = database_url(f"sqlite:///{where}")
        urls = {"": url, "read_": read_only(url), "ingest_": url}
    else:
        roles = {"": "console_link", "read_": "console_read", "ingest_": "console_ingest"}
        urls = {part: where.set(username=role) for part, role in roles.items()}
    values |= {f"{part}database_url": url for part, url in urls.items()}
    return Settings(**{**values, **changes})  # type: ignore[arg-type]  # checked by what uses them


def as_owner(settings: Settings) -> Settings:
    """Return the settings with which people run what changes more than a part of the console may."""
    if settings.database_url.get_backend_name() == SQLITE:
        return settings
    return replace(settings, database_url=settings.database_url.set(username=OWNER))


@contextmanager
def back_door() -> Iterator[Connection]:
    """Open a transaction in which no role and no row-level security of the console's stands in the way."""
    settings = as_owner(current_app.config["CONSOLE"])
    if settings.database_url.get_backend_name() == SQLITE:
        with writing(Scope(app_engines(), instructor_ids=None)) as connection:
            yield connection
    else:
        engine = create_engine(settings.database_url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text("SET TIME ZONE 'UTC'"))
            yield connection


@contextmanager
def fresh_copy(cluster: Cluster, template: URL | None = None) -> Iterator[URL]:
    """Make a copy of a server's database, or an empty one, and drop it in the end."""
    url = cluster.create_database(template)
    with hanging_up():
        yield url
    cluster.drop_database(url)


@contextmanager
def hanging_up() -> Iterator[None]:
    """Close in the end every connection to a server that any app opened meanwhile."""
    opened: list[psycopg.Connection[Any]] = []

    def remember(connection: object, _record: object) -> None:
        if isinstance(connection, psycopg.Connection):
            opened.append(connection)

    event.listen(Pool, "connect", remember)
    try:
        yield
    finally:
        event.remove(Pool, "connect", remember)
        for connection in opened:
            connection.close()


def rows(query: str) -> list[tuple[Any, ...]]:
    """Return what a query finds behind the console's back; ids and moments as the text they are on SQLite."""
    with back_door() as connection:
        return [tuple(map(_as_text, row)) for row in connection.execute(text(query))]


def _as_text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return str(value) if isinstance(value, UUID) else value


def server_content() -> list[tuple[Any, ...]]:
    """Return a digest of each table, and the number the next transaction to write anything will get."""
    tables = [
        f"SELECT '{table}', md5(string_agg(t::text, '' ORDER BY t::text)) FROM {table} t"
        for table in sorted(Base.metadata.tables)
    ]
    return rows("SELECT pg_snapshot_xmax(pg_current_snapshot())::text") + rows(" UNION ALL ".join(tables))


def file_of(settings: Settings) -> Path:
    """Return the database file."""
    path = sqlite_path(settings.database_url)
    assert path
    return path


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Hold the write lock of the database file."""
    lock = sqlite3.connect(file_of(settings), isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        lock.close()


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables that tell a process to use the same databases."""
    urls = {
        "CONSOLE_DATABASE_URL": settings.database_url,
        "CONSOLE_READ_DATABASE_URL": settings.read_database_url,
        "CONSOLE_INGEST_DATABASE_URL": settings.ingest_database_url,
    }
    named = {name: url.render_as_string(hide_password=False) for name, url in urls.items()}
    return {**os.environ, **named, "CONSOLE_SECRET_KEY": settings.secret_key}


def execute(*statements: str) -> None:
    """Change the database behind the console's back."""
    with back_door() as connection:
        for statement in statements:
            connection.execute(text(statement))


@contextmanager
def around_each_event(
    before: Callable[[Any], object], after: Callable[[Any], object] = lambda _driver: None
) -> Iterator[None]:
    """Call `before` and `after` with the driver's connection around each INSERT of an event."""

    def begins(_connection: Connection, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith(AN_EVENT):
            before(cursor.connection)

    def ends(_connection: Connection, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith(AN_EVENT):
            after(cursor.connection)

    def fails(context: ExceptionContext) -> None:
        if (context.statement or "").startswith(AN_EVENT) and context.execution_context:
            after(context.execution_context.cursor.connection)

    listeners: dict[str, Callable[..., None]] = {
        "before_cursor_execute": begins,
        "after_cursor_execute": ends,
        "handle_error": fails,
    }
    for name, listener in listeners.items():
        event.listen(db.engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners.items():
            event.remove(db.engine, name, listener)
