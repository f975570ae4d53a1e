"""CM-2.3: only people link, only within one instructor, only over what they saw, and once."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import IntegrityError

from console.config import Settings, sqlite_path
from console.database import command_scope, db, reading
from console.linking import service
from console.linking.service import LinkOutcome
from console.models import Conversation, Customer
from testkit.databases import back_door, execute, on_sqlite
from testkit.factories import Desk, heal, link_state, run, trail, user


def customers() -> int:
    with reading(command_scope()) as connection:
        return connection.execute(select(func.count()).select_from(Customer)).scalar_one()


def refused(
    error: type[Exception], act: Callable[..., object], conversation_id: UUID, *what: Any, **how: Any
) -> None:
    """Expect `act` on a conversation to be refused and to have written no link, event or customer."""
    before = link_state(conversation_id), trail(), customers()
    with pytest.raises(error):
        act(conversation_id, *what, **how)
    assert (link_state(conversation_id), trail(), customers()) == before


@pytest.mark.shows("CM-2.3.7", "CM-2.5.1")
def test_linking_to_a_customer_on_record(anna: Desk):
    customer_id = anna.customer("393331234567")
    conversation_id = anna.conversation("40404")
    assert anna.link(conversation_id, customer_id) == LinkOutcome.LINKED
    state = link_state(conversation_id)
    assert (state.customer_id, state.link_version, state.outbox) == (customer_id, 1, None)


@pytest.mark.shows("CM-2.3.7", "CM-2.2.16", "T4.7")
def test_creating_the_customer_of_the_conversations_own_identifier(anna: Desk):
    conversation_id = anna.conversation("+39 333 123-4567")
    assert anna.link(conversation_id) == LinkOutcome.LINKED
    with reading(command_scope()) as connection:
        row = connection.execute(select(Customer)).one()
    assert (row.instructor_id, row.channel, row.normalized_identifier) == (
        anna.instructor_id,
        "whatsapp",
        "393331234567",
    )
    assert link_state(conversation_id).customer_id == row.id


@pytest.mark.shows("CM-2.3.10")
def test_nothing_else_of_the_conversation_changes(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    untouched = [
        column
        for column in Conversation.__table__.c
        if column.name not in ("customer_id", "link_version", "audit_outbox")
    ]

    def rest() -> object:
        with reading(command_scope()) as connection:
            return connection.execute(select(*untouched).where(Conversation.id == conversation_id)).one()

    before = rest()
    anna.link(conversation_id)
    anna.link(conversation_id, anna.customer("393330000000"), confirmed=True)
    anna.unlink(conversation_id)
    assert rest() == before


@pytest.mark.shows("CM-2.3.7", "T4.7")
def test_a_customer_is_created_only_where_the_identifier_normalises(anna: Desk):
    conversation_id = anna.conversation("40404")
    refused(service.CustomerNotCreatable, anna.link, conversation_id)


@pytest.mark.shows("CM-2.3.7", "CM-1.1", "Review.T1.2", "Review.T1.4")
def test_a_customer_is_created_only_where_there_is_none(anna: Desk):
    anna.customer("393331234567")
    conversation_id = anna.conversation("+393331234567")
    refused(service.CustomerNotCreatable, anna.link, conversation_id)


@pytest.mark.shows("CM-2.3.5", "T4.5", "Review.T4.3")
def test_replacing_a_link_takes_explicit_intent(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    other = anna.customer("393330000000")
    refused(service.NotConfirmed, anna.link, conversation_id, other)
    assert anna.link(conversation_id, other, confirmed=True) == LinkOutcome.LINKED
    assert link_state(conversation_id).customer_id == other


@pytest.mark.shows("CM-2.3.5", "T4.5", "Review.T4.3")
def test_removing_a_link_takes_explicit_intent(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    refused(service.NotConfirmed, anna.unlink, conversation_id, confirmed=False)
    assert anna.unlink(conversation_id) == LinkOutcome.UNLINKED
    assert link_state(conversation_id).customer_id is None


@pytest.mark.shows("CM-2.3.4", "T4.4")
def test_a_link_is_changed_only_over_the_version_that_was_seen(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    other = anna.customer("393330000000")
    for seen in (0, 2, 99):
        refused(service.LinkChanged, anna.link, conversation_id, other, confirmed=True, seen_version=seen)


@pytest.mark.shows("CM-2.3.4", "T4.4")
def test_a_change_there_and_back_counts_as_a_change(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    first = link_state(conversation_id)
    other = anna.customer("393330000000")
    anna.link(conversation_id, other, confirmed=True)
    anna.link(conversation_id, first.customer_id, confirmed=True)
    refused(
        service.LinkChanged,
        anna.link,
        conversation_id,
        other,
        confirmed=True,
        seen_version=first.link_version,
    )


@pytest.mark.shows("CM-2.3.4", "T4.4")
def test_a_link_that_changes_between_the_check_and_the_write_is_not_overwritten(anna: Desk):
    conversation_id = anna.conversation("393331234567")

    def overtake(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE conversations SET customer_id"):
            cursor.connection.execute("UPDATE conversations SET link_version = link_version + 1")

    event.listen(db.engine, "before_cursor_execute", overtake)
    try:
        refused(service.LinkChanged, anna.link, conversation_id)
    finally:
        event.remove(db.engine, "before_cursor_execute", overtake)


@pytest.mark.shows("CM-2.3.6", "T4.6")
def test_linking_to_the_customer_it_has_is_no_write_and_no_event(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    before = link_state(conversation_id), trail()
    assert anna.link(conversation_id, before[0].customer_id, confirmed=True) == LinkOutcome.UNCHANGED
    assert (link_state(conversation_id), trail()) == before


@pytest.mark.shows("CM-2.3.6")
def test_removing_no_link_is_no_write_and_no_event(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    assert anna.unlink(conversation_id) == LinkOutcome.UNCHANGED
    assert trail() == []


@pytest.mark.shows("CM-2.3.8", "T4.8")
def test_a_repeat_has_the_effect_of_one_and_the_same_answer(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    once: dict[str, Any] = {"operation_id": uuid4(), "seen_version": 0}
    assert [anna.link(conversation_id, **once) for _ in range(3)] == [LinkOutcome.LINKED] * 3
    assert link_state(conversation_id).link_version == 1
    assert len(trail(conversation_id)) == 1
    once = {"operation_id": uuid4(), "seen_version": 1}
    assert [anna.unlink(conversation_id, **once) for _ in range(3)] == [LinkOutcome.UNLINKED] * 3
    assert len(trail(conversation_id)) == 2


@pytest.mark.shows("CM-2.3.8", "T4.8")
def test_an_operation_id_serves_one_content_only(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    other = anna.customer("393330000000")
    once: dict[str, Any] = {"operation_id": uuid4(), "seen_version": 0}
    anna.link(conversation_id, **once)
    refused(service.OperationReused, anna.link, conversation_id, other, **once)
    refused(service.OperationReused, anna.unlink, conversation_id, **once)
    refused(service.OperationReused, anna.link, conversation_id, **once, reason="another reason")
    once["seen_version"] = 1
    refused(service.OperationReused, anna.link, conversation_id, **once)


@pytest.mark.shows("CM-2.3.8")
def test_an_operation_id_is_taken_for_good(cli: FlaskCliRunner, anna: Desk, bruno: Desk):
    conversation_id, other = anna.conversation("393331234567"), anna.customer("393330000000")
    once: dict[str, Any] = {"operation_id": uuid4(), "seen_version": 0, "reason": "so it was"}
    anna.link(conversation_id, **once)
    anna.link(conversation_id, other, confirmed=True)
    for someone in (anna, bruno):
        elsewhere = someone.conversation("447700900123")
        refused(service.OperationReused, someone.link, elsewhere, operation_id=once["operation_id"])
    over_it = {**once, "seen_version": link_state(conversation_id).link_version}
    refused(service.OperationReused, anna.unlink, conversation_id, **over_it)
    before = link_state(conversation_id), trail()
    assert anna.link(conversation_id, **once) == LinkOutcome.LINKED
    assert (link_state(conversation_id), trail()) == before
    run(cli, "audit", "verify")


@pytest.mark.shows("CM-2.3.8", "T4.8")
def test_an_operation_id_serves_one_conversation_only(anna: Desk):
    first, second = anna.conversation("393331234567"), anna.conversation("393330000000")
    operation_id = uuid4()
    anna.link(first, operation_id=operation_id)
    refused(service.OperationReused, anna.link, second, operation_id=operation_id)


@pytest.mark.shows("CM-2.3.3", "T4.3")
@pytest.mark.parametrize("reason", ["", " ", "\u00a0\n"])
def test_every_write_takes_a_reason(anna: Desk, reason: str):
    conversation_id = anna.conversation("393331234567")
    refused(service.ReasonMissing, anna.link, conversation_id, reason=reason)


@pytest.mark.shows("CM-2.3.1", "T4.1", "Review.T4.2")
def test_only_an_operator_of_the_conversations_instructor_links(cli: FlaskCliRunner, anna: Desk, bruno: Desk):
    conversation_id = anna.conversation("393331234567")
    reader = user(cli, anna.instructor_id, "instructor")
    user(cli, bruno.instructor_id, "operator", reader.email)
    for person, error in (
        (reader.id, service.NotAllowed),
        (bruno.operator.id, service.ConversationNotFound),
        (uuid4(), service.ConversationNotFound),
    ):
        refused(error, anna.link, conversation_id, actor_id=person)


def test_a_request_that_names_another_instructor_finds_no_conversation(anna: Desk, bruno: Desk):
    conversation_id = anna.conversation("393331234567")
    refused(service.ConversationNotFound, anna.link, conversation_id, instructor_id=bruno.instructor_id)
    assert anna.link(conversation_id, instructor_id=anna.instructor_id) == LinkOutcome.LINKED


@pytest.mark.shows("CM-2.3.1", "T4.1")
def test_a_disabled_operator_links_nothing(cli: FlaskCliRunner, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    run(cli, "user", "disable", anna.operator.email)
    refused(service.ConversationNotFound, anna.link, conversation_id)


@pytest.mark.shows("CM-2.3.2", "T4.2", "Review.T4.2")
def test_another_instructors_customer_is_no_customer(anna: Desk, bruno: Desk):
    foreign = bruno.customer("393331234567")
    conversation_id = anna.conversation("393331234567")
    for customer_id in (foreign, uuid4()):
        refused(service.CustomerNotFound, anna.link, conversation_id, customer_id)


@pytest.mark.shows("CM-2.3.2")
def test_a_customer_of_another_channel_is_no_customer(anna: Desk):
    customer_id, conversation_id = anna.customer("393330000000"), anna.conversation("393331234567")
    execute(f"UPDATE customers SET channel = 'sms' WHERE id = '{customer_id}'")
    refused(service.CustomerNotFound, anna.link, conversation_id, customer_id)


@pytest.mark.shows("CM-1.3", "Review.T1.5")
def test_the_same_number_with_two_instructors_is_two_customers(anna: Desk, bruno: Desk):
    ids = set()
    for someone in (anna, bruno):
        conversation_id = someone.conversation("393331234567")
        someone.link(conversation_id)
        ids.add(link_state(conversation_id).customer_id)
    assert len(ids) == 2


@pytest.mark.shows("CM-2.3.2", "CM-1.4", "CM-2.2.19", "T1.3", "T4.2", "Review.T4.2")
@pytest.mark.parametrize(
    "attempt",
    [
        "UPDATE conversations SET customer_id = :foreign WHERE id = :conversation",
        "UPDATE conversations SET customer_id = :foreign, link_version = 9 WHERE id = :conversation",
        "UPDATE conversations SET instructor_id = :other WHERE id = :linked",
        "UPDATE customers SET instructor_id = :other WHERE normalized_identifier = '393331234567'",
        "UPDATE conversations SET customer_id = :unknown WHERE id = :conversation",
        "DELETE FROM customers WHERE normalized_identifier = '393331234567'",
    ],
)
def test_raw_sql_cannot_link_across_instructors_nor_orphan_a_link(anna: Desk, bruno: Desk, attempt: str):
    linked, conversation_id = anna.conversation("393331234567"), anna.conversation("393330000000")
    anna.link(linked)
    values = {
        "foreign": str(bruno.customer("393331234567")),
        "other": str(bruno.instructor_id),
        "conversation": str(conversation_id),
        "linked": str(linked),
        "unknown": str(uuid4()),
    }
    used = {name: value for name, value in values.items() if f":{name}" in attempt}
    before = link_state(linked), link_state(conversation_id)
    with pytest.raises(IntegrityError), back_door() as connection:
        connection.execute(text(attempt), used)
    assert (link_state(linked), link_state(conversation_id)) == before


@pytest.mark.shows("CM-2.3.4")
def test_one_of_many_at_once_links_and_the_others_are_told(app: Flask, anna: Desk):
    conversation_id = anna.conversation("40404")
    choices = [anna.customer(f"39333000000{number}") for number in range(8)]

    def attempt(customer_id: UUID) -> object:
        with app.app_context():
            try:
                return anna.link(conversation_id, customer_id, seen_version=0)
            except service.LinkError as error:
                return type(error)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, choices))
    assert sorted(map(str, answers)) == sorted([str(LinkOutcome.LINKED), *[str(service.LinkChanged)] * 7])
    assert link_state(conversation_id).customer_id == choices[answers.index(LinkOutcome.LINKED)]
    assert len(trail(conversation_id)) == 1


@pytest.mark.shows("CM-2.3.8")
def test_the_same_operation_from_two_tabs_at_once_is_one(app: Flask, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    operation_id = uuid4()

    def attempt(_: int) -> LinkOutcome:
        with app.app_context():
            return anna.link(conversation_id, operation_id=operation_id, seen_version=0)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(attempt, range(8))) == {LinkOutcome.LINKED}
    heal()  # on a busy machine the trail may have been too slow
    assert link_state(conversation_id).link_version == 1
    assert customers() == 1
    assert len(trail(conversation_id)) == 1


def test_a_write_needs_its_scope_and_no_application_context(anna: Desk):
    request = service.LinkRequest(
        conversation_id=anna.conversation("393331234567"),
        create=True,
        actor_id=anna.operator.id,
        reason="said so on the phone",
        seen_version=0,
        operation_id=uuid4(),
    )
    with ThreadPoolExecutor(1) as pool:  # a new thread has no context of Flask's
        assert pool.submit(service.change, request, command_scope()).result() == LinkOutcome.LINKED
    assert link_state(request.conversation_id).link_version == 1


@pytest.mark.shows("CM-2.2.11", "Review.T4.4")
def test_links_survive_a_conversation_that_closes_and_a_new_one_is_not_linked(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    execute(f"UPDATE conversations SET status = 'closed' WHERE id = '{conversation_id}'")
    reopened = anna.conversation("393331234567")
    assert reopened != conversation_id
    assert link_state(reopened).customer_id is None
    assert link_state(conversation_id).customer_id is not None


@pytest.mark.shows("CM-2.3.2", "CM-2.2.19")
@on_sqlite
def test_no_link_leaves_its_instructor_on_sqlite_even_without_foreign_keys(
    anna: Desk, bruno: Desk, settings: Settings
):
    linked, unlinked = anna.conversation("393331234567"), anna.conversation("393337654321")
    anna.link(linked)
    before = link_state(linked), link_state(unlinked)
    foreign = bruno.customer("393331234567")
    columns = "instructor_id, channel, status, created_at, updated_at, last_message_at"
    insert = f"INSERT INTO conversations (id, customer_id, {columns})"
    replace = f"INSERT OR REPLACE INTO conversations (id, customer_id, {columns})"
    attempts = [
        f"UPDATE conversations SET customer_id = '{foreign}' WHERE id = '{unlinked}'",
        f"UPDATE conversations SET customer_id = '{uuid4()}' WHERE id = '{unlinked}'",
        f"UPDATE conversations SET instructor_id = '{bruno.instructor_id}' WHERE id = '{linked}'",
        f"{insert} SELECT '{uuid4()}', '{foreign}', {columns} FROM conversations WHERE id = '{linked}'",
        f"{replace} SELECT id, '{foreign}', {columns} FROM conversations WHERE id = '{unlinked}'",
    ]
    with closing(sqlite3.connect(sqlite_path(settings.database_url) or "")) as shell:
        assert shell.execute("PRAGMA foreign_keys").fetchall() == [(0,)]
        for statement in attempts:
            with pytest.raises(sqlite3.IntegrityError, match="not one of the conversation's instructor"):
                shell.execute(statement)
    assert (link_state(linked), link_state(unlinked)) == before
