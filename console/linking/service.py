"""Linking (CM-2.3): the only code that writes a conversation's customer, and only for a person."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import Connection, Executable, String, and_, bindparam, select, update
from sqlalchemy.exc import IntegrityError

from console.database import insert_ignoring, json_append, json_length, new_id, now, writing
from console.identifiers import normalize_identifier
from console.linking import audit
from console.models import Conversation, Customer, Membership, User
from console.permissions import GRANTS, Permission, Role
from console.text import reason_fault

move_waiting_events = audit.drain
history = audit.history
waiting = audit.waiting
MOST_COUNTED = audit.MOST_COUNTED
MOST_SHOWN = audit.MOST_SHOWN


class Outcome(StrEnum):
    """What a request to change a link came to."""

    LINKED = "linked"
    UNLINKED = "unlinked"
    UNCHANGED = "unchanged"


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
    """Somebody changed the link since the version that the actor saw."""


class NotConfirmed(LinkError):
    """A link would be replaced or removed, and the actor hasn't confirmed that."""


class OperationReused(LinkError):
    """The operation id was used before, for something else."""


_writes = Counter("console_link_writes", "Requests to change a link, and why refused.", ["outcome", "why"])
_done = {
    outcome: _writes.labels(outcome, "")
    for outcome in ("linked", "relinked", "unlinked", "unchanged", "repeated")
}
_refused = {kind: _writes.labels("refused", kind.__name__) for kind in LinkError.__subclasses__()}


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks for: a customer, one to be created, or (neither) no customer."""

    conversation_id: UUID
    customer_id: UUID | None
    create: bool
    actor_id: UUID
    reason: str
    seen_version: int
    operation_id: UUID
    confirmed: bool
    context: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _State:
    """A conversation's link as the transaction found it, and the actor's role for its instructor.

    And the customer that was asked for, where that is one of this instructor and channel.
    """

    id: UUID
    instructor_id: UUID
    channel: str
    customer_identifier: str | None
    customer_id: UUID | None
    link_version: int
    link_operation_id: UUID | None
    role: str
    asked_customer_id: UUID | None

    @property
    def normalized_identifier(self) -> str | None:
        """Return what the conversation's identifier normalises to (CM-1)."""
        return normalize_identifier(self.customer_identifier or "")


# Built once: building them anew would be half the cost of a write.
_STATE = (
    select(
        Conversation.id,
        Conversation.instructor_id,
        Conversation.channel,
        Conversation.customer_identifier,
        Conversation.customer_id,
        Conversation.link_version,
        Conversation.link_operation_id,
        Membership.role,
        Customer.id,
    )
    .join(Membership, Membership.instructor_id == Conversation.instructor_id)
    .join(User, and_(User.id == Membership.user_id, User.active.is_(True)))
    .outerjoin(
        Customer,
        and_(
            Customer.id == bindparam("asked_customer_id"),
            Customer.instructor_id == Conversation.instructor_id,
            Customer.channel == Conversation.channel,
        ),
    )
    .where(Conversation.id == bindparam("asked_id"), Membership.user_id == bindparam("actor_id"))
    .with_for_update(of=Conversation)  # PostgreSQL: a repeat at the same time waits, then finds the first
)


@cache
def _change_link(dialect: str) -> Executable:
    """Return the compare-and-set that writes link and event together, and tells how much waits then."""
    return (
        update(Conversation)
        .where(
            Conversation.id == bindparam("asked_id"), Conversation.link_version == bindparam("seen_version")
        )
        .values(
            customer_id=bindparam("new_customer_id"),
            link_version=bindparam("new_version"),
            link_operation_id=bindparam("operation_id"),
            audit_outbox=json_append(dialect, Conversation.audit_outbox, bindparam("event", type_=String())),
        )
        .returning(json_length(dialect, Conversation.audit_outbox))
    )


def link(
    *,
    conversation_id: UUID,
    customer_id: UUID | None,
    create: bool = False,
    actor_id: UUID,
    reason: str,
    seen_version: int,
    operation_id: UUID,
    overwrite: bool = False,
    context: Mapping[str, Any] | None = None,
) -> Outcome:
    """Link a conversation to a customer of its instructor, or with `create` to one made from its identifier.

    One transaction, one compare-and-set on `seen_version`, one event. A repeat of the same operation answers
    as the first did. Raises a LinkError where nothing was written.
    """
    if create == (customer_id is not None):
        raise ValueError("either a customer or create")
    return _counted(
        Request(
            conversation_id,
            customer_id,
            create,
            actor_id,
            reason,
            seen_version,
            operation_id,
            overwrite,
            context or {},
        )
    )


