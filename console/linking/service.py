"""Linking (CM-2.3): the only code that writes a conversation's customer, and only for a person."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.exc import IntegrityError

from console.database import Scope, Sent, TransactionLost, insert_ignoring, new_id, now, send_along, writing
from console.linking import audit
from console.linking.events import Event, EventName
from console.linking.state import State, read_state
from console.models import Conversation, Customer, LinkOperation
from console.permissions import GRANTS, Permission, Role
from console.text import reason_fault

log = structlog.get_logger()

FOREIGN_KEY_VIOLATION = "23503"
"""PostgreSQL's SQLSTATE."""


class LinkOutcome(StrEnum):
    """The outcome of a request to change a link."""

    LINKED = auto()
    UNLINKED = auto()
    UNCHANGED = auto()


class LinkError(Exception):
    """A link that was not changed; nothing was written."""


class ConversationNotFound(LinkError):
    """There is no such conversation, or its instructor is none of the actor's."""


class NotAllowed(LinkError):
    """The actor may read this instructor's conversations, not link them."""


class CustomerNotFound(LinkError):
    """There is no such customer, or it is another instructor's or another channel's."""


class CustomerNotCreatable(LinkError):
    """The conversation's identifier doesn't normalise, or has a customer already."""


class ReasonMissing(LinkError):
    """No reason was given that can be seen and kept."""


class LinkChanged(LinkError):
    """The link was changed since the version that the actor saw."""


class NotConfirmed(LinkError):
    """A link would be replaced or removed, and the actor hasn't confirmed that."""


class OperationReused(LinkError):
    """The operation id was used before, for something else."""


class _Unchanged(Exception):
    """The link is as asked for already: nothing is written, nor is the operation id (docs/decisions/0012)."""


_writes = Counter("console_link_writes", "Requests to change a link, and why refused.", ["outcome", "why"])
# Counters start at zero for every outcome, so that the first one shows as a rise.
for _counted_as in (*(name.change for name in EventName), "unchanged", "repeated"):
    _writes.labels(_counted_as, "")
