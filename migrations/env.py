"""Runs migrations on the write database.

On SQLite an upgrade is one transaction, all of it or none. On PostgreSQL each statement is one (online.py).
"""

import sqlite3
from logging.config import fileConfig
from pathlib import Path
from typing import cast

import click
from alembic import context
from alembic.migration import MigrationContext
from alembic.util import CommandError
from flask import current_app
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from console.commands import name_database
from console.config import sqlite_path
from migrations import online

AUDIT = "0004_audit_events"

db = current_app.extensions["migrate"].db


def migrate_sqlite(path: Path) -> None:
    """Migrate an SQLite file, which this makes if it isn't there.

    Foreign keys rest meanwhile: SQLite changes a table's constraints by building it anew,
    and dropping the old one would count as deleting what others point at.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise CommandError(f"{path} can't be made or written: {error.strerror}") from None
    with db.engine.connect() as connection:
        driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        driver.execute("PRAGMA journal_mode = WAL")
        driver.execute("PRAGMA foreign_keys = OFF")
        try:
            context.configure(connection=connection, target_metadata=db.metadata, transactional_ddl=True)
            with context.begin_transaction():
                keep_audit_events(context.get_context())
                context.run_migrations()
                refuse_broken_references(connection)
        finally:
            driver.execute("PRAGMA foreign_keys = ON")


def refuse_broken_references(connection: Connection) -> None:
    """Check what SQLite was told not to check meanwhile."""
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken:
        raise CommandError(
            f"a row of {broken[0]} would point at a missing row of {broken[2]}: nothing was changed"
        )


def keep_audit_events(migration: MigrationContext) -> None:
    """Refuse a downgrade that would drop audit events, unless `-x drop-audit=yes` says to (CM-2.5)."""
    if migration.connection is None or "destination_rev" not in migration.opts:
        return  # a command that only looks
    steps = migration.opts["fn"](migration.get_current_heads(), migration)
    if not any(step.is_downgrade and step.revision.revision == AUDIT for step in steps):
        return
    if context.get_x_argument(as_dictionary=True).get("drop-audit") == "yes":
        return
    for condition in ("audit_events", "conversations WHERE audit_outbox IS NOT NULL"):
        if migration.connection.scalar(text(f"SELECT count(*) FROM {condition}")):
            raise CommandError(
                "this downgrade would drop audit events: keep what `flask audit drain` and then"
                " `flask audit export` write, and repeat it with -x drop-audit=yes"
            )


def migrate_postgresql() -> None:
    """Migrate a PostgreSQL database while it is in use."""
    with db.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.detach()  # closed in the end, with all that was set in its session
        online.take_turn(connection)
        context.configure(connection=connection, target_metadata=db.metadata)
        keep_audit_events(context.get_context())
        with online.resumable(context.get_context(), context.script):
            context.run_migrations()


def run() -> None:
    """Migrate, and say in one line why it can't be done."""
    path = sqlite_path(db.engine.url)
    new = path and not path.exists()
    try:
        if path:
            migrate_sqlite(path)
        else:
            migrate_postgresql()
        name_database()
        if new:
            click.echo("this file is new: CONSOLE_DATABASE_URL names another database", err=True)
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        state = (
            "Nothing was changed" if path else "What was done before stays: run it again, or the other way"
        )
        raise CommandError(f"the database refused: {str(cause).splitlines()[0]}. {state}") from None


if context.is_offline_mode():
    raise CommandError("migrations look at the data they change: --sql is not available")
fileConfig(context.config.config_file_name or "", disable_existing_loggers=False)
run()
