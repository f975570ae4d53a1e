"""Exports what the console holds about a person, for a request of access, and nothing about anyone else."""

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from console.database import command_scope, ingesting, reading
from console.linking.events import UNREADABLE
from console.models import Conversation, Customer, Message
from console.person.identity import Person
from console.person.records import CUSTOMER_FIELDS, PersonError, Records

# The fields of an event of another person's conversation that are about this person as well. The reason is
# left out: it may be about the other one.
_SHARED_FIELDS = {"event_id", "event_name", "actor_type", "actor_id", "timestamp", *CUSTOMER_FIELDS}


def export(person: Person, instructor_id: UUID) -> str:
    """Return everything that is held about a person with one instructor, as one JSON object."""
    with reading(command_scope()) as connection:
        records = Records(connection, person, instructor_id)
        conversations = _rows(connection, Conversation, Conversation.id, records.conversations)
        held = {
            "identifier": person.identifier,
            "instructor_id": instructor_id,
            "customers": _rows(connection, Customer, Customer.id, records.customers),
            "conversations": [_without_others(row, records.customers) for row in conversations],
            "messages": _rows(connection, Message, Message.conversation_id, records.conversations),
            "link_events": [_without_others(event, records.customers) for event in _events(records)],
        }
    with ingesting() as connection:
        kept = Records(connection, person, instructor_id).kept_payloads()
        held["kept_payloads"] = [{"id": payload.id, "parts": payload.parts} for payload in kept]
    return json.dumps(held, indent=2, default=_plain)


def _events(records: Records) -> list[dict[str, Any]]:
    """Return the events of trail and outboxes; from other people's conversations only the shared fields."""
    try:
        found = [(row.conversation_id, json.loads(row.event)) for row in records.events()]
        for row in records.outboxes():
            found += [(row.id, event) for event in json.loads(row.outbox) if (row.id, event) not in found]
        return [
            event
            if conversation_id in records.conversations
            else {name: value for name, value in event.items() if name in _SHARED_FIELDS}
            for conversation_id, event in found
            if records.concerns(conversation_id, event)
        ]
    except UNREADABLE:
        raise PersonError("a link event is invalid: flask audit verify names it") from None


def _rows(connection: Connection, table: Any, key: Any, ids: Collection[UUID]) -> list[dict[str, Any]]:
    # The outbox is left out: its events are listed by themselves.
    columns = [column for column in table.__table__.c if column.name != "audit_outbox"]
    statement = select(*columns).where(key.in_(ids)).order_by(table.id)
    return [dict(row) for row in connection.execute(statement).mappings()]


def _without_others(fields: dict[str, Any], customers: Collection[UUID]) -> dict[str, Any]:
    own = {None, *map(str, customers)}
    named = ("customer_id", *CUSTOMER_FIELDS)
    return {
        name: value for name, value in fields.items() if name not in named or (value and str(value)) in own
    }


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
