"""`flask audit verify`: does folding the events of every conversation give the link it has (CM-2.5)."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, String, cast, or_, select, union

from console.database import reading
from console.linking.audit import UNREADABLE, Event
from console.models import AuditEvent, Conversation

CHUNK = 500


def verify() -> Iterator[tuple[UUID, str | None]]:
    """Give every conversation that has a link or an event, with what is wrong with it or None."""
    with reading() as connection:
        touched = or_(
            Conversation.link_version != 0,
            Conversation.customer_id.is_not(None),
            Conversation.audit_outbox.is_not(None),
        )
        ids = union(select(Conversation.id).where(touched), select(AuditEvent.conversation_id))
        everyone = sorted(connection.scalars(ids))
        for start in range(0, len(everyone), CHUNK):
            yield from _verify(connection, everyone[start : start + CHUNK])


def _verify(connection: Connection, conversation_ids: Sequence[UUID]) -> Iterator[tuple[UUID, str | None]]:
    columns = (
        Conversation.id,
        Conversation.instructor_id,
        Conversation.customer_id,
        Conversation.link_version,
        cast(Conversation.audit_outbox, String).label("outbox"),
    )
    found = connection.execute(select(*columns).where(Conversation.id.in_(conversation_ids)))
    conversations = {row.id: row for row in found}
    trail = defaultdict(list)
    for row in connection.execute(
        select(AuditEvent.__table__).where(AuditEvent.conversation_id.in_(conversation_ids))
    ):
        trail[row.conversation_id].append(row)
    for conversation_id in conversation_ids:
        yield conversation_id, _problem(conversations.get(conversation_id), trail[conversation_id])


def _problem(
    conversation: Row[*tuple[Any, ...]] | None, trail: Sequence[Row[*tuple[Any, ...]]]
) -> str | None:
    if conversation is None:
        return "there are events, but no such conversation"
    try:
        moved = [Event.from_dict(json.loads(row.event)) for row in trail]
        waiting = [Event.from_dict(fields) for fields in json.loads(conversation.outbox or "[]")]
    except UNREADABLE:
        return "an event can't be read"
    if any(_columns(row) != _identity(event) for row, event in zip(trail, moved, strict=True)):
        return "an event's row and its JSON line disagree"
    # An event may still wait in the outbox though it was moved: the next move clears it.
    events = sorted(
        {event.event_id: event for event in [*moved, *waiting]}.values(), key=lambda one: one.sequence
    )
    return _fold(conversation, events)


def _fold(conversation: Row[*tuple[Any, ...]], events: Sequence[Event]) -> str | None:
    customer_id = None
    for sequence, event in enumerate(events, start=1):
        if (event.conversation_id, event.instructor_id) != (conversation.id, conversation.instructor_id):
            return f"event {event.sequence} is about another conversation or instructor"
        if event.sequence != sequence:
            return f"event {sequence} is missing or there twice"
        if event.previous_customer_id != customer_id:
            return f"event {sequence} replaces a customer that the event before it didn't leave"
        customer_id = event.new_customer_id
    if len(events) != conversation.link_version:
        return f"there are {len(events)} events for {conversation.link_version} writes"
    if customer_id != conversation.customer_id:
        return "the last event left another customer than the conversation has"
    return None


def _columns(row: Row[*tuple[Any, ...]]) -> tuple[UUID, UUID, UUID, int]:
    return row.event_id, row.conversation_id, row.instructor_id, row.sequence


def _identity(event: Event) -> tuple[UUID, UUID, UUID, int]:
    return event.event_id, event.conversation_id, event.instructor_id, event.sequence
