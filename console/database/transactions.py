"""Transactions: to read one snapshot, to write, to ingest; and the choice of the server to read from."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString, Protocol, cast

import psycopg
import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from console.database.engines import SQLITE_BUSY_SECONDS, PostgresConnection, Scope, db

log = structlog.get_logger()

_SQLITE_STEPS_BETWEEN_LOOKS = 1000
"""How many steps SQLite takes, in far less than a millisecond, before it looks at the clock."""
_STANDBY_REST_SECONDS = 5
"""How long a standby that didn't answer is left alone, so that not every page waits for it."""

_NEVER_REPLAYED = "FFFFFFFF/FFFFFFFF"


def open_snapshot(scope: Scope) -> Connection:
    """Open a snapshot that the next reader of this scope continues, unless a write ends it before."""
    scope.end_snapshot()
    scope.snapshot = _snapshot(scope)
    return scope.snapshot


@contextmanager
def reading(scope: Scope) -> Iterator[Connection]:
    """Open one snapshot of the read database, on which the database itself refuses every write.

    Goes on in the snapshot that the scope has open, if it has one. Where the read database is a standby, it
    may lag behind others' writes, never behind those of this scope: then, or where it doesn't answer, the
    snapshot is the primary's.
    """
    goes_on = scope.snapshot is not None
    with scope.snapshot or _snapshot(scope) as connection:
        scope.snapshot = None
        if goes_on and connection.dialect.name == "postgresql":
            _driver(connection).execute(scope.setting)  # the user was not loaded yet when it was opened
        yield connection


def _snapshot(scope: Scope) -> Connection:
    connection = _standby(scope) if scope.engines.primary else scope.engines.read.connect()
    _set_options(connection, scope)
    return connection


def _set_options(connection: Connection, scope: Scope, *, wait_ms: int | None = None) -> None:
    """Set what a transaction on PostgreSQL begins with."""
    if connection.dialect.name == "postgresql":
        driver: PostgresConnection = _driver(connection)
        driver.scope, driver.wait_ms = scope, wait_ms


def _driver(connection: Connection) -> Any:
    """Return the driver's own connection, where a statement takes less time than through SQLAlchemy."""
    return connection.connection.driver_connection


def _standby(scope: Scope) -> Connection:
    engines = scope.engines
    if time.monotonic() >= engines.standby_rests_until:
        try:
            connection = engines.read.connect()
            if _has_replayed(connection, scope.written_until):
                return connection
            connection.close()
        except (OperationalError, psycopg.OperationalError) as error:
            engines.standby_rests_until = time.monotonic() + _STANDBY_REST_SECONDS
            log.warning("standby_does_not_answer", kind=type(error).__name__)
    return cast(Engine, engines.primary).connect()


def _has_replayed(connection: Connection, position: str | None) -> bool:
    query = "SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= %s::pg_lsn"
    return position is None or _ask(connection, query, position)


def _ask(connection: Connection, query: LiteralString, *parameters: str) -> Any:
    """Ask outside a transaction, in one round trip; a page's snapshot has to be younger than the answer."""
    driver: psycopg.Connection[Any] = _driver(connection)
    try:
        (answer,) = driver.execute(query, parameters).fetchall()[0]
    except psycopg.Error:
        connection.invalidate()
        raise
    return answer


@contextmanager
def writing(scope: Scope, *, wait_ms: int | None = None) -> Iterator[Connection]:
    """Open one transaction on the write database: committed at the end, rolled back on an error.

    It ends the scope's open snapshot, so that a read after the write sees what was written.

    With `wait_ms` it gives up after so many milliseconds, whether it waits for locks or is slow itself.
    PostgreSQL limits statements and not transactions: there each may take half of that time.
    """
    scope.end_snapshot()
    with scope.engines.write.connect() as connection:
        _set_options(connection, scope, wait_ms=wait_ms)
        with _patience(connection, wait_ms), connection.begin():
            yield connection
            if connection.dialect.name == "postgresql" and _driver(connection).unsent:
                raise RuntimeError("a statement was to be sent along with the next one, and none came")
        if scope.engines.primary:
            _remember_position(scope, connection)


class Sent(Protocol):
    """A statement that was sent along with the next one."""

    @property
    def rowcount(self) -> int:
        """Return how many rows it wrote; known after the next statement."""


def send_along(connection: Connection, statement: str, values: tuple[str, ...]) -> Sent:
    """Send a statement, with `?` for each value, together with the next one: one answer less to wait for.

    SQLite runs it at once. On PostgreSQL its error is raised as the next statement's, and a commit without a
    next statement is refused.
    """
    if connection.dialect.name == "postgresql":
        return cast(Sent, _driver(connection).send_along(statement.replace("?", "%s"), values))
    return connection.exec_driver_sql(statement, values)


class TransactionLost(Exception):
    """A failure inside a savepoint undid the whole transaction, or cut the connection. Nothing was saved."""


@contextmanager
def savepoint(connection: Connection, *, wait_ms: int) -> Iterator[None]:
    """Run statements that may fail: on an error they are undone, and the transaction goes on.

    Each may take `wait_ms` milliseconds (on SQLite all of them together). Raises the error again, or
    TransactionLost: some errors of SQLite end the transaction, and so does a lost connection.
    """
    # Not through SQLAlchemy, and on PostgreSQL with the first statement: every link write does this.
    driver = _driver(connection)
    try:
        if connection.dialect.name == "postgresql":  # a rollback to the savepoint undoes the limit
            driver.send_along("SAVEPOINT attempt")
            driver.send_along(f"SET LOCAL statement_timeout = {wait_ms}")
        else:
            driver.execute("SAVEPOINT attempt")
        with _deadline(connection, wait_ms):
            yield
    except Exception as error:
        try:
            driver.execute("ROLLBACK TO SAVEPOINT attempt")
        except (psycopg.Error, sqlite3.Error):
            raise TransactionLost(type(error).__name__) from error
        raise


def _remember_position(scope: Scope, connection: Connection) -> None:
    """Note how far the log has come after a commit: to that commit's own record, or past it."""
    try:
        scope.written_until = _ask(connection, "SELECT pg_current_wal_insert_lsn()::text")
    except psycopg.Error as error:
        # The write is committed. This person reads from the primary until they write again.
        scope.written_until = _NEVER_REPLAYED
        log.warning("position_unknown", kind=type(error).__name__)


@contextmanager
def _patience(connection: Connection, wait_ms: int | None) -> Iterator[None]:
    if wait_ms is None or connection.dialect.name != "sqlite":
        yield
        return
    driver: sqlite3.Connection = _driver(connection)
    driver.execute(f"PRAGMA busy_timeout = {wait_ms}")
    try:
        with _deadline(connection, wait_ms):
            yield
    finally:
        driver.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_SECONDS * 1000}")


@contextmanager
def _deadline(connection: Connection, wait_ms: int) -> Iterator[None]:
    """Let SQLite stop what runs longer than `wait_ms` from now; PostgreSQL has a setting for that."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: sqlite3.Connection = _driver(connection)
    deadline = time.monotonic() + wait_ms / 1000
    driver.set_progress_handler(lambda: time.monotonic() > deadline, _SQLITE_STEPS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


@contextmanager
def ingesting() -> Iterator[Connection]:
    """Open one transaction as ingestion, which in production may touch no link and no customer."""
    with db.engines["ingest"].begin() as connection:
        yield connection
