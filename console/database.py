"""Engines and connections: one to write, one that can only read, one for ingestion.

SQL that differs between SQLite and PostgreSQL is here and nowhere else.

On PostgreSQL every transaction says for which instructors it works, and row-level security shows it nobody
else's rows (docs/decisions/0021). Where reading has a database of its own, a standby, a person's own writes
are never read from one that hasn't replayed them (docs/decisions/0022).
"""

import sqlite3
import time
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import structlog
import uuid_utils.compat
from flask import Flask, current_app, g, has_request_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    CHAR,
    JSON,
    ColumnElement,
    Connection,
    CursorResult,
    DateTime,
    Dialect,
    Engine,
    FromClause,
    MetaData,
    String,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    event,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute
from sqlalchemy.types import TypeDecorator, TypeEngine

from console.config import Settings

log = structlog.get_logger()

SQLITE_BUSY_SECONDS = 15
SQLITE_STEPS_BETWEEN_LOOKS = 1000
"""How many steps of its virtual machine SQLite takes, about 50 µs, before it looks at the clock."""
STANDBY_CONNECT_SECONDS = 2
STANDBY_REST_SECONDS = 5
"""How long a standby that didn't answer is left alone, so that not every page waits for it."""
_NEVER_REPLAYED = "FFFFFFFF/FFFFFFFF"

EVERY_INSTRUCTOR = "all"
"""What a transaction says that works for no person: a command's, or a worker's as it starts."""


class Guid(TypeDecorator[UUID]):
    """A UUID: native on PostgreSQL, the hyphenated text that people and commands see on SQLite."""

    impl = Uuid
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Pick the column type."""
        return dialect.type_descriptor(CHAR(36) if dialect.name == "sqlite" else Uuid())

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:
        """Turn a UUID into what the driver takes."""
        return str(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        """Turn what the driver gives into a UUID."""
        return UUID(value) if isinstance(value, str) else value


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, aware in Python whatever the engine keeps."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a moment without a zone; store the others as UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs its time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give back an aware moment."""
        return (
            None
            if value is None
            else value.replace(tzinfo=UTC)
            if value.tzinfo is None
            else value.astimezone(UTC)
        )


class Json(TypeDecorator[Any]):
    """JSON: text on SQLite, `jsonb` on PostgreSQL; None is the database's NULL."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Pick the column type."""
        kind = postgresql.JSONB if dialect.name == "postgresql" else JSON
        return dialect.type_descriptor(kind(none_as_null=True))


class Base(DeclarativeBase):
    """The tables' common base; constraint names are the same on both engines."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {UUID: Guid, datetime: UtcDateTime, str: String}  # noqa: RUF012 (SQLAlchemy's own name)


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
    with app.app_context():
        for bind, engine in db.engines.items():
            if engine.dialect.name == "sqlite":
                _prepare_sqlite(engine, read_only=bind in _READERS)
            else:
                _prepare_postgresql(engine, read_only=bind in _READERS)
                # Ingestion works for all: whose a message is, the message says.
                if bind != "ingest":
                    event.listen(engine, "begin", _say_instructors)


_READERS = ("read", "primary")


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


_BROKEN_FILE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


def _prepare_sqlite(engine: Engine, *, read_only: bool) -> None:
    # The driver's own transaction handling would start transactions late and in the wrong mode:
    # a write takes its lock at once, so it never fails half-way for having read before.
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        if read_only:
            connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    @event.listens_for(engine, "handle_error")
    def on_error(context: ExceptionContext) -> None:
        code = getattr(context.original_exception, "sqlite_errorcode", 0)
        if code & 0xFF in _BROKEN_FILE:
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


def _say_instructors(connection: Connection) -> None:
    """Say it for this transaction alone: whoever gets the connection next says it for themselves."""
    working_for = EVERY_INSTRUCTOR
    if has_request_context():
        working_for = ",".join(str(instructor_id) for instructor_id in g.get("instructor_ids", ()))
    connection.exec_driver_sql(f"SET LOCAL console.instructors = '{working_for}'")


def written_until() -> str | None:
    """Return the position in the primary's log at which a standby has to be to be read from here."""
    position: str | None = g.get("written_until")
    return position


def read_from(position: str | None) -> None:
    """Read from a standby only once it has replayed this far: what the same person wrote before."""
    g.written_until = position


@contextmanager
def reading() -> Iterator[Connection]:
    """Open one snapshot of the read database, on which the database itself refuses every write.

    Where that is a standby, it may lag behind others' writes, never behind those of this request's person:
    then, or where it doesn't answer, the snapshot is the primary's.
    """
    engines = db.engines
    with _standby() if "primary" in engines else engines["read"].connect() as connection:
        yield connection


def _standby() -> Connection:
    """Connect to a standby that has replayed enough, else to the primary."""
    if time.monotonic() >= current_app.extensions["standby_rests_until"]:
        try:
            connection = db.engines["read"].connect()
            if _has_replayed(connection, written_until()):
                return connection
            connection.close()
        except (OperationalError, psycopg.OperationalError) as error:
            current_app.extensions["standby_rests_until"] = time.monotonic() + STANDBY_REST_SECONDS
            log.warning("standby_does_not_answer", kind=type(error).__name__)
    return db.engines["primary"].connect()


