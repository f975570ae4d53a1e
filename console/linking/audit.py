"""The audit trail (CM-2.5): every link write as an event that nobody can change.

An event is written into its conversation's outbox by the same UPDATE that it records, and moved to
`audit_events` after the commit. Nothing here is ever read to decide anything.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from console.database import insert_ignoring, json_text, reading, writing
from console.models import AuditEvent, Conversation

log = structlog.get_logger()

# A person waits for the move after their write, so it may not take long, whatever is wrong.
MOVE_WAIT_MS = 150

MOST_SHOWN = 50
"""How many events a page tells of: it may not grow with what was done to a conversation."""

# Whoever asks how much waits shall have an answer soon, however much it is.
MOST_COUNTED = 10_000

_failed_moves = Counter("console_audit_move_failures", "Audit events that stayed in their outbox for now.")


class EventName(StrEnum):
    """What happened to a conversation's link."""

    LINKED = "conversation.customer_linked"
    RELINKED = "conversation.customer_relinked"
    UNLINKED = "conversation.customer_unlinked"

    @property
    def change(self) -> str:
        """Return what was done, in one word."""
        return self.removeprefix("conversation.customer_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One link write, in the order its JSON line has."""

    event_id: UUID
    event_name: EventName
    conversation_id: UUID
    instructor_id: UUID
    sequence: int
    actor_type: str = "human"
    actor_id: UUID
    timestamp: datetime
    previous_customer_id: UUID | None
    new_customer_id: UUID | None
    reason: str
    context: dict[str, Any]

    @property
    def customer_ids(self) -> list[UUID]:
        """Return the customers that the event names."""
        return [one for one in (self.previous_customer_id, self.new_customer_id) if one]

    def to_json(self) -> str:
        """Return the event as one JSON object on one line, in ASCII: nothing in it reads as a line's end."""
        return json.dumps({name: _plain(getattr(self, name)) for name in FIELDS})

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Event":
        """Read an event back; one of UNREADABLE for anything else."""
        return cls(
            event_id=UUID(fields["event_id"]),
            event_name=EventName(fields["event_name"]),
            conversation_id=UUID(fields["conversation_id"]),
            instructor_id=UUID(fields["instructor_id"]),
            sequence=int(fields["sequence"]),
            actor_type=fields["actor_type"],
            actor_id=UUID(fields["actor_id"]),
            timestamp=datetime.fromisoformat(fields["timestamp"]),
            previous_customer_id=_id(fields["previous_customer_id"]),
            new_customer_id=_id(fields["new_customer_id"]),
            reason=fields["reason"],
            context=fields["context"],
        )


_HISTORY = select(AuditEvent.event).where(
    AuditEvent.conversation_id == bindparam("conversation_id"),
    AuditEvent.sequence.in_(bindparam("sequences", expanding=True)),
)
_CLEAR = (
    update(Conversation)
    .where(Conversation.id == bindparam("moved_id"), Conversation.link_version == bindparam("moved_version"))
    .values(audit_outbox=bindparam("stuck"))
)

FIELDS = tuple(Event.__dataclass_fields__)
UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
"""What reading something that is no event raises."""


def move(conversation_id: UUID, only: Event | None = None) -> bool:
    """Move a conversation's waiting events to the trail; say whether that worked for all of them.

    Reads them, unless the caller knows that `only` this one waits. Never raises for a failing move.
    """
    try:
        with writing(wait_ms=MOVE_WAIT_MS) as connection:
            stuck = _move(connection, conversation_id, only)
    except Exception as error:  # whatever it is, the write stands and the event waits in its row (CM-2.5)
        return _not_moved(conversation_id, type(error).__name__)
    return _not_moved(conversation_id, "unreadable, or its id is taken") if stuck else True


def drain() -> tuple[int, int]:
    """Move every waiting event; return how many conversations' outboxes were emptied and how many not.

    Each conversation is a transaction of its own: a bad row holds back no other.
    """
    waiting = select(Conversation.id).where(Conversation.audit_outbox.is_not(None)).order_by(Conversation.id)
    with writing() as connection:
        conversation_ids = connection.scalars(waiting).all()
    moved = [move(conversation_id) for conversation_id in conversation_ids]
    return moved.count(True), moved.count(False)


def waiting() -> tuple[int, datetime | None]:
    """Return how many conversations have events waiting, MOST_COUNTED at most, and the oldest one's moment.

    What is damaged counts, and has no age.
    """
    with reading() as connection:
        since = json_text(connection, Conversation.audit_outbox, 0, "timestamp").label("since")
        some = select(since).where(Conversation.audit_outbox.is_not(None)).limit(MOST_COUNTED).subquery()
        dated = func.min(some.c.since).filter(some.c.since.like("____-__-__T__:__:__.______Z"))
        count, oldest = connection.execute(select(func.count(), dated).select_from(some)).one()
    return count, datetime.fromisoformat(oldest) if oldest else None


def export(*, after: int = 0, instructor_id: UUID | None = None) -> Iterator[tuple[int, str]]:
    """Give the trail's events above position `after`, oldest first, as (position, JSON line)."""
    statement = select(AuditEvent.position, AuditEvent.event).where(AuditEvent.position > after)
    if instructor_id:
        statement = statement.where(AuditEvent.instructor_id == instructor_id)
    with reading() as connection:
        for row in connection.execute(
            statement.order_by(AuditEvent.position).execution_options(yield_per=500)
        ):
            yield row.position, row.event


def history(
    connection: Connection, conversation_id: UUID, *, outbox: str | None, version: int, seen: int | None
) -> list[Event] | None:
    """Return a conversation's events up to its link version, newest first; None where they can't be read.

    They are the newest MOST_SHOWN of trail and outbox, and the one that made version `seen`.
    """
    sequences = {*range(max(1, version - MOST_SHOWN + 1), version + 1), seen or version}
    try:
        asked = {"conversation_id": conversation_id, "sequences": sorted(sequences)}
        lines = connection.scalars(_HISTORY, asked)
        events = [
            Event.from_dict(fields) for fields in [*map(json.loads, lines), *json.loads(outbox or "[]")]
        ]
    except (SQLAlchemyError, *UNREADABLE) as error:
        connection.rollback()
        log.error("audit_history_unreadable", conversation_id=str(conversation_id), kind=type(error).__name__)
        return None
    return sorted({event.sequence: event for event in events}.values(), key=lambda event: -event.sequence)


def _move(connection: Connection, conversation_id: UUID, only: Event | None) -> list[Any]:
    """Insert what isn't there and clear the outbox; return what has to stay in it."""
    stuck: list[Any] = []
    if only and not _insert(connection, [only]):
        version = only.sequence
    else:
        version, waiting = _outbox(connection, conversation_id)
        read = [(item, _readable(item, conversation_id)) for item in waiting]
        taken = _insert(connection, [event for _, event in read if event])
        stuck = [item for item, event in read if event is None or event.event_id in taken]
    # Only if no write has come since: that one's own move clears the outbox then.
    moved = {"moved_id": conversation_id, "moved_version": version, "stuck": stuck or None}
    connection.execute(_CLEAR, moved)
    return stuck


def _outbox(connection: Connection, conversation_id: UUID) -> tuple[int, list[Any]]:
    """Return the link version, and what waits: events, if nothing is damaged."""
    columns = (Conversation.link_version, Conversation.audit_outbox)
    row = connection.execute(select(*columns).where(Conversation.id == conversation_id)).one()
    waiting = [] if row.audit_outbox is None else row.audit_outbox
    return row.link_version, waiting if isinstance(waiting, list) else [waiting]


def _insert(connection: Connection, events: Sequence[Event]) -> set[UUID]:
    """Insert what isn't there; return the ids that another event has."""
    rows = [_row(event) for event in events]
    inserted = insert_ignoring(connection, AuditEvent, rows, ["event_id"]).rowcount if rows else 0
    return set() if inserted == len(rows) else _taken(connection, rows)


def _readable(item: Any, conversation_id: UUID) -> Event | None:
    """Read an item of an outbox; None for what is no event of this conversation: people have to look."""
    try:
        event = Event.from_dict(item)
    except UNREADABLE:
        return None
    return event if event.conversation_id == conversation_id else None


def _row(event: Event) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "conversation_id": event.conversation_id,
        "instructor_id": event.instructor_id,
        "sequence": event.sequence,
        "event": event.to_json(),
    }


def _taken(connection: Connection, rows: Sequence[dict[str, Any]]) -> set[UUID]:
    """Return the ids that another event has: what bears one is not dropped but stays in the outbox.

    The other may be one that this transaction can't see, another instructor's.
    """
    columns = (AuditEvent.event_id, AuditEvent.conversation_id, AuditEvent.sequence)
    there = connection.execute(
        select(*columns).where(AuditEvent.event_id.in_([row["event_id"] for row in rows]))
    )
    ours = {(row["event_id"], row["conversation_id"], row["sequence"]) for row in rows}
    moved = ours & {tuple(row) for row in there}
    return {event_id for event_id, *_ in ours - moved}


def _not_moved(conversation_id: UUID, why: str) -> bool:
    _failed_moves.inc()
    log.error("audit_move_failed", conversation_id=str(conversation_id), why=why)
    return False


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return str(value) if isinstance(value, UUID) else value


def _id(value: str | None) -> UUID | None:
    return None if value is None else UUID(value)
