"""The engines, and what each of their connections and transactions begins with."""

import sqlite3
from collections.abc import Iterable
from typing import Any, cast
from uuid import UUID

import psycopg
from flask import Flask, g, has_request_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, ExceptionContext

from console.config import Settings
from console.database.types import Base

SQLITE_BUSY_SECONDS = 15
STANDBY_CONNECT_SECONDS = 2

EVERY_INSTRUCTOR = "all"
"""What a transaction says that works for no person: a command's, or a worker's as it starts."""

_READERS = ("read", "primary")
_BROKEN_FILE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)

db = SQLAlchemy(metadata=Base.metadata)


def init_app(app: Flask, settings: Settings) -> None:
    """Give the app its engines: to write, to read, to ingest, and to read what a standby lacks."""
    urls = {"read": settings.read_database_url, "ingest": settings.ingest_database_url}
    if _is_elsewhere(settings.read_database_url, settings.database_url):
        reader = settings.read_database_url
        urls["primary"] = settings.database_url._replace(username=reader.username, password=reader.password)
        app.extensions["standby_rests_until"] = 0.0
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = _options(settings.database_url)
    app.config["SQLALCHEMY_BINDS"] = {
        bind: {"url": url, **_options(url, read_only=bind in _READERS)} for bind, url in urls.items()
    }
    db.init_app(app)
    app.teardown_appcontext(end_snapshot)
    with app.app_context():
        for bind, engine in db.engines.items():
            if engine.dialect.name == "sqlite":
                _prepare_sqlite(engine, read_only=bind in _READERS)
            else:
                _prepare_postgresql(engine, read_only=bind in _READERS)
                # Ingestion works for all: whose a message is, the message says.
                if bind != "ingest":
                    event.listen(engine, "begin", say_instructors)


def _is_elsewhere(read: URL, write: URL) -> bool:
    """Say whether reading names other servers than writing, so that it may lag behind."""
    if "sqlite" in (read.get_backend_name(), write.get_backend_name()):
        return False
    return (read.host, read.port, read.query) != (write.host, write.port, write.query)


def _options(url: URL, *, read_only: bool = False) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": SQLITE_BUSY_SECONDS}, "hide_parameters": True}
    options: dict[str, Any] = {"pool_pre_ping": True, "hide_parameters": True}
    if read_only:
        options["isolation_level"] = "REPEATABLE READ"  # one snapshot, as on SQLite
        if "connect_timeout" not in url.query:
            options["connect_args"] = {"connect_timeout": STANDBY_CONNECT_SECONDS}
    return options


def _prepare_sqlite(engine: Engine, *, read_only: bool) -> None:
    # The driver's own transaction handling would start transactions late and in the wrong mode.

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        if read_only:
            connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        if read_only:
            # Past SQLAlchemy, which would take longer over it than over a page's query: it touches no file.
            cast(sqlite3.Connection, connection.connection.driver_connection).execute("BEGIN")
        else:
            # A write takes its lock at once, so it never fails half-way for having read before.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    @event.listens_for(engine, "handle_error")
    def on_error(context: ExceptionContext) -> None:
        code = getattr(context.original_exception, "sqlite_errorcode", 0)
        if code & 0xFF in _BROKEN_FILE:
            if context.execution_context:  # a connection with an open cursor would outlive its closing
                context.execution_context.cursor.close()
            context.is_disconnect = True
            _close_files()


def _close_files() -> None:
    """Let every connection be opened anew: what opens a file that can't be written keeps it so.

    SQLite shares a file's state between all connections of a process, readers too (docs/decisions/0043).
    """
    for engine in db.engines.values():
        engine.dispose()


def _prepare_postgresql(engine: Engine, *, read_only: bool) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: "psycopg.Connection[Any]", _record: object) -> None:
        # Each transaction says so. As the session's default it would hide the primary from
        # target_session_attrs=read-write.
        connection.read_only = read_only or None


def work_for(instructor_ids: Iterable[UUID]) -> None:
    """Let this request's transactions see these instructors' rows; until then a request sees nobody's."""
    g.instructor_ids = tuple(instructor_ids)


def say_instructors(connection: Connection) -> None:
    """Say it for this transaction alone: whoever gets the connection next says it for themselves."""
    working_for = EVERY_INSTRUCTOR
    if has_request_context():
        working_for = ",".join(str(instructor_id) for instructor_id in g.get("instructor_ids", ()))
    connection.exec_driver_sql(f"SET LOCAL console.instructors = '{working_for}'")


def end_snapshot(_error: BaseException | None = None) -> None:
    """End the snapshot that was handed on in this request, unless somebody went on in it."""
    snapshot: Connection | None = g.pop("snapshot", None)
    if snapshot:
        snapshot.close()
