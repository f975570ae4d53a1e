"""Transactions: to read one snapshot, to write, to ingest; and which server a snapshot is of."""

import sqlite3
import time
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
import structlog
from flask import current_app, g
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from console.database import engines
from console.database.engines import db

log = structlog.get_logger()

SQLITE_STEPS_BETWEEN_LOOKS = 1000
"""How many steps of its virtual machine SQLite takes, about 50 µs, before it looks at the clock."""
STANDBY_REST_SECONDS = 5
"""How long a standby that didn't answer is left alone, so that not every page waits for it."""

_NEVER_REPLAYED = "FFFFFFFF/FFFFFFFF"


def written_until() -> str | None:
    """Return the position in the primary's log at which a standby has to be to be read from here."""
    position: str | None = g.get("written_until")
    return position


def read_from(position: str | None) -> None:
    """Read from a standby only once it has replayed this far: what the same person wrote before."""
    g.written_until = position


@contextmanager
def reading(*, hand_on: bool = False) -> Iterator[Connection]:
    """Open one snapshot of the read database, on which the database itself refuses every write.

    Where that is a standby, it may lag behind others' writes, never behind those of this request's person:
    then, or where it doesn't answer, the snapshot is the primary's.

    With `hand_on` the next one to read in this request goes on in the same snapshot, which so costs one
    connection and not two. A write before that ends it: who reads after a write sees what was written.
    """
    handed_on: Connection | None = g.pop("snapshot", None)
    connection = handed_on or _snapshot()
    try:
        if handed_on and connection.dialect.name == "postgresql":
            engines.name_instructors(connection)
        yield connection
    except BaseException:
        connection.close()
        raise
    if hand_on:
        g.snapshot = connection
    else:
        connection.close()


def _snapshot() -> Connection:
    known = db.engines
    return _standby() if "primary" in known else known["read"].connect()


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
        (answer,) = driver.execute(query, parameters).fetchall()[0]
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
    engines.end_snapshot()
    with db.engine.connect() as connection:
        connection.execution_options(wait_ms=wait_ms)
        with _patience(connection, wait_ms), connection.begin():
            yield connection
        if "primary" in db.engines:
            _remember_position(connection)


class TransactionLost(Exception):
    """A failure inside a savepoint undid the whole transaction, or cut the connection. Nothing was saved."""


@contextmanager
def savepoint(connection: Connection, *, wait_ms: int) -> Iterator[None]:
    """Run statements that may fail: on an error they are undone, and the transaction goes on.

    Each may take `wait_ms` milliseconds (on SQLite all of them together). Raises the error again, or
    TransactionLost: some errors of SQLite end the transaction, and so does a lost connection.
    """
    # Past SQLAlchemy, like BEGIN and COMMIT: this is in the way of every link write.
    driver = typing.cast(Any, connection.connection.driver_connection)
    begin = "SAVEPOINT attempt"
    if connection.dialect.name == "postgresql":
        begin += f"; SET LOCAL statement_timeout = {wait_ms}"  # which the savepoint's end undoes
    try:
        driver.execute(begin)
        with _patience(connection, wait_ms):
            yield
    except Exception as error:
        try:
            driver.execute("ROLLBACK TO SAVEPOINT attempt")
        except (psycopg.Error, sqlite3.Error):
            raise TransactionLost(type(error).__name__) from error
        raise


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
        driver.execute(f"PRAGMA busy_timeout = {engines.SQLITE_BUSY_SECONDS * 1000}")


@contextmanager
def ingesting() -> Iterator[Connection]:
    """Open one transaction as ingestion, which in production may touch no link and no customer."""
    engines.end_snapshot()
    with db.engines["ingest"].begin() as connection:
        yield connection
