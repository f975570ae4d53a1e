"""Finds what the console holds about a person with one instructor."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, String, cast, or_, select

from console.models import (
    AuditEvent,
    ChannelAccount,
    Conversation,
    Customer,
    Instructor,
    Message,
    RejectedPayload,
)
from console.person.identity import Person
from console.person.payloads import take_apart

CUSTOMER_FIELDS = ("previous_customer_id", "new_customer_id")
"""The fields of an event that name a customer."""

_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept payload that names the person: the parts that are theirs, and the rest if there is any."""

    id: UUID
    parts: list[Any]
    rest: str | None


class PersonError(Exception):
    """What was asked for can't be done, and nothing was changed; the text says why."""


def conversation_ids(connection: Connection, person: Person, instructor_id: UUID) -> list[UUID]:
    """Return the person's conversations: those whose identifier is theirs in any written form."""
    if connection.scalar(select(Instructor.id).where(Instructor.id == instructor_id)) is None:
        raise PersonError("there is no instructor with that id")
    columns = select(Conversation.id, Conversation.customer_identifier)
    rows = connection.execute(
        columns.where(Conversation.instructor_id == instructor_id).execution_options(yield_per=_AT_A_TIME)
    )
    return sorted(row.id for row in rows if person.has(row.customer_identifier))


def customer_ids(connection: Connection, person: Person, instructor_id: UUID) -> list[UUID]:
    """Return the person's customers: one for each channel, if any."""
    theirs = Customer.normalized_identifier == person.normalized_identifier
    return list(
        connection.scalars(select(Customer.id).where(Customer.instructor_id == instructor_id, theirs))
    )


def events(
    connection: Connection, instructor_id: UUID, conversations: list[UUID], customers: list[UUID]
) -> Iterator[Row[UUID, int, int, str]]:
    """Give the events of these conversations or naming these customers."""
    contained = [AuditEvent.event.contains(str(customer_id)) for customer_id in customers]
    rows = connection.execute(
        select(AuditEvent.conversation_id, AuditEvent.position, AuditEvent.sequence, AuditEvent.event)
        .where(
            AuditEvent.instructor_id == instructor_id,
            or_(AuditEvent.conversation_id.in_(conversations), *contained),
        )
        .order_by(AuditEvent.position)
        .execution_options(yield_per=_AT_A_TIME)
    )
    for row in rows:
        named = named_customers(json.loads(row.event))
        if row.conversation_id in conversations or named.intersection(customers):
            yield row


def outboxes(
    connection: Connection, instructor_id: UUID, conversations: list[UUID], customers: list[UUID]
) -> Sequence[Row[UUID, str]]:
    """Return the outboxes of these conversations, and others in which these customers are named."""
    outbox = cast(Conversation.audit_outbox, String).label("outbox")
    named = [outbox.contains(str(customer_id)) for customer_id in customers]
    return connection.execute(
        select(Conversation.id, outbox)
        .where(
            Conversation.instructor_id == instructor_id,
            Conversation.audit_outbox.is_not(None),
            or_(Conversation.id.in_(conversations), *named),
        )
        .order_by(Conversation.id)
    ).all()


def named_customers(fields: dict[str, Any]) -> set[UUID]:
    """Return the customers that an event names as the previous or the new one."""
    return {UUID(fields[key]) for key in CUSTOMER_FIELDS if fields.get(key)}


def named_in(connection: Connection, person: Person, instructor_id: UUID, own: list[UUID]) -> list[UUID]:
    """Return the conversations, except their own, in which a statement of WhatsApp's names the person."""
    rows = connection.execute(
        select(Message.conversation_id, Message.body)
        .where(Message.instructor_id == instructor_id, Message.kind == "system")
        .execution_options(yield_per=_AT_A_TIME)
    )
    return sorted({row.conversation_id for row in rows if person.is_named_in(row.body or "")}.difference(own))


def kept_payloads(connection: Connection, person: Person, instructor_id: UUID) -> Iterator[Kept]:
    """Give the kept payloads that name the person, except where they are another instructor's."""
    accounts = select(ChannelAccount.account_id).where(ChannelAccount.instructor_id != instructor_id)
    elsewhere = frozenset(connection.scalars(accounts))
    rows = connection.execute(
        select(RejectedPayload.id, RejectedPayload.payload).execution_options(yield_per=_AT_A_TIME)
    )
    for row in rows:
        parts, rest = take_apart(row.payload, person, elsewhere)
        if parts:
            yield Kept(row.id, parts, rest)
