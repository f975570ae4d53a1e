"""Finds what the console holds about a person with one instructor."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Select, String, cast, or_, select
from sqlalchemy.orm import InstrumentedAttribute

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


@dataclass
class Records:
    """What there is of a person with one instructor, as one transaction finds it."""

    connection: Connection
    person: Person
    instructor_id: UUID

    @cached_property
    def conversations(self) -> list[UUID]:
        """The ids of those whose identifier is the person's in any written form. Raises PersonError."""
        if self.connection.scalar(select(Instructor.id).where(Instructor.id == self.instructor_id)) is None:
            raise PersonError("there is no instructor with that id")
        columns = select(Conversation.id, Conversation.customer_identifier)
        rows = self._read(columns.where(Conversation.instructor_id == self.instructor_id))
        return sorted(row.id for row in rows if self.person.has(row.customer_identifier))

    @cached_property
    def customers(self) -> list[UUID]:
        """The ids of the person's customers: one for each channel, if any."""
        theirs = Customer.normalized_identifier == self.person.normalized_identifier
        statement = select(Customer.id).where(Customer.instructor_id == self.instructor_id, theirs)
        return list(self.connection.scalars(statement))

    def concerns(self, conversation_id: UUID, event: dict[str, Any]) -> bool:
        """Say whether an event is of these conversations, or names one of these customers."""
        named = {UUID(event[key]) for key in CUSTOMER_FIELDS if event.get(key)}
        return conversation_id in self.conversations or not named.isdisjoint(self.customers)

    def events(self) -> Iterator[Row[UUID, int, int, str]]:
        """Give the trail's events that concern the person."""
        columns = (AuditEvent.conversation_id, AuditEvent.position, AuditEvent.sequence, AuditEvent.event)
        found = or_(AuditEvent.conversation_id.in_(self.conversations), *self._named_in(AuditEvent.event))
        statement = select(*columns).where(AuditEvent.instructor_id == self.instructor_id, found)
        for row in self._read(statement.order_by(AuditEvent.position)):
            if self.concerns(row.conversation_id, json.loads(row.event)):
                yield row

    def outboxes(self) -> Sequence[Row[UUID, str]]:
        """Return the outboxes of these conversations, and others in which these customers are named."""
        outbox = cast(Conversation.audit_outbox, String).label("outbox")
        found = or_(Conversation.id.in_(self.conversations), *self._named_in(outbox))
        waiting = (Conversation.instructor_id == self.instructor_id, Conversation.audit_outbox.is_not(None))
        statement = select(Conversation.id, outbox).where(*waiting, found).order_by(Conversation.id)
        return self.connection.execute(statement).all()

    def named_elsewhere(self) -> list[UUID]:
        """Return others' conversations in which a statement of WhatsApp's names the person."""
        columns = select(Message.conversation_id, Message.body)
        statements = columns.where(Message.instructor_id == self.instructor_id, Message.kind == "system")
        rows = self._read(statements)
        named = {row.conversation_id for row in rows if self.person.is_named_in(row.body or "")}
        return sorted(named.difference(self.conversations))

    def kept_payloads(self) -> Iterator[Kept]:
        """Give the kept payloads that name the person, except where they are another instructor's."""
        accounts = select(ChannelAccount.account_id).where(ChannelAccount.instructor_id != self.instructor_id)
        elsewhere = frozenset(self.connection.scalars(accounts))
        for row in self._read(select(RejectedPayload.id, RejectedPayload.payload)):
            parts, rest = take_apart(row.payload, self.person, elsewhere)
            if parts:
                yield Kept(row.id, parts, rest)

    def _named_in(self, text: ColumnElement[str] | InstrumentedAttribute[str]) -> list[ColumnElement[bool]]:
        return [text.contains(str(customer_id)) for customer_id in self.customers]

    def _read(self, statement: Select[*tuple[Any, ...]]) -> Iterable[Row[*tuple[Any, ...]]]:
        return self.connection.execute(statement.execution_options(yield_per=_AT_A_TIME))
