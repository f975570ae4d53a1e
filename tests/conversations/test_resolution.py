"""CM-2.1: which customer a conversation is with, on a connection that can't write."""

import hashlib
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError

from console import create_app
from console.config import Settings, sqlite_path
from console.conversations import queries
from console.conversations.resolution import Outcome, Reason, Resolution, Subject, resolve
from console.database import command_scope, db, reading, writing
from console.models import Conversation
from testkit.databases import (
    POSTGRESQL,
    SQLITE,
    as_owner,
    execute,
    on_postgresql,
    on_sqlite,
    server_content,
)
from testkit.factories import Desk, desk, link_state
from testkit.statements import statements, without_control


def resolve_all() -> list[Resolution]:
    with reading(command_scope()) as connection:
        ids = connection.scalars(select(Conversation.id).order_by(Conversation.id)).all()
        return resolve(connection, queries.subjects(connection, conversation_ids=list(map(str, ids))))


def resolution_of(conversation_id: object) -> Resolution:
    return next(item for item in resolve_all() if item.conversation_id == str(conversation_id))


@pytest.mark.shows("CM-2.1.1", "T3.1")
def test_a_linked_conversation_resolves_to_its_customer(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    assert resolution_of(conversation_id) == Resolution(
        str(conversation_id), Outcome.LINKED, customer_id=str(link_state(conversation_id).customer_id)
    )


@pytest.mark.shows("CM-2.1.1", "T3.1", "Review.T3.1")
def test_a_link_is_the_answer_whatever_the_identifier_says(anna: Desk):
    other = anna.customer("393330000001")
    conversation_id = anna.conversation("40404")
    anna.link(conversation_id, other)
    assert resolution_of(conversation_id).customer_id == str(other)


@pytest.mark.shows("CM-2.1.2", "T3.2", "Review.T3.1")
def test_a_customer_on_record_is_a_match_however_the_number_is_written(anna: Desk):
    customer_id = anna.customer("393331234567")
    conversation_id = anna.conversation("+39 333 123-4567")
    assert resolution_of(conversation_id) == Resolution(
        str(conversation_id), Outcome.MATCH, customer_id=str(customer_id)
    )


@pytest.mark.shows("CM-2.1.8")
def test_a_closed_conversation_resolves_like_an_open_one(anna: Desk):
    customer_id = anna.customer("393331234567")
    conversation_id = anna.conversation("+393331234567")
    execute(f"UPDATE conversations SET status = 'closed' WHERE id = '{conversation_id}'")
    assert resolution_of(conversation_id).customer_id == str(customer_id)


@pytest.mark.shows("CM-2.1.3", "T3.3", "Review.T3.1")
@pytest.mark.parametrize(
    ("identifier", "reason"),
    [
        (None, Reason.NO_IDENTIFIER),
        ("", Reason.NO_IDENTIFIER),
        ("40404", Reason.INVALID_IDENTIFIER),
        ("WhatsApp Support", Reason.INVALID_IDENTIFIER),
        ("393339999999", Reason.NO_CUSTOMER),
        ("US.13491208655302741918", Reason.NO_CUSTOMER),
    ],
)
def test_an_unresolved_conversation_has_a_reason(anna: Desk, identifier: str | None, reason: Reason):
    subject = Subject(str(uuid4()), str(anna.instructor_id), "whatsapp", identifier, None)
    with reading(command_scope()) as connection:
        assert resolve(connection, [subject]) == [Resolution(subject.id, Outcome.NONE, reason=reason)]


@pytest.mark.shows("CM-2.1.3", "T3.3")
def test_no_customer_is_looked_up_without_an_instructor(anna: Desk):
    anna.customer("393331234567")
    subject = Subject(str(uuid4()), None, "whatsapp", "393331234567", None)
    with reading(command_scope()) as connection:
        (resolution,) = resolve(connection, [subject])
    assert resolution.reason == Reason.NO_INSTRUCTOR


@pytest.mark.shows("CM-1.3", "CM-2.1.2", "Review.Everywhere.1", "Review.T3.1")
def test_the_same_person_with_another_instructor_or_channel_is_no_match(cli: FlaskCliRunner, anna: Desk):
    anna.customer("393331234567")
    bruno = desk(cli, "Bruno Pichler")
    elsewhere = [
        Subject(str(uuid4()), str(bruno.instructor_id), "whatsapp", "393331234567", None),
        Subject(str(uuid4()), str(anna.instructor_id), "sms", "393331234567", None),
    ]
    with reading(command_scope()) as connection:
        assert {resolution.reason for resolution in resolve(connection, elsewhere)} == {Reason.NO_CUSTOMER}


# Ways to be without the constraint that makes a customer unique.
UNCONSTRAINED = {
    SQLITE: (
        "CREATE TABLE copy AS SELECT * FROM customers",
        "UPDATE conversations SET customer_id = NULL",
        "PRAGMA defer_foreign_keys = ON",
        "PRAGMA legacy_alter_table = ON",  # the triggers on conversations name the table
        "DROP TABLE customers",
        "ALTER TABLE copy RENAME TO customers",
        "CREATE UNIQUE INDEX what_links_point_at ON customers (instructor_id, id)",
    ),
    POSTGRESQL: (
        "ALTER TABLE customers DROP CONSTRAINT uq_customers_instructor_id_channel_normalized_identifier",
    ),
}


@pytest.mark.shows("CM-2.1.3", "T3.3")
def test_two_customers_for_one_identifier_are_ambiguous(anna: Desk, engine: str):
    anna.customer("393331234567")
    rest = "instructor_id, channel, normalized_identifier, created_at"
    execute(*UNCONSTRAINED[engine], f"INSERT INTO customers SELECT '{uuid4()}', {rest} FROM customers")
    subject = Subject(str(uuid4()), str(anna.instructor_id), "whatsapp", "393331234567", None)
    with reading(command_scope()) as connection:
        assert resolve(connection, [subject]) == [
            Resolution(subject.id, Outcome.NONE, reason=Reason.AMBIGUOUS)
        ]


@pytest.mark.shows("CM-2.1.4", "T3.3", "T3.4")
def test_a_failing_lookup_is_an_answer_not_an_error(
    anna: Desk, engine: str, capfd: pytest.CaptureFixture[str]
):
    linked = anna.conversation("393331234567")
    anna.link(linked)
    other = anna.conversation("393339999999")
    execute("ALTER TABLE customers RENAME TO mislaid")
    assert resolution_of(linked).outcome == Outcome.LINKED
    assert resolution_of(other) == Resolution(str(other), Outcome.NONE, reason=Reason.LOOKUP_FAILED)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    told = {(line["event"], line.get("kind"), line.get("conversations")) for line in lines}
    kind = "OperationalError" if engine == SQLITE else "ProgrammingError"
    assert ("resolution_lookup_failed", kind, 1) in told
    assert "393339999999" not in str(lines)


def populate(anna: Desk, count: int = 40) -> None:
    for number in range(count):
        conversation_id = anna.conversation(f"3933312{number:05}")
        if number % 3 == 0:
            anna.link(conversation_id)
        if number % 3 == 1:
            anna.customer(f"3933312{number:05}")


@pytest.mark.shows("CM-2.1.7", "T3.5", "Review.T3.2")
@on_postgresql
def test_resolving_everything_writes_nothing_on_a_server_and_answers_the_same(anna: Desk):
    populate(anna)

    before = server_content()
    first, second = resolve_all(), resolve_all()
    assert first == second
    assert {resolution.outcome for resolution in first} == set(Outcome)
    assert server_content() == before


@pytest.mark.shows("CM-2.1.7", "T3.5", "Review.T3.2")
@on_sqlite
def test_resolving_everything_leaves_the_file_as_it_was_and_answers_the_same(anna: Desk, settings: Settings):
    populate(anna)
    path = sqlite_path(settings.database_url)
    assert path
    with writing(command_scope()) as connection:
        connection.exec_driver_sql("SELECT 1")
    db.engine.raw_connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def content() -> list[str]:
        return [
            hashlib.sha256(file.read_bytes()).hexdigest()
            for file in (path, Path(f"{path}-wal"))
            if file.exists()
        ]

    before = content()
    first, second = resolve_all(), resolve_all()
    assert first == second
    assert {resolution.outcome for resolution in first} == set(Outcome)
    assert content() == before


WRITES = (
    "UPDATE conversations SET customer_id = NULL",
    f"INSERT INTO instructors VALUES ('{uuid4()}', 'y', '2026-01-01')",
    "DELETE FROM customers",
    "CREATE TABLE t (x integer)",
    "DROP TABLE customers",
)


@pytest.mark.shows("CM-2.1.5", "CM-2.2.12")
def test_the_engine_it_runs_on_refuses_every_write(app: Flask):
    for statement in WRITES:
        with (
            reading(command_scope()) as connection,
            pytest.raises(DBAPIError, match=r"readonly database|read-only"),
        ):
            connection.execute(text(statement))


SERVER_WRITES = ("TRUNCATE audit_events", "SELECT id FROM conversations FOR UPDATE")


@pytest.mark.shows("CM-2.1.5")
def test_the_read_engine_refuses_writes_of_every_role(settings: Settings, engine: str):
    app = create_app(replace(settings, read_database_url=as_owner(settings).database_url))
    with app.app_context():
        for statement in WRITES + (SERVER_WRITES if engine == POSTGRESQL else ()):
            with (
                reading(command_scope()) as connection,
                pytest.raises(DBAPIError, match=r"readonly database|read-only"),
            ):
                connection.execute(text(statement))


@pytest.mark.shows("CM-2.1.5")
@on_sqlite
def test_the_file_itself_is_opened_read_only(app: Flask):
    driver = db.engines["read"].raw_connection().driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.execute("PRAGMA query_only = OFF")
    with pytest.raises(sqlite3.OperationalError, match="readonly database"):
        driver.execute("DELETE FROM customers")


@pytest.mark.shows("CM-2.1.6", "T3.6")
@pytest.mark.parametrize("count", [1, 50, 5000])
def test_any_number_of_conversations_takes_one_statement(app: Flask, anna: Desk, count: int):
    subjects = [
        Subject(str(uuid4()), str(anna.instructor_id), "whatsapp", f"39333{number:07}", None)
        for number in range(count)
    ]
    statements: list[str] = []
    event.listen(db.engines["read"], "before_cursor_execute", lambda *call: statements.append(call[2]))
    with reading(command_scope()) as connection:
        assert len(resolve(connection, subjects)) == count
    assert without_control(statements) == [statements[-1]]


def test_no_statement_is_sent_without_an_identifier_to_look_up(anna: Desk):
    anna.link(anna.conversation("393331234567"))
    anna.conversation("40404")
    with reading(command_scope()) as connection:
        ids = connection.scalars(select(Conversation.id)).all()
        found = queries.subjects(connection, conversation_ids=list(map(str, ids)))
        with statements() as seen:
            assert len(resolve(connection, found)) == 2
    assert without_control(seen) == []


def test_a_resolution_cannot_be_changed(anna: Desk):
    resolution = Resolution(str(uuid4()), Outcome.NONE, reason=Reason.NO_CUSTOMER)
    with pytest.raises(AttributeError):
        resolution.customer_id = str(uuid4())  # type: ignore[misc]  # that is the point
