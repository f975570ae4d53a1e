"""Migrations: models equal head, every step up and down with data, nothing half done."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import downgrade, upgrade

from console import create_app
from console.config import ROOT
from console.database import Base, db
from tests.conftest import settings_for

REVISIONS = ["0001_inbox", "0002_customers", "0003_conversation_link", "0004_audit_events"]
A, B, C = (f"0190000{number}-0000-7000-8000-000000000000" for number in (1, 2, 3))

# Rows for each revision's own tables and columns, as the release of that revision would leave them.
CONVERSATION = """
INSERT INTO conversations
    (id, instructor_id, channel, customer_identifier, status, created_at, updated_at, last_message_at)
VALUES ('{}', '{}', 'whatsapp', {}, 'open', '2026-01-01', '2026-01-01', '2026-01-01')
"""
MESSAGE = f"""
INSERT INTO messages
    (id, conversation_id, instructor_id, direction, external_id, kind, body, sent_at)
VALUES ('{A}', '{A}', '{A}', 'inbound', 'wamid.1', 'text', 'Hi', '2026-01-01')
"""
LINK = f"UPDATE conversations SET customer_id = '{A}', link_version = 1, link_operation_id = '{A}'"
ROWS = {
    "0001_inbox": [
        f"INSERT INTO instructors VALUES ('{A}', 'Anna', '2026-01-01')",
        f"INSERT INTO users VALUES ('{A}', 'a@example.org', 'A', 'hash', 1, '2026-01-01')",
        f"INSERT INTO memberships VALUES ('{A}', '{A}', 'operator')",
        f"INSERT INTO channel_accounts VALUES ('whatsapp', '1', '{A}')",
        CONVERSATION.format(A, A, "'393331234567'"),
        CONVERSATION.format(B, A, "NULL"),
        CONVERSATION.format(C, A, "'40404'"),
        MESSAGE,
        f"INSERT INTO rejected_payloads VALUES ('{A}', '2026-01-01', 'not JSON', 'x', 'digest')",
    ],
    "0002_customers": [
        f"INSERT INTO customers VALUES ('{A}', '{A}', 'whatsapp', '393331234567', '2026-01-01')",
    ],
    "0003_conversation_link": [
        f"{LINK} WHERE id = '{A}'",
    ],
    "0004_audit_events": [
        f"INSERT INTO audit_events VALUES (1, '{A}', '{A}', '{A}', 1, '{{}}')",
        f"UPDATE conversations SET audit_outbox = '[{{}}]' WHERE id = '{B}'",
    ],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database file is to be."""
    return tmp_path / "console.db"


@pytest.fixture
def empty(path: Path) -> Iterator[Flask]:
    """Return the console on a database file that isn't there yet."""
    app = create_app(settings_for(path))
    with app.app_context():
        yield app


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        for statement in statements:
            connection.execute(statement)


def index_columns(connection: sqlite3.Connection, index: str) -> list[str]:
    return [row[2] for row in connection.execute(f"PRAGMA index_info({index})")]


def dump(path: Path) -> dict[str, Any]:
    """Return every table's columns, constraints, indexes and rows, in an order of their own."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables = [name for name in names if not name.startswith("sqlite_") and name != "alembic_version"]
        return {
            name: (
                sorted(map(str, connection.execute(f"PRAGMA table_info({name})"))),
                sorted(row[2:] for row in connection.execute(f"PRAGMA foreign_key_list({name})")),
                sorted(
                    (
                        index,
                        unique,
                        partial,
                        [row[2] for row in connection.execute(f"PRAGMA index_info({index})")],
                    )
                    for _, index, unique, _, partial in connection.execute(f"PRAGMA index_list({name})")
                ),
                sorted(map(str, connection.execute(f"SELECT * FROM {name}"))),
            )
            for name in sorted(tables)
        }


def test_models_equal_head(app: Flask):
    with db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_the_revisions_are_one_chain(app: Flask):
    scripts = ScriptDirectory(str(ROOT / "migrations"))
    assert [script.revision for script in scripts.walk_revisions()] == REVISIONS[::-1]
    for script in scripts.walk_revisions():
        assert "Review:" in (script.module.__doc__ or "")


@pytest.mark.parametrize("step", range(len(REVISIONS)))
def test_each_step_goes_up_and_down_and_up_with_data(empty: Flask, path: Path, step: int):
    for revision in REVISIONS[:step]:
        upgrade(revision=revision)
        execute(path, *ROWS[revision])
    before = dump(path) if step else {}
    upgrade(revision=REVISIONS[step])
    execute(path, *ROWS[REVISIONS[step]])
    after = dump(path)
    downgrade()
    assert dump(path) == before
    upgrade(revision=REVISIONS[step])
    execute(path, *ROWS[REVISIONS[step]])
    assert dump(path) == after


def test_customers_have_five_columns_one_unique_constraint_and_no_trigger(empty: Flask, path: Path):
    upgrade(revision="0002_customers")
    with closing(sqlite3.connect(path)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(customers)")]
        unique = [
            index_columns(connection, index)
            for _, index, is_unique, origin, _ in connection.execute("PRAGMA index_list(customers)")
            if is_unique and origin != "pk"
        ]
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    assert columns == ["id", "instructor_id", "channel", "normalized_identifier", "created_at"]
    assert unique == [["instructor_id", "channel", "normalized_identifier"]]
    assert triggers == []


def test_no_migration_makes_customers_or_links(empty: Flask, path: Path):
    upgrade(revision="0001_inbox")
    execute(path, *ROWS["0001_inbox"])
    upgrade()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM customers").fetchone() == (0,)
        linked = "SELECT count(*) FROM conversations WHERE customer_id IS NOT NULL OR link_version <> 0"
        assert connection.execute(linked).fetchone() == (0,)


def test_an_upgrade_that_fails_half_way_changes_nothing(empty: Flask, path: Path):
    upgrade(revision="0001_inbox")
    execute(path, *ROWS["0001_inbox"], "CREATE TABLE audit_events (in_the_way)")
    before = dump(path)
    with pytest.raises(SystemExit):
        upgrade()
    assert dump(path) == before


def flask(path: Path, *arguments: str) -> "subprocess.Popen[str]":
    environ = {"CONSOLE_SECRET_KEY": "x", "CONSOLE_DATABASE_URL": f"sqlite:///{path}", "PATH": ""}
    command = [sys.executable, "-m", "flask", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_two_upgrades_at_once_are_one(path: Path):
    both = [flask(path, "db", "upgrade") for _ in range(2)]
    assert [process.communicate() and process.returncode for process in both] == [0, 0]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISIONS[-1],)]


def test_a_newer_database_is_refused_in_one_line(empty: Flask, path: Path):
    upgrade()
    execute(path, "UPDATE alembic_version SET version_num = '0099_from_the_future'")
    process = flask(path, "db", "upgrade")
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert "0099_from_the_future" in stderr
    assert "Traceback" not in stderr


def test_a_place_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    process = flask(tmp_path / "file" / "console.db", "db", "upgrade")
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert "can't be made or written" in stderr
    assert "Traceback" not in stderr
