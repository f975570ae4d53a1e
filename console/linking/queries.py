"""What the linking desk shows besides the conversations themselves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from uuid import UUID

from sqlalchemy import (
    Connection,
    Executable,
    String,
    bindparam,
    cast,
    func,
    literal,
    select,
    union,
    union_all,
)

from console.conversations.queries import PREVIEW_CHARACTERS, containing, first_message_at, newest_message
from console.identifiers import normalize_identifier, search_term
from console.models import Conversation, Customer, Message, User

MOST_CUSTOMERS = 20


@dataclass(frozen=True, slots=True)
class LinkView:
    """A conversation with its link and last message, as the form shows it and a write has to have seen it."""

    id: UUID
    instructor_id: UUID
    channel: str
    customer_identifier: str | None
    status: str
    first_message_at: datetime | None
    last_message_at: datetime
    customer_id: UUID | None
    linked_identifier: str | None
    link_version: int
    outbox: str | None
    kind: str | None
    body: str | None
    direction: str | None

    @property
    def normalized_identifier(self) -> str | None:
        """Return what the conversation's own identifier normalises to (CM-1)."""
        return normalize_identifier(self.customer_identifier or "")


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """A customer to choose, with the number of conversations linked to it."""

    id: UUID
    normalized_identifier: str
    created_at: datetime
    conversations: int


@dataclass(frozen=True, slots=True)
class Labels:
    """What the ids in a link history are called."""

    users: dict[UUID, str]
    customers: dict[UUID, str]


def link_view(
    connection: Connection, *, conversation_id: UUID, instructor_ids: Sequence[UUID]
) -> LinkView | None:
    """Return one conversation of these instructors with its link, None for every other."""
    asked = {"conversation_id": conversation_id, "instructor_ids": instructor_ids}
    row = connection.execute(_link_view(), asked).one_or_none()
    return LinkView(*row) if row else None


@cache
def _link_view() -> Executable:
    found = (
        select(
            Conversation.__table__,
            newest_message().label("newest"),
            first_message_at().label("first_message_at"),
        )
        .where(
            Conversation.id == bindparam("conversation_id"),
            Conversation.instructor_id.in_(bindparam("instructor_ids", expanding=True)),
        )
        .limit(1)
        .subquery()
    )
    return (
        select(
            found.c.id,
            found.c.instructor_id,
            found.c.channel,
            found.c.customer_identifier,
            found.c.status,
            found.c.first_message_at,
            found.c.last_message_at,
            found.c.customer_id,
            Customer.normalized_identifier,
            found.c.link_version,
            cast(found.c.audit_outbox, String),
            Message.kind,
            func.substr(Message.body, 1, PREVIEW_CHARACTERS),
            Message.direction,
        )
        .select_from(found)
        .outerjoin(Customer, Customer.id == found.c.customer_id)
        .outerjoin(Message, Message.id == found.c.newest)
    )


def customers(
    connection: Connection,
    view: LinkView,
    q: str = "",
    *,
    chosen: UUID | None = None,
    with_own: bool = False,
) -> list[CustomerRow]:
    """Return customers of the conversation's instructor and channel whose identifier contains `q`.

    `chosen` is always among them, and so is the one with the conversation's own identifier where nothing is
    typed, or `with_own`. At most 20: these two first, then by identifier.
    """
    term, own = search_term(q), view.normalized_identifier
    wants_own = own is not None and (with_own or term.lower() in own.lower())
    if not (wants_own or chosen or term):
        return []
    statement = _customers(own=wants_own, chosen=chosen is not None, sought=bool(term))
    asked = {
        "instructor_id": view.instructor_id,
        "channel": view.channel,
        "own": own,
        "chosen": chosen,
        "pattern": containing(term),
    }
    return [CustomerRow(*row) for row in connection.execute(statement, asked)]


@cache
def _customers(*, own: bool, chosen: bool, sought: bool) -> Executable:
    one = select(Customer.id, Customer.normalized_identifier, Customer.created_at).where(
        Customer.instructor_id == bindparam("instructor_id"), Customer.channel == bindparam("channel")
    )
    # Each has an index of its own. Asked for with OR, an instructor's customers would all be read.
    parts = []
    if own:
        parts.append(one.where(Customer.normalized_identifier == bindparam("own")))
    if chosen:
        parts.append(one.where(Customer.id == bindparam("chosen")))
    if sought:
        matches = Customer.normalized_identifier.ilike(bindparam("pattern"), escape="/")
        first = one.where(matches).order_by(Customer.normalized_identifier).limit(MOST_CUSTOMERS)
        parts.append(select(first.subquery()))
    found = union(*parts).subquery()
    linked = (
        select(func.count())
        .where(
            Conversation.instructor_id == bindparam("instructor_id"), Conversation.customer_id == found.c.id
        )
        .scalar_subquery()
    )
    return (
        select(found, linked)
        .order_by(
            (found.c.normalized_identifier == bindparam("own")).desc(),
            (found.c.id == bindparam("chosen")).desc(),
            found.c.normalized_identifier,
        )
        .limit(MOST_CUSTOMERS)
    )


def labels(
    connection: Connection, *, instructor_id: UUID, user_ids: Iterable[UUID], customer_ids: Iterable[UUID]
) -> Labels:
    """Return the names of users and the identifiers of an instructor's customers, in one statement."""
    asked = {
        "instructor_id": instructor_id,
        "user_ids": list(user_ids),
        "customer_ids": list(customer_ids),
    }
    rows = connection.execute(_labels(), asked).all()
    return Labels(
        users={row.id: row.name for row in rows if row.kind == "user"},
        customers={row.id: row.name for row in rows if row.kind == "customer"},
    )


@cache
def _labels() -> Executable:
    users = select(literal("user").label("kind"), User.id, User.name).where(
        User.id.in_(bindparam("user_ids", expanding=True))
    )
    known = select(literal("customer"), Customer.id, Customer.normalized_identifier).where(
        Customer.instructor_id == bindparam("instructor_id"),
        Customer.id.in_(bindparam("customer_ids", expanding=True)),
    )
    return union_all(users, known)
