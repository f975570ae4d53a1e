"""Questions to a database that show whether the console can use it."""

import tempfile

from sqlalchemy import Connection, text

from console.config import sqlite_path
from console.database.types import Base

_PROBE_BYTES = 256 * 1024

# The kind of table that each one has to be on Citus (docs/operations.md). Any kind will do for all others.
_DISTRIBUTED = ("conversations", "messages", "customers", "rejected_payloads")
_REFERENCE = ("instructors", "users", "memberships", "channel_accounts", "link_operations")
_LOCAL = ("audit_events", "audit_counter")
_CITUS_TABLES = "SELECT table_name::text, citus_table_type, distribution_column FROM citus_tables"

_COLUMNS = {
    "sqlite": "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c",
    "postgresql": (
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped"
    ),
}


def missing_columns(connection: Connection) -> list[str]:
    """Return the columns that the console uses and the database lacks, as `table.column`."""
    found = {tuple(row) for row in connection.execute(text(_COLUMNS[connection.dialect.name]))}
    return sorted(
        f"{table.name}.{column.name}"
        for table in Base.metadata.tables.values()
        for column in table.columns
        if (table.name, column.name) not in found
    )


def lost_on_citus(connection: Connection) -> str | None:
    """Return in one line which guarantee Citus would lose in silence; None for none, and without Citus."""
    if connection.dialect.name != "postgresql" or not connection.scalar(
        text("SELECT to_regclass('citus_tables') IS NOT NULL")
    ):
        return None
    found = {name: (kind, column) for name, kind, column in connection.execute(text(_CITUS_TABLES))}
    if not found:
        return None
    for table in _LOCAL:
        if found.get(table, ("local", None))[0] != "local":
            return f"{table} is not local to Citus's coordinator: positions of the trail would have gaps"
    for table in _REFERENCE:
        if found.get(table, ("local", None))[0] != "reference":
            return f"{table} is no reference table of Citus: a link and its event would not commit as one"
    for table in _DISTRIBUTED:
        if found.get(table) != ("distributed", "instructor_id"):
            return f"{table} is not distributed by instructor_id: Citus would not keep its keys"
    if connection.scalar(text("SELECT current_setting('citus.propagate_set_commands', true)")) != "local":
        return "citus.propagate_set_commands is not 'local': row security would not reach the workers"
    return None


def take_room(connection: Connection) -> None:
    """Use some of the disk that the database is on, for a moment.

    Raises what the database raises where there is none, OSError for the directory of an SQLite file.
    """
    if path := sqlite_path(connection.engine.url):
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
    else:
        # The result is larger than work_mem, so it goes to a temporary file.
        connection.exec_driver_sql("SET LOCAL work_mem = '64kB'")
        connection.exec_driver_sql("SELECT count(*) FROM generate_series(1, 30000)")
