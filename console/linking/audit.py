"""What writes the audit trail (CM-2.5): every link write as an event that can't be changed.

An event goes into `audit_events` in the transaction of its write. Where the trail fails, it goes into its
conversation's outbox, in the same transaction, and is moved later. Nothing here decides anything.
"""

import json
import random
import time
from functools import cache
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import Connection, Executable, String, bindparam, cast, select, update
from sqlalchemy.exc import IntegrityError

from console.database import TransactionLost, command_scope, json_append, savepoint, writing
from console.linking.events import UNREADABLE, Event
from console.models import AuditEvent, Conversation

log = structlog.get_logger()

MAX_WAIT_MS = 150
"""How long the trail may hold up a write."""
MAX_MOVE_MS = 4000
"""How long moving one conversation's waiting events may take."""
MAX_FAILING_SECONDS = 10
"""How long moves may fail before the rest waits for another time."""

_failed_moves = Counter("console_audit_move_failures", "Audit events that stayed in their outbox for now.")


class NotRecorded(Exception):
    """The trail passed over an event without an error."""


# Built once: building them for each write would take much of its time.
_ASKED = (
    Conversation.id == bindparam("asked_id"),
    Conversation.instructor_id == bindparam("asked_instructor_id"),
)
_WAITING = select(cast(Conversation.audit_outbox, String)).where(*_ASKED).with_for_update()
# As plain SQL, which SQLAlchemy sends in less time. On PostgreSQL a trigger gives the position.
_INSERT = {
    "sqlite": "INSERT INTO audit_events (position, event_id, conversation_id, instructor_id, sequence, event)"
    " VALUES ((SELECT position + 1 FROM audit_counter),"
    " :event_id, :conversation_id, :instructor_id, :sequence, :event)",
    "postgresql": "INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event)"
    " VALUES (%(event_id)s, %(conversation_id)s, %(instructor_id)s, %(sequence)s, %(event)s)",
}
_KEEP = update(Conversation).where(*_ASKED).values(audit_outbox=bindparam("kept"))


@cache
def _append(dialect: str) -> Executable:
    outbox = json_append(dialect, Conversation.audit_outbox, bindparam("event"))
    return update(Conversation).where(*_ASKED).values(audit_outbox=outbox)


def record(connection: Connection, event: Event, *, waiting: str | None) -> None:
    """Put a write's event into the trail, after the events that wait in its conversation's outbox.

    `waiting` is that outbox as it is stored. Where the trail fails, the event is appended to the outbox.
    Raises TransactionLost where the failure undid the write as well; `append` needs no trail.
    """
    try:
        with savepoint(connection, wait_ms=MAX_WAIT_MS):
            if waiting is not None:
                _move(connection, event.conversation_id, event.instructor_id, waiting)
            _record(connection, event)
    except TransactionLost:
        raise
    except Exception as error:  # any failure: the write goes on and its event waits (CM-2.5)
        append(connection, event, why=type(error).__name__)


def append(connection: Connection, event: Event, *, why: str) -> None:
    """Append a write's event to its conversation's outbox, and log and count that the trail has failed."""
    asked = {**_of(event.conversation_id, event.instructor_id), "event": event.to_json()}
    connection.execute(_append(connection.dialect.name), asked)
    _not_moved(event.conversation_id, why)


def _of(conversation_id: UUID, instructor_id: UUID) -> dict[str, Any]:
    return {"asked_id": conversation_id, "asked_instructor_id": instructor_id}


def move(conversation_id: UUID, instructor_id: UUID) -> bool:
    """Move a conversation's waiting events to the trail; say whether all of them were. Never raises."""
    try:
        with writing(command_scope(), wait_ms=MAX_MOVE_MS) as connection:
            waiting = connection.scalar(_WAITING, _of(conversation_id, instructor_id))
            stuck = waiting is not None and _move(connection, conversation_id, instructor_id, waiting)
    except Exception as error:  # the events wait where they are
        return _not_moved(conversation_id, type(error).__name__)
    return _not_moved(conversation_id, "unreadable, or its id or sequence is taken") if stuck else True


def drain() -> tuple[int, int]:
    """Move all waiting events; return how many conversations' outboxes were emptied, and how many not.

    Each conversation has its own transaction, and the order is random, so a damaged one holds back no other.
    Gives up once moves have failed for MAX_FAILING_SECONDS: a locked trail may have many waiting.
    """
    with_events = select(Conversation.id, Conversation.instructor_id)
    with writing(command_scope(), wait_ms=MAX_MOVE_MS) as connection:
        waiting = list(connection.execute(with_events.where(Conversation.audit_outbox.is_not(None))))
    random.shuffle(waiting)
    moved, failing = 0, 0.0
    for conversation_id, instructor_id in waiting:
        started = time.monotonic()
        if move(conversation_id, instructor_id):
            moved += 1
        else:
            failing += time.monotonic() - started
        if failing > MAX_FAILING_SECONDS:
            break
    return moved, len(waiting) - moved


def _move(connection: Connection, conversation_id: UUID, instructor_id: UUID, outbox: str) -> list[Any]:
    """Record what an outbox holds, in its order, and empty it; return what has to stay in it."""
    try:
        held = json.loads(outbox)
    except ValueError:
        held = outbox  # damaged: it stays as it is, in a list
    items = held if isinstance(held, list) else [held]
    stuck = [item for item in items if not _moved(connection, conversation_id, item)]
    if stuck != held or not stuck:
        connection.execute(_KEEP, {**_of(conversation_id, instructor_id), "kept": stuck or None})
    return stuck


def _moved(connection: Connection, conversation_id: UUID, item: Any) -> bool:
    """Record an item of an outbox; say whether it is in the trail now. Anything but an event stays out."""
    try:
        event = Event.from_dict(item)
    except UNREADABLE:
        return False
    if event.conversation_id != conversation_id:
        return False
    try:
        with connection.begin_nested():
            _record(connection, event)
    except IntegrityError:  # it is there already, or another has its id or sequence
        same = (
            AuditEvent.event_id == event.event_id,
            AuditEvent.instructor_id == event.instructor_id,
            AuditEvent.conversation_id == event.conversation_id,
            AuditEvent.sequence == event.sequence,
        )
        return connection.scalar(select(AuditEvent.event_id).where(*same)) is not None
    return True


def _record(connection: Connection, event: Event) -> None:
    row = {
        "event_id": str(event.event_id),
        "conversation_id": str(event.conversation_id),
        "instructor_id": str(event.instructor_id),
        "sequence": event.sequence,
        "event": event.to_json(),
    }
    if connection.exec_driver_sql(_INSERT[connection.dialect.name], row).rowcount != 1:
        raise NotRecorded


def _not_moved(conversation_id: UUID, why: str) -> bool:
    _failed_moves.inc()
    log.error("audit_move_failed", conversation_id=str(conversation_id), why=why)
    return False
