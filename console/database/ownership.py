"""What only the tables' owner does: change the append-only table, and clear deleted data from the files."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from sqlalchemy import Connection, text

from console.database.engines import command_scope, db
from console.database.transactions import writing
from console.database.types import Base

_MAX_LOCK_WAIT = "10s"
"""How long an owner's transaction waits for a lock, while others wait for those that it holds."""

_OWNS = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'audit_events'::regclass"


class NotOwner(Exception):
    """The role that is connected doesn't own the tables; nothing was done."""


class NotScrubbed(Exception):
    """What was deleted may still have traces in the file."""


@contextmanager
def owning() -> Iterator[Connection]:
    """Open one transaction as the tables' owner on the write database; NotOwner for every other role."""
    with writing(command_scope()) as connection:
        if connection.dialect.name == "postgresql":
            if not connection.scalar(text(_OWNS)):
                raise NotOwner(
                    "only the owner of the tables may do this: put the address of console_migrate into"
                    " CONSOLE_DATABASE_URL. Nothing was changed"
                )
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_MAX_LOCK_WAIT}'")
        yield connection


@contextmanager
def append_only_lifted(connection: Connection) -> Iterator[None]:
    """Let this transaction change the rows of `audit_events`, and keep others from writing there meanwhile.

    The rule is part of the schema again when the transaction ends, however it ends (docs/decisions/0014).
    """
    if connection.dialect.name == "postgresql":
        lift = "ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only"
        restore = "ALTER TABLE audit_events ENABLE TRIGGER audit_events_append_only"
    else:
        trigger = "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = 'audit_events_no_update'"
        lift, restore = "DROP TRIGGER audit_events_no_update", connection.scalar(text(trigger))
    connection.exec_driver_sql(lift)
    yield
    connection.exec_driver_sql(restore)


def scrub() -> None:
    """Remove what was deleted from SQLite's file, and from PostgreSQL's statistics.

    Raises NotScrubbed where others were reading the file all the time.
    """
    with db.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"VACUUM (ANALYZE) {', '.join(Base.metadata.tables)}")
            return
        driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        driver.execute("PRAGMA secure_delete = ON")
        if driver.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat4'").fetchone():
            driver.execute("ANALYZE")  # its samples are values
        driver.execute("VACUUM")
        busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise NotScrubbed(
            "all is erased, but others were reading the file, which may still have traces: run this again"
        )
