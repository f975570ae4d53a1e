"""What a database is asked to find out whether the console can use it."""

import tempfile

from sqlalchemy import Connection, text

from console.config import sqlite_path
from console.database.types import Base

_PROBE_BYTES = 256 * 1024

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


def take_room(connection: Connection) -> None:
    """Use some of the disk that the database is on, for a moment.

    Raises what the database raises where there is none, OSError for the directory of an SQLite file.
    """
    if path := sqlite_path(connection.engine.url):
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
    else:
        # More than fits into the memory it may use, so that it goes to a temporary file.
        connection.exec_driver_sql("SET LOCAL work_mem = '64kB'")
        connection.exec_driver_sql("SELECT count(*) FROM generate_series(1, 30000)")