def unlink(
    *,
    conversation_id: UUID,
    actor_id: UUID,
    reason: str,
    seen_version: int,
    operation_id: UUID,
    confirm: bool = False,
    context: Mapping[str, Any] | None = None,
) -> Outcome:
    """Take a conversation's customer away; as `link` in everything else."""
    return _counted(
        Request(
            conversation_id, None, False, actor_id, reason, seen_version, operation_id, confirm, context or {}
        )
    )


def _counted(request: Request) -> Outcome:
    try:
        if reason_fault(request.reason):
            raise ReasonMissing
        outcome, counted_as = _change(request)
    except LinkError as error:
        _refused[type(error)].inc()
        raise
    _done[counted_as].inc()
    return outcome


def _change(request: Request) -> tuple[Outcome, str]:
    """Make the change; return what is said of it, and what it counts as."""
    try:
        with writing(hand_on=True) as connection:
            state = _load(connection, request)
            if state.link_operation_id == request.operation_id:
                return _repeated(connection, state, request), "repeated"
            if state.link_version != request.seen_version:
                raise LinkChanged
            if request.customer_id == state.customer_id and not request.create:
                return Outcome.UNCHANGED, "unchanged"
            if request.customer_id != state.asked_customer_id:
                raise CustomerNotFound
            if state.customer_id and not request.confirmed:
                if request.create:
                    _require_creatable(connection, state)
                raise NotConfirmed
            customer_id = _create_customer(connection, state) if request.create else request.customer_id
            event = _event(state, request, customer_id)
            waiting_events = _write(connection, event)
    except IntegrityError as error:
        if "link_operation_id" in str(error.orig):  # another conversation has this operation id
            raise OperationReused from None
        raise
    audit.move(state.id, event if waiting_events == 1 else None)
    return (Outcome.LINKED if customer_id else Outcome.UNLINKED), event.event_name.change


def _load(connection: Connection, request: Request) -> _State:
    """Read link, role and customer together; CM-2.3 lets only an operator of this instructor go on."""
    asked = {
        "asked_id": request.conversation_id,
        "asked_customer_id": request.customer_id,
        "actor_id": request.actor_id,
    }
    row = connection.execute(_STATE, asked).one_or_none()
    if row is None:
        raise ConversationNotFound
    state = _State(*row)
    if Permission.LINKS_WRITE not in GRANTS[Role(state.role)]:
        raise NotAllowed
    return state


def _repeated(connection: Connection, state: _State, request: Request) -> Outcome:
    """Answer a repeat as its first was answered, from what the row holds of it (the reason is not in it)."""
    wanted = _own_customer(connection, state) if request.create else request.customer_id
    if wanted != state.customer_id or request.seen_version != state.link_version - 1:
        raise OperationReused
    return Outcome.LINKED if wanted else Outcome.UNLINKED


def _require_creatable(connection: Connection, state: _State) -> None:
    if state.normalized_identifier is None or _own_customer(connection, state):
        raise CustomerNotCreatable


def _own_customer(connection: Connection, state: _State) -> UUID | None:
    """Return the customer who has the conversation's own identifier, if there is one."""
    found: UUID | None = connection.scalar(
        select(Customer.id).where(
            Customer.instructor_id == state.instructor_id,
            Customer.channel == state.channel,
            Customer.normalized_identifier == state.normalized_identifier,
        )
    )
    return found


def _create_customer(connection: Connection, state: _State) -> UUID:
    """Create the customer of the conversation's own identifier; the constraint settles a race."""
    if state.normalized_identifier is None:
        raise CustomerNotCreatable
    customer_id = new_id()
    customer = {
        "id": customer_id,
        "instructor_id": state.instructor_id,
        "channel": state.channel,
        "normalized_identifier": state.normalized_identifier,
        "created_at": now(),
    }
    key = ["instructor_id", "channel", "normalized_identifier"]
    if insert_ignoring(connection, Customer, [customer], key).rowcount != 1:
        raise CustomerNotCreatable
    return customer_id


def _write(connection: Connection, event: audit.Event) -> int:
    """Set the customer, raise the version and append the event, unless somebody has meanwhile (CM-2.3).

    Returns how much waits in the outbox now: this event, and what earlier writes left.
    """
    change = {
        "asked_id": event.conversation_id,
        "seen_version": event.sequence - 1,
        "new_customer_id": event.new_customer_id,
        "new_version": event.sequence,
        "operation_id": event.event_id,
        "event": event.to_json(),
    }
    waiting: int | None = connection.execute(
        _change_link(connection.dialect.name), change
    ).scalar_one_or_none()
    if waiting is None:
        raise LinkChanged
    return waiting


def _event(state: _State, request: Request, customer_id: UUID | None) -> audit.Event:
    if customer_id is None:
        name = audit.EventName.UNLINKED
    else:
        name = audit.EventName.RELINKED if state.customer_id else audit.EventName.LINKED
    return audit.Event(
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
