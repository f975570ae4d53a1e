"""What reads the audit trail (CM-2.5): to show it, to export it, and to count what waits to be moved."""

import json
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from console.database import command_scope, json_text, reading
from console.linking.events import UNREADABLE, Event, Tombstone, read
from console.models import AuditEvent, Conversation

log = structlog.get_logger()

MAX_SHOWN = 50
"""How many events a page shows, so that a page does not grow with each change of a link."""
MAX_COUNTED = 10_000
"""How many waiting conversations are counted: the answer has to be quick, however many there are."""

_HISTORY = select(AuditEvent.event).where(
    AuditEvent.conversation_id == bindparam("conversation_id"),
    AuditEvent.instructor_id == bindparam("instructor_id"),
    AuditEvent.sequence.in_(bindparam("sequences")),
)


def waiting() -> tuple[int, datetime | None]:
    """Return how many conversations have events waiting, MAX_COUNTED at most, and the oldest one's moment.

    What is damaged counts, and has no age.
    """
    with reading(command_scope()) as connection:
        since = json_text(connection, Conversation.audit_outbox, 0, "timestamp").label("since")
        some = select(since).where(Conversation.audit_outbox.is_not(None)).limit(MAX_COUNTED).subquery()
        dated = func.min(some.c.since).filter(some.c.since.like("____-__-__T__:__:__.______Z"))
        count, oldest = connection.execute(select(func.count(), dated).select_from(some)).one()
    return count, datetime.fromisoformat(oldest) if oldest else None


def export(*, after: int = 0, instructor_id: UUID | None = None) -> Iterator[tuple[int, str]]:
    """Give the trail's events above position `after`, oldest first, as (position, JSON line)."""
    statement = select(AuditEvent.position, AuditEvent.event).where(AuditEvent.position > after)
    if instructor_id:
        statement = statement.where(AuditEvent.instructor_id == instructor_id)
    statement = statement.order_by(AuditEvent.position).execution_options(yield_per=500)
    with reading(command_scope()) as connection, connection.execute(statement) as rows:
        for row in rows:
            yield row.position, row.event


def size() -> int:
    """Return how many events the trail has, to judge how long reading it takes."""
    with reading(command_scope()) as connection:
        return connection.scalar(select(func.max(AuditEvent.position))) or 0


def history(
    connection: Connection,
    conversation_id: UUID,
    instructor_id: UUID,
    *,
    outbox: str | None,
    version: int,
    seen: int | None,
) -> list[Event | Tombstone] | None:
    """Return a conversation's events up to its link version, newest first; None where the trail fails.

    They are the newest MAX_SHOWN of trail and outbox, and the one that made version `seen`. A tombstone is
    there for an event that was erased.
    """
    sequences = {*range(max(1, version - MAX_SHOWN + 1), version + 1)} | ({seen} if seen else set())
    try:
        asked = {
            "conversation_id": conversation_id,
            "instructor_id": instructor_id,
            "sequences": sorted(sequences),
        }
        lines = connection.scalars(_HISTORY, asked) if sequences else ()
        events = [read(line) for line in lines]
        events += [Event.from_dict(fields) for fields in json.loads(outbox or "[]")]
    except (SQLAlchemyError, *UNREADABLE) as error:
        connection.rollback()
        log.error("audit_history_unreadable", conversation_id=str(conversation_id), kind=type(error).__name__)
        return None
    return sorted({event.sequence: event for event in events}.values(), key=lambda event: -event.sequence)
