"""Engines and connections: one to write, one that can only read, one for ingestion.

SQL that differs between SQLite and PostgreSQL is here and nowhere else.
"""

import sqlite3
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import uuid_utils.compat
from flask import Flask
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
    cast,
    column,
    event,
    func,
    literal,
    literal_column,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute
from sqlalchemy.types import TypeDecorator, TypeEngine

from console.config import Settings

SQLITE_BUSY_SECONDS = 15


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
    """Give the app its three engines."""
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_BINDS"] = {
        "read": {"url": settings.read_database_url, **_options(settings.read_database_url, read_only=True)},
        "ingest": {"url": settings.ingest_database_url, **_options(settings.ingest_database_url)},
    }
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = _options(settings.database_url)
    db.init_app(app)
    with app.app_context():
        for bind, engine in db.engines.items():
            if engine.dialect.name == "sqlite":
                _prepare_sqlite(engine, read_only=bind == "read")


def _options(url: Any, *, read_only: bool = False) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": SQLITE_BUSY_SECONDS}, "hide_parameters": True}
    options: dict[str, Any] = {"pool_pre_ping": True, "hide_parameters": True}
    if read_only:
        options["isolation_level"] = "REPEATABLE READ"  # one snapshot, as on SQLite
        options["connect_args"] = {"options": "-c default_transaction_read_only=on"}
    return options


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


@contextmanager
def reading() -> Iterator[Connection]:
    """Open one snapshot of the read database, on which the database itself refuses every write."""
    with db.engines["read"].connect() as connection:
        yield connection


@contextmanager
def writing(*, wait_ms: int | None = None) -> Iterator[Connection]:
    """Open one transaction on the write database: committed at the end, rolled back on an error.

    With `wait_ms` it gives up after so many milliseconds of waiting for others.
    """
    with db.engine.connect() as connection, _patience(connection, wait_ms), connection.begin():
        if wait_ms is not None and connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {wait_ms}")
        yield connection


@contextmanager
def _patience(connection: Connection, wait_ms: int | None) -> Iterator[None]:
    if wait_ms is None or connection.dialect.name != "sqlite":
        yield
        return
    driver = typing.cast(sqlite3.Connection, connection.connection.driver_connection)
    driver.execute(f"PRAGMA busy_timeout = {wait_ms}")
    try:
        yield
    finally:
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
    """Return the JSON array in a column with one item, a JSON text, added at its end."""
    if connection.dialect.name == "postgresql":
        empty, one = literal("[]"), func.jsonb_build_array(cast(literal(item), postgresql.JSONB))
        return func.coalesce(array, cast(empty, postgresql.JSONB)).op("||")(one)
    return func.json_insert(func.coalesce(array, "[]"), "$[#]", func.json(item))


def json_rows(dialect: str, columns: int) -> tuple[FromClause, list[ColumnElement[str]]]:
    """Return a table of text that a statement is given as its one parameter `rows`, and its columns.

    The parameter is a JSON array of arrays, so the statement is the same for any number of rows.
    """
    json_type = postgresql.JSONB() if dialect == "postgresql" else String()
    each = func.jsonb_array_elements if dialect == "postgresql" else func.json_each
    rows = cast(bindparam("rows", type_=String()), json_type)
    table = each(rows).table_valued(column("value", json_type), name="given")
    value = table.c.value
    return table, [
        value.op("->>", return_type=String())(literal_column(str(place))) for place in range(columns)
    ]


def new_id() -> UUID:
    """Make an id: a UUID of version 7, which sorts by the time it was made."""
    return uuid_utils.compat.uuid7()


def now() -> datetime:
    """Return this moment in UTC."""
    return datetime.now(UTC)
