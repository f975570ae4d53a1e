"""What the linking desk shows besides the conversations themselves."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, String, cast, func, literal, or_, select, union_all

from console.conversations.queries import PREVIEW_CHARACTERS, newest_message
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
    created_at: datetime
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
    connection: Connection, *, conversation_id: UUID, instructor_ids: Iterable[UUID]
) -> LinkView | None:
    """Return one conversation of these instructors with its link, None for every other."""
    found = (
        select(Conversation.__table__, newest_message().label("newest"))
        .where(Conversation.id == conversation_id, Conversation.instructor_id.in_(instructor_ids))
        .limit(1)
        .subquery()
    )
    row = connection.execute(
        select(
            found.c.id,
            found.c.instructor_id,
            found.c.channel,
            found.c.customer_identifier,
            found.c.status,
            found.c.created_at,
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
    ).one_or_none()
    return LinkView(*tuple(row)) if row else None


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
    is_own = Customer.normalized_identifier == view.normalized_identifier
    is_chosen = Customer.id == chosen
    term = search_term(q)
    wanted = [is_chosen]
    if term:
        wanted.append(Customer.normalized_identifier.icontains(term, autoescape=True))
    if with_own or not term:
        wanted.append(is_own)
    linked = (
        select(func.count())
        .where(Conversation.instructor_id == Customer.instructor_id, Conversation.customer_id == Customer.id)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(Customer.id, Customer.normalized_identifier, Customer.created_at, linked)
        .where(Customer.instructor_id == view.instructor_id, Customer.channel == view.channel)
        .where(or_(*wanted))
        .order_by(is_own.desc(), is_chosen.desc(), Customer.normalized_identifier)
        .limit(MOST_CUSTOMERS)
    )
    return [CustomerRow(*row) for row in rows]


def labels(
    connection: Connection, *, instructor_id: UUID, user_ids: Iterable[UUID], customer_ids: Iterable[UUID]
) -> Labels:
    """Return the names of users and the identifiers of an instructor's customers, in one statement."""
    users = select(literal("user").label("kind"), User.id, User.name).where(User.id.in_(list(user_ids)))
    known = select(literal("customer"), Customer.id, Customer.normalized_identifier).where(
        Customer.instructor_id == instructor_id, Customer.id.in_(list(customer_ids))
    )
    rows = connection.execute(union_all(users, known)).all()
    return Labels(
        users={row.id: row.name for row in rows if row.kind == "user"},
        customers={row.id: row.name for row in rows if row.kind == "customer"},
    )