for _refusal in LinkError.__subclasses__():
    _writes.labels("refused", _refusal.__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRequest:
    """What an operator asks for: a customer, `create` one, or `unlink`; exactly one of the three."""

    conversation_id: UUID
    instructor_id: UUID | None = None
    """The conversation's instructor; naming them spares a look-up."""
    customer_id: UUID | None = None
    create: bool = False
    unlink: bool = False
    actor_id: UUID
    reason: str
    seen_version: int
    operation_id: UUID
    confirmed: bool = False
    """Whether a customer that is linked may be replaced or removed."""
    context: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.customer_id is not None) + self.create + self.unlink != 1:
            raise ValueError("a customer, create or unlink")

    @property
    def outcome(self) -> LinkOutcome:
        """Return the outcome of the request if it is done."""
        return LinkOutcome.UNLINKED if self.unlink else LinkOutcome.LINKED

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the content that the operation id belongs to (CM-2.3)."""
        kind = "create" if self.create else "unlink" if self.unlink else "link"
        customer_id = self.customer_id and str(self.customer_id)
        content = [str(self.actor_id), str(self.conversation_id), kind, customer_id, self.reason]
        return hashlib.sha256(json.dumps([*content, self.seen_version]).encode()).hexdigest()


_CHANGE_LINK = (
    update(Conversation)
    .where(
        Conversation.id == bindparam("asked_id"),
        Conversation.instructor_id == bindparam("asked_instructor_id"),
        Conversation.link_version == bindparam("seen_version"),
    )
    .values(customer_id=bindparam("new_customer_id"), link_version=bindparam("new_version"))
)
_CLAIM = (
    "INSERT INTO link_operations (operation_id, instructor_id, conversation_id, digest) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (operation_id) DO NOTHING"
)
_DIGEST = select(LinkOperation.digest).where(LinkOperation.operation_id == bindparam("operation_id"))


def change(request: LinkRequest, scope: Scope) -> LinkOutcome:
    """Link a conversation to a customer of its instructor, or unlink it (CM-2.3).

    One transaction, one compare-and-set on `seen_version`, one event. A repeat of the same operation answers
    as the first did. Raises a LinkError where nothing was written.
    """
    try:
        if reason_fault(request.reason):
            raise ReasonMissing
        try:
            done = _write(request, scope)
        except TransactionLost as lost:  # by the trail, which may fail without stopping a write (CM-2.5)
            done = _write(request, scope, past_the_trail=str(lost))
    except LinkError as error:
        _count("refused", type(error).__name__)
        raise
    except _Unchanged:
        _count("unchanged")
        return LinkOutcome.UNCHANGED
    _count(done)
    return request.outcome


def _count(outcome: str, why: str = "") -> None:
    try:
        _writes.labels(outcome, why).inc()
    except Exception as error:  # the write is committed, so the answer says that it was done
        log.error("write_not_counted", kind=type(error).__name__)


def _write(request: LinkRequest, scope: Scope, *, past_the_trail: str = "") -> str:
    """Check and write in one transaction, and return what was done; a refusal rolls all of it back."""
    with writing(scope) as connection:
        state = _load(connection, request)
        claim = _claim(connection, state, request)
        try:
            customer_id = _new_customer_id(connection, state, request)
        except (LinkError, _Unchanged):
            digest = connection.scalar(_DIGEST, {"operation_id": request.operation_id})
            if claim.rowcount == 1:
                raise
            if digest != request.digest:
                raise OperationReused from None
            return "repeated"
        event = _event(state, request, customer_id)
        _set_customer(connection, event)
        if claim.rowcount != 1:  # a repeat would have found a later version
            raise OperationReused
        if past_the_trail:
            audit.append(connection, event, why=past_the_trail)
        else:  # the last statement, as it holds the trail's counter until the commit
            audit.record(connection, event, waiting=state.outbox)
    return event.event_name.change


def _load(connection: Connection, request: LinkRequest) -> State:
    """Read link, role and customer together; CM-2.3 lets only an operator of this instructor go on."""
    state = read_state(
        connection,
        conversation_id=request.conversation_id,
        instructor_id=request.instructor_id,
        customer_id=request.customer_id,
        actor_id=request.actor_id,
    )
    if state is None:
        raise ConversationNotFound
    if Permission.LINKS_WRITE not in GRANTS[Role(state.role)]:
        raise NotAllowed
    return state


def _claim(connection: Connection, state: State, request: LinkRequest) -> Sent:
    """Record the operation id with its content; a new one has one row, which the next statement brings."""
    operation = (request.operation_id, state.instructor_id, state.id, request.digest)
    return send_along(connection, _CLAIM, tuple(map(str, operation)))


def _new_customer_id(connection: Connection, state: State, request: LinkRequest) -> UUID | None:
    """Check the request against the state, and return the customer to set, who is created where asked for."""
    if state.link_version != request.seen_version:
        raise LinkChanged
    if request.customer_id == state.customer_id and not request.create:
        raise _Unchanged
    if request.customer_id != state.asked_customer_id:
        raise CustomerNotFound
    customer_id = _create_customer(connection, state) if request.create else request.customer_id
    if state.customer_id and not request.confirmed:
        raise NotConfirmed
    return customer_id


def _create_customer(connection: Connection, state: State) -> UUID:
    """Create the customer of the conversation's own identifier; the constraint settles a race."""
    if state.normalized_identifier is None:
        raise CustomerNotCreatable
    customer_id = new_id()
    customer = {
        "id": customer_id,
        "instructor_id": state.instructor_id,
        "channel": state.channel,
        "normalized_identifier": state.normalized_identifier,
    }
    key = ["instructor_id", "channel", "normalized_identifier"]
    if insert_ignoring(connection, Customer, [customer], key).rowcount != 1:
        raise CustomerNotCreatable
    return customer_id


def _set_customer(connection: Connection, event: Event) -> None:
    """Set the customer and raise the version, if it is still the one that the person saw (CM-2.3)."""
    change = {
        "asked_id": event.conversation_id,
        "asked_instructor_id": event.instructor_id,
        "seen_version": event.sequence - 1,
        "new_customer_id": event.new_customer_id,
        "new_version": event.sequence,
    }
    try:
        changed = connection.execute(_CHANGE_LINK, change).rowcount
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) != FOREIGN_KEY_VIOLATION:
            raise
        raise CustomerNotFound from None  # erased after it was read; SQLite has one writer at a time
    if changed != 1:
        raise LinkChanged


def _event(state: State, request: LinkRequest, customer_id: UUID | None) -> Event:
    if customer_id is None:
        name = EventName.UNLINKED
    else:
        name = EventName.RELINKED if state.customer_id else EventName.LINKED
    return Event(
        event_id=request.operation_id,
        event_name=name,
        conversation_id=state.id,
        instructor_id=state.instructor_id,
        sequence=state.link_version + 1,
        actor_id=request.actor_id,
        timestamp=now(),
        previous_customer_id=state.customer_id,
        new_customer_id=customer_id,
        reason=request.reason,
        context={
            **request.context,
            "customer_created": request.create,
            "customer_identifier": state.customer_identifier,
            "normalized_identifier": state.normalized_identifier,
        },
    )
