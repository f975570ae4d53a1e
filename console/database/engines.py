"""The engines, and what each of their connections and transactions begins with."""

import select
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import psycopg
from flask import Flask, current_app, has_request_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, Engine, PoolProxiedConnection, event
from sqlalchemy.engine import URL, ExceptionContext

from console.config import Settings
from console.database.types import Base

SQLITE_BUSY_SECONDS = 15
"""How long a connection waits for a lock of the file."""
_STANDBY_CONNECT_SECONDS = 2
# A network that fails is noticed within 25 seconds, whatever the system's own limits are (0024).
_TCP_LIMITS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
# Together these are at most the proxy's 60 seconds: waiting for a pooled connection, asking whether it still
# works, connecting anew, beginning a transaction, and one statement (docs/decisions/0024).
_MAX_STATEMENT_SECONDS = 20
"""The server's limit for one statement; it is above the limit for a lock."""
MAX_ANSWER_SECONDS = 25
"""How long the console waits for an answer, for a server that doesn't keep to its limit."""
_MAX_POOL_WAIT_SECONDS = 20
MAX_PING_SECONDS = 5
"""How long a pooled connection may take to say that it works, or to begin a transaction."""
_TRUSTED_SECONDS = 0.5
"""How long a pooled connection counts as working after its last use, unless its server has sent something."""

ALL_INSTRUCTORS = "all"
"""The setting of a transaction that works for all instructors: a command's, or a worker's."""

_NO_INSTRUCTOR = "SET LOCAL console.instructors = ''"
_READERS = ("read", "primary")
_BROKEN_FILE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)

db = SQLAlchemy(metadata=Base.metadata)


@dataclass(slots=True)
class Engines:
    """An app's engines. There is a `primary` to read where `read` is a standby, which may lag behind."""

    write: Engine
    read: Engine
    primary: Engine | None
    standby_rests_until: float = 0.0


@dataclass(slots=True)
class Scope:
    """For whom transactions work, and on which engines: made for each request, or by a command."""

    engines: Engines
    instructor_ids: Sequence[UUID] | None = ()
    """The instructors whose rows row-level security shows; None stands for all, for no request."""
    written_until: str | None = None
    """The position in the primary's log after the person's last write; a standby has to have replayed it."""
    snapshot: Connection | None = None
    """A snapshot that is open already; the next reader goes on in it, which saves a connection."""

    @property
    def setting(self) -> str:
        """Return the statement that names the instructors for a transaction."""
        ids = ALL_INSTRUCTORS if self.instructor_ids is None else ",".join(map(str, self.instructor_ids))
        return f"SET LOCAL console.instructors = '{ids}'"

    def end_snapshot(self) -> None:
        """Close the snapshot that is open, if there is one."""
        if self.snapshot:
            self.snapshot.close()
            self.snapshot = None


def app_engines() -> Engines:
    """Return the current app's engines."""
    return cast(Engines, current_app.extensions["engines"])


def command_scope() -> Scope:
    """Return the scope of a command or worker: all instructors. Raises RuntimeError in a request."""
    if has_request_context():
        raise RuntimeError("a request works for its own instructors only")
    return Scope(app_engines(), instructor_ids=None)


def init_app(app: Flask, settings: Settings) -> None:
    """Give the app its engines: to write, to read, to ingest, and to read what a standby lacks."""
    urls = {"read": settings.read_database_url, "ingest": settings.ingest_database_url}
    if _is_elsewhere(settings.read_database_url, settings.database_url):
        reader = settings.read_database_url
        urls["primary"] = settings.database_url._replace(username=reader.username, password=reader.password)
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = _options(settings, settings.database_url)
    app.config["SQLALCHEMY_BINDS"] = {
        bind: {"url": url, **_options(settings, url, read_only=bind in _READERS)}
        for bind, url in urls.items()
    }
    db.init_app(app)
    with app.app_context():
        engines = dict(db.engines)
    app.extensions["engines"] = Engines(
        write=engines[None], read=engines["read"], primary=engines.get("primary")
    )
    for bind, engine in engines.items():
        if engine.dialect.name == "sqlite":
            _prepare_sqlite(engine, engines.values(), read_only=bind in _READERS)
        else:
            # Ingestion works for all instructors: each message names its own.
            _prepare_postgresql(engine, read_only=bind in _READERS, says_for_whom=bind != "ingest")


def _is_elsewhere(read: URL, write: URL) -> bool:
    """Say whether reading names other servers than writing, so that it may lag behind."""
    if "sqlite" in (read.get_backend_name(), write.get_backend_name()):
        return False
    return (read.host, read.port, read.query) != (write.host, write.port, write.query)


def _options(settings: Settings, url: URL, *, read_only: bool = False) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": SQLITE_BUSY_SECONDS}, "hide_parameters": True}
    limits = {**_TCP_LIMITS, **({"connect_timeout": _STANDBY_CONNECT_SECONDS} if read_only else {})}
    arguments: dict[str, Any] = {name: limit for name, limit in limits.items() if name not in url.query}
    if not settings.prepared_statements:
        arguments["prepare_threshold"] = None
    return {
        "pool_pre_ping": True,
        "pool_size": settings.pool_size,
        "max_overflow": 0,
        "pool_timeout": _MAX_POOL_WAIT_SECONDS,
        "hide_parameters": True,
        "connect_args": arguments,
    }


