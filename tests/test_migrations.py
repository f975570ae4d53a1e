"""Migrations: models equal head, every step up and down with data, nothing half done."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import downgrade as flask_downgrade
from flask_migrate import upgrade
from sqlalchemy import URL, Connection, inspect, text

from console import create_app
from console.config import ROOT, Settings
from console.database import Base
from testkit.databases import (
    as_owner,
    back_door,
    environment,
    execute,
    on_postgresql,
    on_sqlite,
    rows,
    settings_for,
)
from testkit.statements import PARTITIONS

REVISIONS = [
    "0001_inbox",
    "0002_customers",
    "0003_conversation_link",
    "0004_audit_events",
    "0005_guards",
    "0006_dismissals",
    "0007_link_guard",
    "0008_audit_positions",
    "0009_link_operations",
    "0010_session_epoch",
    "0011_inbox_keys",
    "0012_link_keys",
    "0013_audit_keys",
    "0014_rejected_payload_keys",
]
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
USER = f"""
INSERT INTO users (id, email, name, password_hash, active, created_at)
VALUES ('{A}', 'a@example.org', 'A', 'hash', true, '2026-01-01')
"""
LINK = f"UPDATE conversations SET customer_id = '{A}', link_version = 1, link_operation_id = '{A}'"
downgrade = partial(flask_downgrade, x_arg=["drop-audit=yes"])

ROWS = {
    "0001_inbox": [
        f"INSERT INTO instructors VALUES ('{A}', 'Anna', '2026-01-01')",
        USER,
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
    "0005_guards": [],
    "0006_dismissals": [
        "UPDATE rejected_payloads SET dismissed_at = '2026-01-02', dismissed_by = '', dismissed_reason = ''",
    ],
    "0007_link_guard": [],
    "0008_audit_positions": [],
    "0009_link_operations": [f"INSERT INTO link_operations VALUES ('{C}', '{A}', '{C}', 'digest')"],
    "0010_session_epoch": [],
    "0011_inbox_keys": [],
    "0012_link_keys": [],
    "0013_audit_keys": [],
    "0014_rejected_payload_keys": [f"UPDATE rejected_payloads SET instructor_id = '{A}'"],
}

# Released revisions have been run on databases that are in use: what they lack is added by another one.
RELEASED = {
    "0001_inbox": "6a9fc6ff7e3365d434aba931399d0105942f77b8acbfbd7f376beaf93de33ebf",
    "0002_customers": "ca3bd67b7b237df2b30f8c6ced1bc3181fe7b0c037d253d39ae6d3299b0bed1e",
    "0003_conversation_link": "5c81703fdf98e510cd727b974f347bf64edfc342debd9016de2e732891f36b57",
    "0004_audit_events": "9f9f756f5315319d34a7774e12676a34e964bfb2fbcd8ee2602672dc786013d8",
}

# What there is besides tables, and what PostgreSQL marks as not to be relied on.
OTHER_THINGS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name",
    "postgresql": """
        SELECT tgname::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT proname::text, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT indexrelid::regclass::text, 'invalid' FROM pg_index WHERE NOT indisvalid
        UNION ALL SELECT conname::text, 'not valid' FROM pg_constraint WHERE NOT convalidated
        ORDER BY 1, 2
    """,
}
NOTHING: dict[str, Any] = {"other things": []}


@pytest.fixture
def empty_settings(new_database: Callable[[], Path | URL]) -> Settings:
    """Return the settings of a console on a database without tables, for its owner."""
    return as_owner(settings_for(new_database()))


@pytest.fixture
def empty(empty_settings: Settings) -> Iterator[Flask]:
    """Return the console on a database without tables."""
    app = create_app(empty_settings)
    with app.app_context():
        yield app


def dump() -> dict[str, Any]:
    """Return every table's columns, constraints, indexes and rows, and what there is besides tables."""
    with back_door() as connection:
        tables = set(inspect(connection).get_table_names()) - {"alembic_version"}
        other = connection.execute(text(OTHER_THINGS[connection.dialect.name]))
        return {
            "other things": [tuple(row) for row in other],
            **{table: describe(connection, table) for table in sorted(tables)},
        }


def describe(connection: Connection, table: str) -> list[Any]:
    about = inspect(connection)
    return [
        [str(column) for column in about.get_columns(table)],
        about.get_pk_constraint(table),
        sorted(map(str, about.get_foreign_keys(table))),
        sorted(map(str, about.get_check_constraints(table))),
        sorted(map(str, about.get_unique_constraints(table))),
        sorted(str(plain(index)) for index in about.get_indexes(table)),
        sorted(map(str, connection.execute(text(f"SELECT * FROM {table}")))),
    ]


