"""`flask audit verify`: check that the events of every conversation, folded, give its link (CM-2.5)."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CompoundSelect, Connection, Row, String, cast, func, or_, select, union

from console.database import command_scope, reading
from console.linking.events import UNREADABLE, Event, Tombstone, read, read_tombstone
from console.models import AuditCounter, AuditEvent, Conversation

_CHUNK = 500

AnyRow = Row[*tuple[Any, ...]]


def verify() -> Iterator[tuple[UUID, str | None]]:
    """Give every conversation that has a link or an event, with what is wrong with it or None."""
    statement = _concerned().execution_options(yield_per=_CHUNK)
    with reading(command_scope()) as connection, connection.execute(statement) as ids:
        for some in ids.scalars().partitions():
            yield from _verify(connection, some)


def count() -> int:
    """Return how many conversations `verify` looks at."""
    with reading(command_scope()) as connection:
        return connection.scalars(select(func.count()).select_from(_concerned().subquery())).one()


def gaps() -> Iterator[str]:
    """Give each place where positions are missing in the trail (CM-2.5: 1, 2, 3 … with no gap)."""
    before = func.lag(AuditEvent.position, 1, 0).over(order_by=AuditEvent.position).label("before")
    places = select(AuditEvent.position, before).subquery()
    broken = select(places).where(places.c.position != places.c.before + 1).order_by(places.c.position)
    with reading(command_scope()) as connection:
        for row in connection.execute(broken):
            yield f"positions {row.before + 1} to {row.position - 1} are missing"
        last = connection.scalar(select(func.coalesce(func.max(AuditEvent.position), 0)))
        given = connection.scalar(select(AuditCounter.position))
        if last != given:
            yield f"the trail ends at position {last}, and the last position given is {given}"


def tombstones() -> Iterator[tuple[int, datetime]]:
    """Give each tombstone's position, and when its event was erased."""
    statement = select(AuditEvent.position, AuditEvent.event).where(AuditEvent.event.like('{"erased"%'))
    with reading(command_scope()) as connection:
        for row in connection.execute(statement.order_by(AuditEvent.position)):
            if tombstone := read_tombstone(row.event):
                yield row.position, tombstone.erased


def _concerned() -> CompoundSelect[Any]:
    touched = or_(
        Conversation.link_version != 0,
        Conversation.customer_id.is_not(None),
        Conversation.audit_outbox.is_not(None),
    )
    concerned = union(select(Conversation.id).where(touched), select(AuditEvent.conversation_id))
    return concerned.order_by("id")


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
    events = select(AuditEvent.__table__).where(AuditEvent.conversation_id.in_(conversation_ids))
    for row in connection.execute(events):
        trail[row.conversation_id].append(row)
    waiting = {row.id: _read_outbox(row.outbox) for row in conversations.values()}
    taken = _in_trail(connection, [event.event_id for outbox in waiting.values() for event in outbox or ()])
    for conversation_id in conversation_ids:
        conversation, outbox = conversations.get(conversation_id), waiting.get(conversation_id, [])
        yield conversation_id, _problem(conversation, trail[conversation_id], outbox, taken)


def _read_outbox(outbox: str | None) -> list[Event] | None:
    """Read the waiting events; None where they are invalid."""
    try:
        return [Event.from_dict(fields) for fields in json.loads(outbox or "[]")]
    except UNREADABLE:
        return None


def _in_trail(connection: Connection, event_ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, int]]:
    columns = (AuditEvent.event_id, AuditEvent.conversation_id, AuditEvent.sequence)
    return {
        row.event_id: (row.conversation_id, row.sequence)
        for start in range(0, len(event_ids), _CHUNK)
        for row in connection.execute(
            select(*columns).where(AuditEvent.event_id.in_(event_ids[start : start + _CHUNK]))
        )
    }


def _problem(
    conversation: AnyRow | None,
    trail: Sequence[AnyRow],
    waiting: Sequence[Event] | None,
    taken: Mapping[UUID, tuple[UUID, int]],
) -> str | None:
    try:
        moved = [read(row.event) for row in trail]
    except UNREADABLE:
        waiting = None
    if waiting is None:
        return "an event is invalid"
    sequences = {row.sequence: row.event_id for row in trail}
    held = []
    for event in waiting:
        place = (event.conversation_id, event.sequence)
        if taken.get(event.event_id, place) != place:
            held.append(f"id of the waiting event {event.event_id}")
        elif sequences.get(event.sequence, event.event_id) != event.event_id:
            held.append(f"sequence of the waiting event {event.event_id}")
    if held:
        return "; ".join(f"the trail holds the {what} for another event" for what in held)
    if not all(map(_agree, trail, moved)):
        return "an event's row and its JSON line disagree"
    # An event may still wait in the outbox though it was moved: the next move clears it.
    there = {row.event_id for row in trail}
    events = sorted(
        [*moved, *(event for event in waiting if event.event_id not in there)],
        key=lambda event: event.sequence,
    )
    if conversation is None and not all(isinstance(event, Tombstone) for event in events):
        return "there are events, but no such conversation"
    return _fold(conversation, events)


def _fold(conversation: AnyRow | None, events: Sequence[Event | Tombstone]) -> str | None:
    """Follow the events in their order. After an erased event any previous customer is accepted."""
    customer_id, is_known = None, True
    for sequence, event in enumerate(events, start=1):
        if event.sequence != sequence:
            return f"event {sequence} is missing or there twice"
        if isinstance(event, Tombstone):
            is_known = False
            continue
        owner = (event.conversation_id, event.instructor_id)
        if conversation and owner != (conversation.id, conversation.instructor_id):
            return f"event {sequence} is about another conversation or instructor"
        if is_known and event.previous_customer_id != customer_id:
            return f"event {sequence} replaces a customer that the event before it didn't leave"
        customer_id, is_known = event.new_customer_id, True
    if conversation is None:
        return None  # erased with its customer
    if len(events) != conversation.link_version:
        return f"there are {len(events)} events for {conversation.link_version} writes"
    if is_known and customer_id != conversation.customer_id:
        return "the last event left another customer than the conversation has"
    return None


def _agree(row: AnyRow, event: Event | Tombstone) -> bool:
    """Say whether a row's columns are what its line says; a tombstone's line names fewer of them."""
    columns = ("event_id", "conversation_id", "instructor_id", "sequence")
    return all(getattr(row, name) == getattr(event, name) for name in columns if hasattr(event, name))
