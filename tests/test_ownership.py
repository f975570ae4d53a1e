"""Each query names the instructor: rows of another instructor change no answer, not even under the same ids.

An id is unique for its instructor (docs/decisions/0026), so that a query by the id alone may find two rows.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection

from console.conversations import queries as conversations
from console.database import command_scope, reading
from console.linking import history, queries
from console.linking.queries import LinkView
from testkit.databases import execute, rows
from testkit.factories import Desk, link_state

ANNAS, OTHERS, ALONE = "393331234567", "393330000000", "447700900123"
EARLY, LATE = "2001-01-01 00:00:00.000000", "2099-01-01 00:00:00.000000"
NEVER = datetime(2026, 1, 1, tzinfo=UTC)

Query = Callable[[Connection, UUID, UUID, UUID], Any]


def view(conversation_id: UUID, instructor_id: UUID) -> LinkView:
    """Return what a query for customers is given of a conversation."""
    state = ("open", None, NEVER, None, None, 0, None)
    return LinkView(conversation_id, instructor_id, "whatsapp", ANNAS, *state)


QUERIES: dict[str, Query] = {
    "inbox": lambda connection, _conversation, instructor, _customer: conversations.inbox(
        connection, instructor_id=instructor, with_link=True
    ),
    "conversation": lambda connection, conversation, instructor, _customer: conversations.conversation(
        connection, conversation_id=conversation, instructor_ids=[instructor], with_link=True
    ),
    "messages": lambda connection, conversation, instructor, _customer: conversations.messages(
        connection, conversation_id=conversation, instructor_id=instructor
    ),
    "subjects": lambda connection, conversation, instructor, _customer: conversations.subjects(
        connection, conversation_ids=[str(conversation)], instructor_ids=[instructor]
    ),
    "link_view": lambda connection, conversation, instructor, _customer: queries.link_view(
        connection, conversation_id=conversation, instructor_ids=[instructor]
    ),
    "work": lambda connection, conversation, instructor, _customer: queries.work(
        connection, conversation_id=conversation, instructor_ids=[instructor]
    ),
    "left": lambda connection, _conversation, instructor, _customer: queries.left(
        connection, instructor_id=instructor
    ),
    "customers": lambda connection, conversation, instructor, customer: queries.customers(
        connection, view(conversation, instructor), "393", chosen=customer
    ),
    "labels": lambda connection, _conversation, instructor, customer: queries.labels(
        connection, instructor_id=instructor, user_ids=[], customer_ids=[customer]
    ),
    "history": lambda connection, conversation, instructor, _customer: history.history(
        connection, conversation, instructor, outbox=None, version=2, seen=None
    ),
}


@pytest.fixture
def conversation_id(anna: Desk) -> UUID:
    """Return a linked conversation of Anna's, who has another that is linked and one that isn't."""
    linked, other = anna.conversation(ANNAS), anna.conversation(OTHERS)
    anna.conversation(ALONE)
    for each in (linked, other):
        anna.link(each)
    return linked


def repeat_for(bruno: Desk, conversation_id: UUID) -> None:
    """Give Bruno rows with the ids of all of Anna's, and others beside them."""
    his = f"'{bruno.instructor_id}'"
    thread = "channel, customer_identifier, status, created_at, updated_at, last_message_at, customer_id"
    message = "channel, direction, external_id, kind"
    execute(
        "INSERT INTO customers (id, instructor_id, channel, normalized_identifier, created_at)"
        f" SELECT id, {his}, channel, '393' || normalized_identifier, created_at FROM customers",
        f"INSERT INTO conversations (id, instructor_id, {thread})"
        f" SELECT id, {his}, {thread} FROM conversations",
        f"INSERT INTO messages (id, conversation_id, instructor_id, {message}, body, sent_at)"
        f" SELECT id, conversation_id, {his}, {message}, 'Bruno’s', '{EARLY}' FROM messages",
    )
    for at, body in (
        (EARLY, "Bruno’s first"),
        (LATE, "Bruno’s last"),
    ):
        execute(
            f"INSERT INTO messages (id, conversation_id, instructor_id, {message}, body, sent_at) VALUES"
            f" ('{uuid4()}', '{conversation_id}', {his}, 'whatsapp', 'inbound', 'wamid.{at}', 'text',"
            f" '{body}', '{at}')"
        )
    execute(
        "INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event)"
        f" SELECT '{uuid4()}', conversation_id, {his}, 2, event FROM audit_events"
        f" WHERE conversation_id = '{conversation_id}'"
    )


@pytest.mark.shows("CM-1.3", "Review.Everywhere.1", "Review.T4.2")
@pytest.mark.parametrize("name", QUERIES)
def test_rows_of_another_instructor_change_no_answer(
    anna: Desk, bruno: Desk, conversation_id: UUID, name: str
):
    ask, customer_id = QUERIES[name], link_state(conversation_id).customer_id
    assert customer_id
    with reading(command_scope()) as connection:  # which row security shows all rows
        before = ask(connection, conversation_id, anna.instructor_id, customer_id)
        of_a_stranger = ask(connection, conversation_id, uuid4(), customer_id)
        of_nothing = ask(connection, uuid4(), uuid4(), uuid4())
    assert of_a_stranger == of_nothing != before
    repeat_for(bruno, conversation_id)
    assert rows("SELECT count(*) FROM conversations") == [(6,)]
    with reading(command_scope()) as connection:
        assert ask(connection, conversation_id, anna.instructor_id, customer_id) == before


@pytest.mark.shows("CM-2.3.2", "Review.T4.2")
def test_a_write_changes_no_row_of_another_instructor(anna: Desk, bruno: Desk, conversation_id: UUID):
    repeat_for(bruno, conversation_id)
    execute("UPDATE conversations SET link_version = 1")
    his = f"SELECT * FROM conversations WHERE instructor_id = '{bruno.instructor_id}' ORDER BY id"
    before = rows(his)
    anna.unlink(conversation_id, instructor_id=anna.instructor_id, seen_version=1)
    assert rows(his) == before


@pytest.mark.shows("CM-2.3.2")
def test_a_customer_of_another_channel_is_not_offered(anna: Desk, conversation_id: UUID):
    shown = view(conversation_id, anna.instructor_id)
    with reading(command_scope()) as connection:
        assert len(queries.customers(connection, shown).rows) == 2
    execute("UPDATE customers SET channel = 'sms'")
    with reading(command_scope()) as connection:
        assert queries.customers(connection, shown).rows == []