def plain(value: Any) -> Any:
    """Return a description with its SQL as text."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in sorted(value.items())}
    return value if isinstance(value, list | bool) else str(value)


def test_models_equal_head(app: Flask):
    with back_door() as connection:
        partitions = set()
        if connection.dialect.name == "postgresql":
            # A foreign key to a partitioned table has one of its own to each partition.
            to_partitions = (
                "SELECT conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid"
                " WHERE conparentid <> 0 AND relkind = 'p'"
            )
            partitions = {
                row[0] for asked in (PARTITIONS, to_partitions) for row in connection.execute(text(asked))
            }
        options = {"include_name": lambda name, _type, _parents: name not in partitions}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_the_revisions_are_one_chain():
    scripts = ScriptDirectory(str(ROOT / "migrations"))
    assert [script.revision for script in scripts.walk_revisions()] == REVISIONS[::-1]
    for script in scripts.walk_revisions():
        assert "Review:" in (script.module.__doc__ or "")


def test_released_revisions_stay_as_they_were_released():
    directory = ROOT / "migrations" / "versions"
    found = {name: sha256((directory / f"{name}.py").read_bytes()).hexdigest() for name in RELEASED}
    assert found == RELEASED


def test_a_database_made_before_the_session_epoch_gets_it(empty: Flask):
    upgrade(revision="0001_inbox")
    execute(*ROWS["0001_inbox"])
    before = dump()
    execute("ALTER TABLE users DROP COLUMN session_epoch")
    upgrade()
    assert rows("SELECT email, session_epoch FROM users") == [("a@example.org", 0)]
    downgrade(revision="0001_inbox")
    assert dump() == before


@pytest.mark.shows("T1.2", "Review.Everywhere.4")
@pytest.mark.parametrize("step", range(len(REVISIONS)))
def test_each_step_goes_up_and_down_and_up_with_data(empty: Flask, step: int):
    for revision in REVISIONS[:step]:
        upgrade(revision=revision)
        execute(*ROWS[revision])
    before = dump() if step else NOTHING
    upgrade(revision=REVISIONS[step])
    execute(*ROWS[REVISIONS[step]])
    after = dump()
    downgrade()
    assert dump() == before
    upgrade(revision=REVISIONS[step])
    execute(*ROWS[REVISIONS[step]])
    assert dump() == after


@pytest.mark.shows("CM-1.1", "CM-1.2", "T1.1", "Review.T1.1", "Review.T1.2", "Review.T1.3")
def test_customers_have_five_columns_one_unique_constraint_and_no_trigger(empty: Flask):
    upgrade(revision="0002_customers")
    with back_door() as connection:
        about = inspect(connection)
        columns = [column["name"] for column in about.get_columns("customers")]
        unique = [constraint["column_names"] for constraint in about.get_unique_constraints("customers")]
        indexes = [index for index in about.get_indexes("customers") if "duplicates_constraint" not in index]
    assert columns == ["id", "instructor_id", "channel", "normalized_identifier", "created_at"]
    assert unique == [["instructor_id", "channel", "normalized_identifier"]]
    assert indexes == []
    assert dump()["other things"] == []


@on_sqlite
def test_a_table_that_is_rebuilt_keeps_the_order_of_its_indexes(empty: Flask):
    order = (
        "SELECT name FROM sqlite_master"
        " WHERE type = 'index' AND name LIKE 'ix_conversations_%' ORDER BY rowid"
    )
    upgrade(revision="0010_session_epoch")
    former = rows(order)
    upgrade()
    assert rows(order) == former
    assert len(former) == 5


@pytest.mark.shows("CM-1.2", "CM-2.2.18", "Review.T1.3", "Review.T4.4")
def test_no_migration_makes_customers_or_links(empty: Flask):
    upgrade(revision="0001_inbox")
    execute(*ROWS["0001_inbox"])
    upgrade()
    assert rows("SELECT count(*) FROM customers") == [(0,)]
    linked = "SELECT count(*) FROM conversations WHERE customer_id IS NOT NULL OR link_version <> 0"
    assert rows(linked) == [(0,)]


@on_sqlite
def test_an_upgrade_that_fails_half_way_changes_nothing(empty: Flask):
    upgrade(revision="0001_inbox")
    execute(*ROWS["0001_inbox"], "CREATE TABLE audit_events (in_the_way)")
    before = dump()
    with pytest.raises(SystemExit):
        upgrade()
    assert dump() == before


@on_postgresql
def test_an_upgrade_that_fails_half_way_goes_on_once_nothing_is_in_the_way(empty: Flask):
    upgrade(revision="0001_inbox")
    execute(*ROWS["0001_inbox"], "CREATE TABLE audit_events (in_the_way text)")
    with pytest.raises(SystemExit):
        upgrade()
    assert rows("SELECT version_num FROM alembic_version") == [("0003_conversation_link",)]
    execute("DROP TABLE audit_events")
    upgrade()
    test_models_equal_head(empty)


def flask(settings: Settings, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "flask", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment(settings), text=True, stdout=pipe, stderr=pipe)


def test_two_upgrades_at_once_are_one(empty_settings: Settings):
    both = [flask(empty_settings, "db", "upgrade") for _ in range(2)]
    assert [process.communicate() and process.returncode for process in both] == [0, 0]
    with create_app(empty_settings).app_context():
        assert rows("SELECT version_num FROM alembic_version") == [(REVISIONS[-1],)]


def test_a_newer_database_is_refused_in_one_line(empty: Flask, empty_settings: Settings):
    upgrade()
    execute("UPDATE alembic_version SET version_num = '0099_from_the_future'")
    process = flask(empty_settings, "db", "upgrade")
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert "0099_from_the_future" in stderr
    assert "Traceback" not in stderr


def test_a_place_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    process = flask(settings_for(tmp_path / "file" / "console.db"), "db", "upgrade")
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert "can't be made or written" in stderr
    assert "Traceback" not in stderr


@pytest.mark.shows("CM-2.5.10")
@pytest.mark.parametrize("revision", ["0003_conversation_link", "base"])
@pytest.mark.parametrize("event", ROWS["0004_audit_events"], ids=["in the trail", "in an outbox"])
def test_a_downgrade_that_would_drop_events_is_refused_unless_told(
    empty: Flask, capfd: pytest.CaptureFixture[str], revision: str, event: str
):
    upgrade(revision="0004_audit_events")
    execute(*(statement for name in REVISIONS[:3] for statement in ROWS[name]), event)
    upgrade()
    before = dump()
    with pytest.raises(SystemExit):
        flask_downgrade(revision=revision)
    assert "flask audit export" in capfd.readouterr().err
    assert dump() == before
    downgrade(revision=revision)


def test_a_downgrade_that_drops_no_event_goes_ahead(empty: Flask):
    upgrade()
    flask_downgrade(revision="base")
