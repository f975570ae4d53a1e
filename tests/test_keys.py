"""Keys with `instructor_id` in them, and what is unique over all instructors all the same."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError

from console.ingestion.service import ingest_payload
from console.linking import service
from testkit.databases import SQLITE, back_door, execute, rows
from testkit.factories import Desk, link_state, payload, trail

GROWING = ("conversations", "messages", "customers", "audit_events", "rejected_payloads")


@pytest.mark.parametrize("table", GROWING)
def test_every_key_of_a_table_that_grows_has_the_instructor_in_it(app: Flask, engine: str, table: str):
    with back_door() as connection:
        about = inspect(connection)
        keys: dict[str, list[Any]] = {}
        keys |= {
            str(constraint["name"]): constraint["column_names"]
            for constraint in about.get_unique_constraints(table)
        }
        keys |= {
            str(index["name"]): index["column_names"] for index in about.get_indexes(table) if index["unique"]
        }
        keys |= {str(key["name"]): key["constrained_columns"] for key in about.get_foreign_keys(table)}
        keys["primary"] = about.get_pk_constraint(table)["constrained_columns"]
    if engine == SQLITE and table == "audit_events":
        assert keys.pop("primary") == ["position"]  # the row's number
    assert keys
    assert {name: columns for name, columns in keys.items() if "instructor_id" not in columns} == {}


def test_a_message_id_is_stored_once_for_an_instructor_whichever_account_brings_it(
    cli: FlaskCliRunner, anna: Desk, bruno: Desk
):
    sent = [
        payload(item.phone_number_id, "393331234567", external_id="wamid.1") for item in (anna, bruno, anna)
    ]
    counts = [ingest_payload(line.encode()) for line in sent]
    assert [(count.stored, count.repeated) for count in counts] == [(1, 0), (1, 0), (0, 1)]
    stored = rows("SELECT instructor_id, external_id FROM messages")
    assert sorted(stored) == sorted((str(item.instructor_id), "wamid.1") for item in (anna, bruno))


def test_a_message_id_of_two_instructors_in_one_payload_is_stored_for_each(anna: Desk, bruno: Desk):
    first, other = (
        payload(each.phone_number_id, "393331234567", external_id="wamid.1") for each in (anna, bruno)
    )
    both = first.replace(
        '"entry": [', '"entry": [' + other.partition('"entry": [')[2].rpartition("]")[0] + ", "
    )
    counts = ingest_payload(both.encode())
    assert (counts.stored, counts.repeated, counts.rejected) == (2, 0, 0)


@pytest.mark.parametrize("operation_id", [uuid4(), UUID(int=7), UUID("01900001-0000-7000-8000-000000000000")])
def test_an_operation_id_of_one_instructor_is_refused_for_another(
    anna: Desk, bruno: Desk, operation_id: UUID
):
    first, second = anna.conversation("393331234567"), bruno.conversation("393331234567")
    anna.link(first, operation_id=operation_id)
    before = link_state(second), trail()
    with pytest.raises(service.OperationReused):
        bruno.link(second, operation_id=operation_id)
    assert (link_state(second), trail()) == before


def test_an_event_id_and_a_sequence_are_taken_over_all_instructors(anna: Desk, bruno: Desk):
    first, second = anna.conversation("393331234567"), bruno.conversation("393331234567")
    anna.link(first, operation_id=(taken := uuid4()))
    place = "(SELECT max(position) + 1 FROM audit_events)"
    event = "INSERT INTO audit_events (position, event_id, conversation_id, instructor_id, sequence, event)"
    with pytest.raises(DBAPIError):
        execute(f"{event} VALUES ({place}, '{taken}', '{second}', '{bruno.instructor_id}', 1, '{{}}')")
    with pytest.raises(DBAPIError):
        execute(f"{event} VALUES ({place}, '{uuid4()}', '{first}', '{anna.instructor_id}', 1, '{{}}')")
    assert [item["event_id"] for item in trail()] == [str(taken)]


def test_a_message_belongs_to_its_conversations_instructor(anna: Desk, bruno: Desk):
    conversation_id = anna.conversation("393331234567")
    columns = "id, conversation_id, instructor_id, direction, external_id, kind, body, sent_at"
    with pytest.raises(DBAPIError):
        execute(
            f"INSERT INTO messages ({columns}) VALUES ('{uuid4()}', '{conversation_id}',"
            f" '{bruno.instructor_id}', 'inbound', 'wamid.2', 'text', 'Hi', '2026-01-01')"
        )


def test_a_rejected_payload_has_the_instructor_of_its_account(anna: Desk, bruno: Desk):
    bad = payload(anna.phone_number_id, "393331234567").replace('"timestamp"', '"time"')
    unknown = payload("1", "393331234567")
    accounts = {anna.phone_number_id: anna.instructor_id, bruno.phone_number_id: bruno.instructor_id}
    entries = [payload(account, "").partition('"entry": [')[2].rpartition("]")[0] for account in accounts]
    of_two = f'{{"object": "whatsapp_business_account", "entry": [{", ".join(entries)}]}}'
    for line in (bad, unknown, of_two, "no JSON"):
        assert ingest_payload(line.encode()).rejected
    nil = str(UUID(int=0))
    kept = rows("SELECT instructor_id FROM rejected_payloads ORDER BY id")
    assert [whose for (whose,) in kept] == [str(anna.instructor_id), nil, nil, nil]
