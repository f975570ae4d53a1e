"""Erases a person (CM-2.5, "Erasure"): the one change that the trail allows, only to the tables' owner."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, bindparam, case, delete, func, select, update

from console.database import append_only_lifted, now, owning
from console.linking import audit
from console.linking.events import Tombstone, line_digest, read_tombstone
from console.models import AuditEvent, Conversation, Customer, LinkOperation, Message, RejectedPayload
from console.person.identity import Person
from console.person.records import Kept, PersonError, Records


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to erase of a person."""

    conversations: list[UUID]
    customers: list[UUID]
    messages: int
    events: list[Any]
    payloads: list[Kept]
    named_in: list[UUID]
    """Other people's conversations in which WhatsApp itself names the person. They stay."""

    def __str__(self) -> str:
        return (
            f"{len(self.conversations)} conversations, {self.messages} messages,"
            f" {len(self.customers)} customers, {len(self.events)} link events,"
            f" {len(self.payloads)} kept payloads"
        )


def find(person: Person, instructor_id: UUID) -> Found:
    """Return what would be erased. Raises NotOwner or PersonError where nothing would be."""
    audit.drain()
    with owning() as connection:
        return _find(Records(connection, person, instructor_id))


def erase(person: Person, instructor_id: UUID) -> Found:
    """Erase a person with one instructor in one transaction, and return what was erased. Raises as `find`.

    What the database may still have of it in its files, `scrub` clears afterwards.
    """
    audit.drain()
    with owning() as connection:
        found = _find(Records(connection, person, instructor_id))
        for payload in found.payloads:
            _erase_payload(connection, payload)
        connection.execute(delete(Message).where(Message.conversation_id.in_(found.conversations)))
        # An operation id alone says nothing of the person, and stays taken for good (CM-2.3).
        operations = update(LinkOperation).where(LinkOperation.conversation_id.in_(found.conversations))
        connection.execute(operations.values(conversation_id=UUID(int=0), digest=None))
        connection.execute(delete(Conversation).where(Conversation.id.in_(found.conversations)))
        connection.execute(delete(Customer).where(Customer.id.in_(found.customers)))
        # Last, as nothing else gets into the trail until the commit: events go to their outboxes meanwhile.
        _bury(connection, found)
    return found


def _find(records: Records) -> Found:
    """Find and lock what is the person's, in the order in which link writes lock.

    Kept payloads come first: one that is being tried again becomes a conversation, which is then found.
    """
    connection = records.connection
    payloads = list(records.kept_payloads())
    _lock(connection, RejectedPayload, [payload.id for payload in payloads])
    _lock(connection, Conversation, records.conversations)
    _lock(connection, Customer, records.customers)
    # From here on nothing can be linked to these customers, so no further event names them.
    linked = select(Conversation.id).where(
        Conversation.instructor_id == records.instructor_id, Conversation.customer_id.in_(records.customers)
    )
    if others := sorted(set(connection.scalars(linked)).difference(records.conversations)):
        raise PersonError(
            f"conversations with another identifier are linked to this customer: {' '.join(map(str, others))}"
            " (relink or unlink them first). Nothing was erased"
        )
    if records.outboxes():
        raise PersonError(
            "link events of this person are not in the trail yet: run flask audit drain, then this again."
            " Nothing was erased"
        )
    messages = select(func.count()).where(Message.conversation_id.in_(records.conversations))
    return Found(
        conversations=records.conversations,
        customers=records.customers,
        messages=connection.scalar(messages) or 0,
        events=list(records.events()),
        payloads=payloads,
        named_in=records.named_elsewhere(),
    )


def _lock(connection: Connection, table: Any, ids: Sequence[UUID]) -> None:
    connection.execute(select(table.id).where(table.id.in_(ids)).order_by(table.id).with_for_update())


def _erase_payload(connection: Connection, payload: Kept) -> None:
    """Keep the parts of other people, unless the same payload is kept already."""
    this_one = RejectedPayload.id == payload.id
    digest = hashlib.sha256((payload.rest or "").encode()).hexdigest()
    kept = connection.scalar(select(RejectedPayload.id).where(RejectedPayload.digest == digest))
    if payload.rest is None or kept:
        connection.execute(delete(RejectedPayload).where(this_one))
    else:
        # The reason why it was dismissed may name the person as well.
        reason = case((RejectedPayload.dismissed_at.is_not(None), "erased"))
        rest = {"payload": payload.rest, "digest": digest, "dismissed_reason": reason}
        connection.execute(update(RejectedPayload).where(this_one).values(**rest))


def _bury(connection: Connection, found: Found) -> None:
    new_ids = {conversation_id: uuid4() for conversation_id in found.conversations}
    moment = now()
    rows = []
    for row in found.events:
        conversation_id = new_ids.get(row.conversation_id, row.conversation_id)
        former = read_tombstone(row.event)
        erased = former.erased if former else moment
        tombstone = Tombstone(erased, conversation_id, row.sequence, line_digest(row.event))
        ids = {"event_id": uuid4(), "conversation_id": conversation_id}
        rows.append({"buried": row.position, **ids, "event": tombstone.to_json()})
    if rows:
        with append_only_lifted(connection):
            connection.execute(update(AuditEvent).where(AuditEvent.position == bindparam("buried")), rows)