def _has_replayed(connection: Connection, position: str | None) -> bool:
    query = "SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= %s::pg_lsn"
    return position is None or _ask(connection, query, position)


def _ask(connection: Connection, query: LiteralString, *parameters: str) -> Any:
    """Ask outside a transaction, in one round trip; a page's snapshot has to be younger than the answer."""
    driver = typing.cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    try:
        driver.autocommit = True
        (answer,) = driver.execute(query, parameters).fetchall()[0]
        driver.autocommit = False
    except psycopg.Error:
        connection.invalidate()
        raise
    return answer


@contextmanager
def writing(*, wait_ms: int | None = None) -> Iterator[Connection]:
    """Open one transaction on the write database: committed at the end, rolled back on an error.

    With `wait_ms` it gives up after so many milliseconds, be it for others' locks or for its own slowness. On
    PostgreSQL, which limits statements and not transactions, that holds for two statements.
    """
    with db.engine.connect() as connection, _patience(connection, wait_ms):
        with connection.begin():
            if wait_ms is not None and connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {wait_ms // 2}")
            yield connection
        if "primary" in db.engines:
            _remember_position(connection)


def _remember_position(connection: Connection) -> None:
    """Note how far the log has come after a commit: to that commit's own record, or past it."""
    try:
        g.written_until = _ask(connection, "SELECT pg_current_wal_insert_lsn()::text")
    except psycopg.Error as error:
        # The write stands. This person reads from the primary until they write again.
        g.written_until = _NEVER_REPLAYED
        log.warning("position_unknown", kind=type(error).__name__)


@contextmanager
def _patience(connection: Connection, wait_ms: int | None) -> Iterator[None]:
    if wait_ms is None or connection.dialect.name != "sqlite":
        yield
        return
    driver = typing.cast(sqlite3.Connection, connection.connection.driver_connection)
    deadline = time.monotonic() + wait_ms / 1000
    driver.execute(f"PRAGMA busy_timeout = {wait_ms}")
    driver.set_progress_handler(lambda: time.monotonic() > deadline, SQLITE_STEPS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)
        driver.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_SECONDS * 1000}")


@contextmanager
def ingesting() -> Iterator[Connection]:
    """Open one transaction as ingestion, which in production may touch no link and no customer."""
    with db.engines["ingest"].begin() as connection:
        yield connection


def insert_ignoring(
    connection: Connection, table: type[Base], rows: Sequence[Mapping[str, Any]], conflict: Sequence[str]
) -> CursorResult[Any]:
    """Insert `rows`, passing over those whose `conflict` columns are there already."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing(index_elements=list(conflict))
    # Drivers know how many rows went in; SQLAlchemy keeps that of an INSERT only when asked.
    return connection.execute(statement, list(rows), execution_options={"preserve_rowcount": True})


def json_append(connection: Connection, array: InstrumentedAttribute[Any], item: str) -> ColumnElement[Any]:
    """Return the JSON array in a column with one item, a JSON text, added at its end.

    Whatever else the column holds becomes the array's first item, as a string where it is no JSON at all.
    """
    if connection.dialect.name == "postgresql":
        empty, one = literal("[]"), func.jsonb_build_array(cast(literal(item), postgresql.JSONB))
        return func.coalesce(array, cast(empty, postgresql.JSONB)).op("||")(one)
    kept = case(
        (array.is_(None), literal("[]", String())),
        (func.json_valid(array) == 0, func.json_array(cast(array, String))),
        (func.json_type(array) == "array", array),
        else_=func.json_array(func.json(array)),
    )
    return func.json_insert(kept, "$[#]", func.json(item))


def json_rows(dialect: str, *types: TypeEngine[Any]) -> tuple[FromClause, Sequence[ColumnElement[Any]]]:
    """Return a table that a statement is given as its one parameter `rows`, and its columns.

    The parameter is a JSON array of arrays, so the statement is the same for any number of rows.
    """
    json_type = postgresql.JSONB() if dialect == "postgresql" else String()
    each = func.jsonb_array_elements if dialect == "postgresql" else func.json_each
    rows = cast(bindparam("rows", type_=String()), json_type)
    table = each(rows).table_valued(column("value", json_type), name="given")
    texts = [
        table.c.value.op("->>", return_type=String())(literal_column(str(place)))
        for place in range(len(types))
    ]
    columns = [
        text if isinstance(kind, String) else cast(text, kind)
        for text, kind in zip(texts, types, strict=True)
    ]
    if dialect != "postgresql":
        return table, columns
    # Row-level security lets no index be searched for what is yet to be computed, as that might leak.
    computed = select(*(one.label(f"column_{place}") for place, one in enumerate(columns)))
    given = computed.select_from(table).cte("computed").prefix_with("MATERIALIZED")
    return given, list(given.c)


def new_id() -> UUID:
    """Make an id: a UUID of version 7, which sorts by the time it was made."""
    return uuid_utils.compat.uuid7()


def now() -> datetime:
    """Return this moment in UTC."""
    return datetime.now(UTC)
