"""SQLite under load: each write waits for its turn, and none fails because the database is locked."""

import sqlite3
import typing
from pathlib import Path

from flask import Flask

from console.database import command_scope, db, writing
from testkit.databases import on_sqlite
from verification.faults.crashes import apart
from verification.faults.databases import Database
from verification.faults.figures import Figures, sizes
from verification.faults.load import PROCESSES, load

FULL = 2
"""SQLite's number for synchronous=FULL."""


@on_sqlite
@sizes(short=25, full=1500)
def test_many_processes_write_and_none_finds_the_database_locked(
    database: Database, figures: Figures, tmp_path: Path, size: int
):
    records = tmp_path / "records"
    records.mkdir()
    outcomes, longest = apart(load, database.settings, records, writes=size)
    assert set(outcomes) <= {"linked", "not linked", "ingested"}, outcomes
    assert outcomes["ingested"] == PROCESSES // 2 * size
    assert outcomes["linked"] > size
    figures("writes by 8 processes at once, 0 of them told of a lock", outcomes.total())
    figures("ms was the longest wait", round(longest * 1000))


@on_sqlite
def test_a_write_takes_its_lock_at_once_and_reaches_the_disk(app: Flask):
    statements: list[str] = []
    with db.engine.connect() as connection:
        driver = typing.cast(sqlite3.Connection, connection.connection.driver_connection)
        driver.set_trace_callback(statements.append)  # of the one connection that the pool has
    with writing(command_scope()) as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]
    assert statements[0] == "BEGIN IMMEDIATE"
    assert settings == ["wal", FULL]
