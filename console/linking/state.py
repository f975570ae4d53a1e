"""The state of a link that a request to change it finds (CM-2.3)."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, String, and_, bindparam, cast, select

from console.identifiers import normalize_identifier
from console.models import Conversation, Customer, Membership, User


@dataclass(frozen=True, slots=True)
class State:
    """A conversation's link as the transaction found it, and the actor's role for its instructor.

    And the customer that was asked for, where that is one of this instructor and channel.
    """

    id: UUID
    instructor_id: UUID
    channel: str
    customer_identifier: str | None
    customer_id: UUID | None
    link_version: int
    outbox: str | None
    role: str
    asked_customer_id: UUID | None

    @property
    def normalized_identifier(self) -> str | None:
        """Return what the conversation's identifier normalises to (CM-1)."""
        return normalize_identifier(self.customer_identifier)


# Built once: building them for each write would take much of its time.
_STATE = (
    select(
        Conversation.channel,
        Conversation.customer_identifier,
        Conversation.customer_id,
        Conversation.link_version,
        cast(Conversation.audit_outbox, String).label("outbox"),
        Membership.role,
        Customer.id.label("asked_customer_id"),
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
    .where(
        Conversation.id == bindparam("asked_id"),
        Conversation.instructor_id == bindparam("asked_instructor_id"),
        Membership.user_id == bindparam("actor_id"),
    )
    .with_for_update(of=Conversation)  # PostgreSQL: a repeat at the same time waits, then finds the first
)


_INSTRUCTOR = select(Conversation.instructor_id).where(Conversation.id == bindparam("asked_id"))


def read_state(
    connection: Connection,
    *,
    conversation_id: UUID,
    instructor_id: UUID | None,
    customer_id: UUID | None,
    actor_id: UUID,
) -> State | None:
    """Read a conversation's link, and lock it to the end of the transaction.

    An instructor that isn't named is looked up first: a row is locked in one place. None where there is no
    such conversation, or where the actor isn't active and a member of its instructor.
    """
    instructor_id = instructor_id or connection.scalar(_INSTRUCTOR, {"asked_id": conversation_id})
    if instructor_id is None:
        return None
    asked = {
        "asked_id": conversation_id,
        "asked_instructor_id": instructor_id,
        "asked_customer_id": customer_id,
        "actor_id": actor_id,
    }
    row = connection.execute(_STATE, asked).one_or_none()
    return State(id=conversation_id, instructor_id=instructor_id, **row._mapping) if row else None
