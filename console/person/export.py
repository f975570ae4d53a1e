"""Writes out what the console holds about a person, for a request of access: nothing about anyone else."""

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from console.database import command_scope, ingesting, reading
from console.linking.events import UNREADABLE
from console.models import Conversation, Customer, Message
from console.person import records
from console.person.identity import Person

# What an event of another person's conversation says about this person as well; its reason is about both.
_SHARED_FIELDS = {"event_id", "event_name", "actor_type", "actor_id", "timestamp", *records.CUSTOMER_FIELDS}


def export(person: Person, instructor_id: UUID) -> str:
    """Return everything that is held about a person with one instructor, as one JSON object."""
    with reading(command_scope()) as connection:
        own = records.conversation_ids(connection, person, instructor_id)
        customers = records.customer_ids(connection, person, instructor_id)
        conversations = _rows(connection, Conversation, Conversation.id, own)
        events = _events(connection, instructor_id, own, customers)
        held = {
            "identifier": person.identifier,
            "instructor_id": instructor_id,
            "customers": _rows(connection, Customer, Customer.id, customers),
            "conversations": [_without_others(row, customers) for row in conversations],
            "messages": _rows(connection, Message, Message.conversation_id, own),
            "link_events": [_without_others(event, customers) for event in events],
        }
    with ingesting() as connection:
        kept = records.kept_payloads(connection, person, instructor_id)
        held["kept_payloads"] = [{"id": payload.id, "parts": payload.parts} for payload in kept]
    return json.dumps(held, indent=2, default=_plain)


def _events(
    connection: Connection, instructor_id: UUID, own: list[UUID], customers: list[UUID]
) -> list[dict[str, Any]]:
    """Return the events of trail and outboxes; of other people's conversations what is about this person."""
    try:
        found = [
            (row.conversation_id, json.loads(row.event))
            for row in records.events(connection, instructor_id, own, customers)
        ]
        for row in records.outboxes(connection, instructor_id, own, customers):
            found += [(row.id, event) for event in json.loads(row.outbox) if (row.id, event) not in found]
        return [
            event
            if conversation_id in own
            else {name: value for name, value in event.items() if name in _SHARED_FIELDS}
            for conversation_id, event in found
            if records.named_customers(event).intersection(customers) or conversation_id in own
        ]
    except UNREADABLE:
        raise records.PersonError("a link event is invalid: flask audit verify names it") from None


def _rows(connection: Connection, table: Any, key: Any, ids: Collection[UUID]) -> list[dict[str, Any]]:
    # The outbox is left out: its events are listed by themselves.
    columns = [column for column in table.__table__.c if column.name != "audit_outbox"]
    statement = select(*columns).where(key.in_(ids)).order_by(table.id)
    return [dict(row) for row in connection.execute(statement).mappings()]


def _without_others(fields: dict[str, Any], customers: Collection[UUID]) -> dict[str, Any]:
    own = {None, *map(str, customers)}
    named = ("customer_id", *records.CUSTOMER_FIELDS)
    return {
        name: value for name, value in fields.items() if name not in named or (value and str(value)) in own
    }


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