def _prepare_sqlite(engine: Engine, engines: Iterable[Engine], *, read_only: bool) -> None:
    # The driver's own transaction handling would start transactions late and in the wrong mode.

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        if read_only:
            connection.execute("PRAGMA query_only = ON")

    # A write takes its lock at once, so it never fails half-way because it read first.
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    def do_begin(dbapi_connection: Any) -> None:
        dbapi_connection.execute(begin)

    # A listener for "begin" would make SQLAlchemy look for listeners at every statement.
    cast(Any, engine.dialect).do_begin = do_begin

    @event.listens_for(engine, "handle_error")
    def on_error(context: ExceptionContext) -> None:
        code = getattr(context.original_exception, "sqlite_errorcode", 0)
        if code & 0xFF in _BROKEN_FILE:
            if context.execution_context:  # an open cursor would keep the connection open
                context.execution_context.cursor.close()
            context.is_disconnect = True
            # SQLite keeps a file that it opened read-only that way, and shares that state between all
            # connections of a process (docs/decisions/0015). So all of them are opened anew.
            for each in engines:
                each.dispose()


def _serves() -> bool:
    """Return whether this thread serves a request or a background task, and not a command."""
    return has_request_context() or threading.current_thread() is not threading.main_thread()


class PostgresConnection(psycopg.Connection[Any]):
    """A connection that is given up when the server keeps to no limit, because it is stopped for example."""

    patience = MAX_PING_SECONDS
    """How many seconds it waits for an answer: less before its transaction has begun."""
    used_at = 0.0
    """When it was given back to the pool, on the monotonic clock."""
    scope: Scope | None = None
    """For whom its next transactions work; no instructors where it is None."""
    wait_ms: int | None = None
    """How long its next transactions may wait for locks, where that is less than the server's limit."""
    unsent: Sequence[tuple[psycopg.Cursor[Any], bytes, Sequence[object] | None]] = ()
    """Statements that are sent with the next one: their answers come with its own."""
    is_autocommit = False
    """Whether each statement is a transaction, as in a migration."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for an answer; psycopg calls this for everything but connecting."""
        if timeout is not None or not _serves():
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {self.patience} seconds") from None

    def was_just_used(self) -> bool:
        """Say whether it worked a moment ago, and its server has not closed it or said anything since."""
        if time.monotonic() - self.used_at > _TRUSTED_SECONDS:
            return False
        said = select.poll()
        said.register(self.fileno(), select.POLLIN)
        return not said.poll(0)

    def send_along(self, statement: str, values: Sequence[object] | None = None) -> psycopg.Cursor[Any]:
        """Send a statement with the next one; then the cursor that is returned has its answer."""
        cursor = self.cursor()
        self.unsent = [*self.unsent, (cursor, statement.encode(), values)]
        return cursor

    def begin(self, *statements: str) -> None:
        """Begin a transaction with these statements and the limit for each one that follows."""
        limit = _MAX_STATEMENT_SECONDS * 1000 if _serves() else 0
        if self.wait_ms is not None:
            limit = self.wait_ms // 2
        self.execute("; ".join([*statements, f"SET LOCAL statement_timeout = {limit}"]).encode())
        self.patience = MAX_ANSWER_SECONDS


def _do_execute(cursor: Any, statement: str, parameters: Any, context: object = None) -> None:
    connection: PostgresConnection = cursor.connection
    if not connection.unsent:
        cursor.execute(statement, parameters)
        return
    unsent, connection.unsent = connection.unsent, ()
    with connection.pipeline():
        for its_cursor, its_statement, values in unsent:
            its_cursor.execute(its_statement, values)
        cursor.execute(statement, parameters)


def _on_checkin(connection: PostgresConnection | None, _record: object) -> None:
    if connection is not None:
        connection.patience = MAX_PING_SECONDS
        connection.used_at = time.monotonic()
        connection.scope, connection.wait_ms, connection.unsent = None, None, ()


def _prepare_postgresql(engine: Engine, *, read_only: bool, says_for_whom: bool) -> None:
    # Each transaction says what it is. "read only" as the session's default would hide the primary from
    # target_session_attrs=read-write. A reader reads one snapshot, as on SQLite.
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if read_only else "BEGIN"
    # As on SQLite: its methods, where events would cost more, and where there are none.
    dialect = cast(Any, engine.dialect)
    ping = dialect.do_ping

    def do_ping(connection: PostgresConnection) -> bool:
        # An answer takes as long as a statement's, so a connection in steady use is not asked each time.
        return connection.was_just_used() or ping(connection)

    def do_begin(pooled: PoolProxiedConnection) -> None:
        connection = cast(PostgresConnection, pooled.dbapi_connection)
        if connection.is_autocommit:
            connection.patience = MAX_ANSWER_SECONDS
        elif says_for_whom:
            connection.begin(begin, connection.scope.setting if connection.scope else _NO_INSTRUCTOR)
        else:
            connection.begin(begin)

    def set_isolation_level(connection: PostgresConnection, level: str) -> None:
        connection.is_autocommit = level == "AUTOCOMMIT"

    dialect.do_ping, dialect.do_begin, dialect.do_execute = do_ping, do_begin, _do_execute
    dialect.set_isolation_level = set_isolation_level
    event.listen(engine, "checkin", _on_checkin)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, arguments: Any, named: Any) -> PostgresConnection:
        return PostgresConnection.connect(*arguments, **named)

    @event.listens_for(engine, "handle_error")
    def on_error(context: ExceptionContext) -> None:
        # The server is or was read-only, and this session may stay so after the server no longer is.
        if getattr(context.original_exception, "sqlstate", None) == "25006":
            context.is_disconnect = True

    @event.listens_for(engine, "connect")
    def on_connect(connection: "psycopg.Connection[Any]", _record: object) -> None:
        # The driver would send a BEGIN by itself, and wait for its answer before anything else.
        connection.autocommit = True
