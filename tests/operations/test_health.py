"""Readiness: what is wrong with which database, and what to do about it."""

import resource
import time
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text

from console import create_app
from console.config import Settings
from console.database import db
from testkit.databases import back_door, execute, file_of, locked, on_postgresql, on_sqlite, settings_for
from testkit.factories import Desk
from testkit.pages import Browser
from testkit.postgres import Cluster

GOOD = "answers, migrations at head"
SILENT = "does not answer, or does not let the console in"
REFUSED = "refuses the console’s role: flask database roles, as a superuser"
READ_ONLY = "takes no writes: it is a standby, or was made read-only"


def told(app: Flask, status: int) -> dict[str, str]:
    """Return what /readyz says of each database."""
    page = Browser(app).get_page("/readyz", status)
    names, words = page.select("main dt"), page.select("main dd")
    return {name.text: word.text.strip() for name, word in zip(names, words, strict=True)}


def test_a_console_whose_databases_can_be_used_is_ready(app: Flask):
    names = ("Database", "Database for reading", "Database for ingestion")
    assert told(app, 200) == dict.fromkeys(names, GOOD)


def test_the_moment_of_the_last_message_is_told(app: Flask, anna: Desk):
    anna.conversation("393331111111", at=1_767_225_600)
    assert told(app, 200)["Last WhatsApp message"] == "1 Jan 2026, 00:00"
    assert "Times in UTC" in Browser(app).get_page("/readyz").text
    execute("ALTER TABLE channel_accounts RENAME TO away")
    assert "Last WhatsApp message" not in told(app, 503)


def test_a_column_that_is_missing_is_named_whatever_the_revision_says(app: Flask):
    execute("ALTER TABLE users RENAME COLUMN session_epoch TO away")
    (problem,) = set(told(app, 503).values())
    assert problem.startswith("lacks users.session_epoch, though it says that it is at ")


@on_sqlite
def test_a_disk_without_room_is_named(app: Flask):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        found = told(app, 503)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    full = "takes no writes: its disk is full"
    assert found == {"Database": full, "Database for reading": GOOD, "Database for ingestion": full}
    assert set(told(app, 200).values()) == {GOOD}


@on_postgresql
def test_a_locked_table_is_told_within_two_seconds(app: Flask):
    with back_door() as connection:
        connection.execute(text("LOCK TABLE conversations"))
        begun = time.monotonic()
        found = told(app, 503)
        assert time.monotonic() - begun < 2
    assert "does not answer in time" in found.values()


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("database_url", "Database"),
        ("ingest_database_url", "Database for ingestion"),
    ],
)
@on_postgresql
def test_a_server_that_is_gone_is_named(settings: Settings, part: str, name: str):
    url = settings.database_url
    found = told(create_app(settings_for(url, **{part: url.set(port=1)})), 503)
    assert found.pop(name) == SILENT
    # With the primary elsewhere reading counts as a standby's, which is there.
    assert set(found.values()) == {GOOD}


@on_postgresql
def test_a_standby_that_is_gone_is_named_and_stops_no_work(settings: Settings):
    app = create_app(replace(settings, read_database_url=settings.read_database_url.set(port=1)))
    found = told(app, 200)
    assert found.pop("Standby") == f"{SILENT} (the primary is read meanwhile)"
    assert found == dict.fromkeys(("Database", "Database for reading", "Database for ingestion"), GOOD)
    metrics = Browser(app).http.get("/metrics").text
    assert 'console_database_usable{database="standby"} 0.0' in metrics
    assert 'console_database_usable{database="read"} 1.0' in metrics


@on_postgresql
def test_a_primary_that_takes_no_writes_is_named(app: Flask, settings: Settings, cluster: Cluster):
    # As after a failover that left this server a standby.
    name = settings.database_url.database
    cluster.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    for engine in db.engines.values():
        engine.dispose()
    found = told(app, 503)
    assert found == {
        "Database": READ_ONLY,
        "Database for reading": GOOD,
        "Database for ingestion": READ_ONLY,
    }


@on_postgresql
def test_a_role_without_its_rights_is_named(app: Flask):
    execute("REVOKE SELECT ON alembic_version FROM console_ingest")
    assert told(app, 503)["Database for ingestion"] == REFUSED


@on_postgresql
def test_a_role_that_may_read_and_not_write_is_named(app: Flask):
    execute(
        "REVOKE UPDATE ON conversations FROM console_link",
        "REVOKE UPDATE (customer_id, link_version, link_operation_id, audit_outbox)"
        " ON conversations FROM console_link",
    )
    assert told(app, 503)["Database"] == REFUSED


@on_postgresql
def test_an_unknown_database_error_is_named_by_its_code(app: Flask):
    execute(
        "ALTER TABLE alembic_version RENAME TO away",
        "CREATE VIEW alembic_version AS SELECT 1/0 AS version_num",
    )
    execute("GRANT SELECT ON alembic_version TO PUBLIC")
    assert told(app, 503)["Database"] == "fails with 22012"


def test_a_database_that_was_never_migrated_is_named(app: Flask):
    execute("ALTER TABLE alembic_version RENAME TO away")
    assert set(told(app, 503).values()) == {"was never migrated: flask db upgrade, as the owner"}


def test_a_database_taken_back_to_nothing_is_named(app: Flask):
    execute("DELETE FROM alembic_version")
    assert set(told(app, 503).values()) == {"was never migrated: flask db upgrade, as the owner"}


@on_sqlite
def test_a_locked_file_is_named_soon(app: Flask, settings: Settings):
    with locked(settings):
        found = told(app, 503)
    assert found == {
        "Database": "is locked by another process",
        "Database for reading": GOOD,
        "Database for ingestion": "is locked by another process",
    }
    assert set(told(app, 200).values()) == {GOOD}


@on_sqlite
def test_a_file_that_is_gone_is_named(app: Flask, settings: Settings):
    for engine in db.engines.values():
        engine.dispose()
    file_of(settings).unlink()
    assert set(told(app, 503).values()) == {"is not there, or its file can’t be opened"}


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    path = tmp_path / "console.db"
    path.write_bytes(b"something else, and long enough to be looked at" * 100)
    assert set(told(create_app(settings_for(path)), 503).values()) == {
        "is a file that is no database: move it away, then flask db upgrade"
    }


@on_sqlite
def test_ingestion_on_a_file_of_its_own_is_asked_by_itself(settings: Settings, tmp_path: Path):
    elsewhere = settings_for(tmp_path / "elsewhere.db").database_url
    found = told(create_app(replace(settings, ingest_database_url=elsewhere)), 503)
    assert found["Database"] == GOOD
    assert found["Database for ingestion"] == "is not there, or its file can’t be opened"
