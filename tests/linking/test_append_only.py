"""`audit_events` only grows, and its positions have no gap, whichever role writes it (CM-2.5)."""

from contextlib import nullcontext
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from console.database import command_scope, writing
from testkit.databases import back_door, execute, on_postgresql, on_sqlite, rows
from testkit.factories import Desk, trail


def add_raw(
    anna: Desk,
    conversation_id: UUID,
    *,
    event_id: UUID | None = None,
    sequence: int = 1,
    on: Connection | None = None,
) -> None:
    """Add something to the trail past the console, under an id or a sequence that an event may have."""
    with nullcontext(on) if on else back_door() as connection:
        connection.execute(
            text(
                "INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event) VALUES"
                f" ('{event_id or uuid4()}', '{conversation_id}', '{anna.instructor_id}', {sequence}, '{{}}')"
            )
        )


@pytest.mark.shows("CM-2.5.4")
def test_an_event_whose_id_or_sequence_is_taken_is_refused_with_an_error(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    operation_id = uuid4()
    anna.link(conversation_id, operation_id=operation_id)
    before = rows("SELECT * FROM audit_events")
    with pytest.raises(IntegrityError, match="append-only"):
        add_raw(anna, anna.conversation("40404"), event_id=operation_id)
    with pytest.raises(IntegrityError, match="append-only"):
        add_raw(anna, conversation_id)
    assert rows("SELECT * FROM audit_events") == before
    anna.unlink(conversation_id)
    assert rows("SELECT position FROM audit_events ORDER BY 1") == [(1,), (2,)]


@pytest.mark.shows("CM-2.5.11", "T5.3")
@on_sqlite
def test_a_position_that_is_not_the_next_is_refused(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    ids = f"'{uuid4()}', '{conversation_id}', '{anna.instructor_id}'"
    for position in (3, -1, 2**40):
        with pytest.raises(IntegrityError, match="no gaps"):
            execute(f"INSERT INTO audit_events VALUES ({position}, {ids}, 2, 'x')")
    assert len(trail()) == 1


@pytest.mark.shows("CM-2.5.11", "T5.3")
@on_postgresql
def test_a_statement_that_names_a_position_gets_the_next(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    ids = f"'{uuid4()}', '{conversation_id}', '{anna.instructor_id}'"
    execute(f"INSERT INTO audit_events VALUES (9, {ids}, 2, 'x')")
    assert rows("SELECT position FROM audit_events ORDER BY 1") == [(1,), (2,)]


@pytest.mark.shows("CM-2.5.5", "T5.4", "Review.T5.2")
@on_postgresql
def test_nothing_in_the_trail_can_be_changed_or_removed_on_a_server_by_its_owner(anna: Desk):
    anna.link(anna.conversation("393331234567"))
    before = trail()
    for statement in (
        "UPDATE audit_events SET event = 'forged'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "TRUNCATE audit_events, conversations CASCADE",
        (
            "INSERT INTO audit_events SELECT * FROM audit_events"
            " ON CONFLICT (event_id, instructor_id) DO UPDATE SET event = 'forged'"
        ),
    ):
        with pytest.raises(DBAPIError, match="append-only"), back_door() as connection:
            connection.execute(text(statement))
    assert trail() == before


@pytest.mark.shows("CM-2.5.5", "T5.4", "Review.T5.2")
@on_sqlite
def test_nothing_in_the_trail_can_be_changed_or_removed(anna: Desk):
    anna.link(anna.conversation("393331234567"))
    before = trail()
    row = "SELECT position, event_id, conversation_id, instructor_id, sequence, 'forged' FROM audit_events"
    for statement in (
        "UPDATE audit_events SET event = 'forged'",
        "UPDATE audit_events SET position = 9",
        "DELETE FROM audit_events",
        f"INSERT OR REPLACE INTO audit_events {row.replace('event_id', 'lower(hex(randomblob(16)))')}",
        f"INSERT OR REPLACE INTO audit_events {row.replace('position', '9').replace('event_id', '1')}",
        f"INSERT OR REPLACE INTO audit_events {row}",
        f"INSERT OR IGNORE INTO audit_events {row}",
    ):
        with pytest.raises(IntegrityError, match="append-only"), writing(command_scope()) as connection:
            connection.execute(text(statement))
    assert trail() == before
