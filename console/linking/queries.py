"""What the linking desk shows besides its list of conversations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Row,
    ScalarSelect,
    Select,
    String,
    and_,
    bindparam,
    cast,
    func,
    literal,
    select,
    true,
    union,
    union_all,
)
from sqlalchemy.orm import aliased

from console.conversations.cursors import Cursor
from console.conversations.queries import PAGE_SIZE, MessageRow, Page, containing, first_message_at
from console.database import among, numbered
from console.identifiers import normalize_identifier, search_term
from console.models import Conversation, Customer, Message, User

QUEUE_SIZE = 25
"""Rows of a page of the queue: it is beside the form, which is opened anew for each conversation."""

MAX_CUSTOMERS = 20
"""How many customers there are to choose from at once."""

MAX_LEFT = 100
"""How far the conversations left to link are counted: the desk then says that there are more."""


@dataclass(frozen=True, slots=True)
class LinkView:
    """A conversation with its link, as the form shows it."""

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

    @property
    def normalized_identifier(self) -> str | None:
        """Return what the conversation's own identifier normalises to (CM-1)."""
        return normalize_identifier(self.customer_identifier)


@dataclass(frozen=True, slots=True)
class Work:
    """What the form page shows of a conversation: its link, its newest messages, and how much is left.

    `statement` is the channel's own newest one (kind `system`): a number or user id may have changed.
    """

    view: LinkView
    thread: Page[MessageRow]
    statement: MessageRow | None
    left: int


class CustomerRow(NamedTuple):
    """A customer to choose, with the id as text and the number of conversations linked to it."""

    id: str
    normalized_identifier: str
    created_at: datetime
    conversations: int


@dataclass(frozen=True, slots=True)
class Choices:
    """Customers to choose from, how many of them match what was typed, and whether there are others."""

    rows: list[CustomerRow]
    found: int
    more: bool


@dataclass(frozen=True, slots=True)
class Labels:
    """What the ids in a link history are called."""

    users: dict[UUID, str]
    customers: dict[UUID, str]


def link_view(
    connection: Connection, *, conversation_id: UUID, instructor_ids: Sequence[UUID]
) -> LinkView | None:
    """Return one conversation of these instructors with its link, None for every other."""
    asked = {"conversation_id": conversation_id, **numbered("instructor", instructor_ids)}
    row = connection.execute(_link_view(len(instructor_ids)), asked).one_or_none()
    return _view(row) if row else None


def _view(row: Row[Any]) -> LinkView:
    return LinkView(**{field.name: row._mapping[field.name] for field in fields(LinkView)})


def work(connection: Connection, *, conversation_id: UUID, instructor_ids: Sequence[UUID]) -> Work | None:
    """Return what the form page shows of one conversation of these instructors, in one statement."""
    asked = {"conversation_id": conversation_id, **numbered("instructor", instructor_ids)}
    rows = connection.execute(_work(len(instructor_ids)), asked).all()
    if not rows:
        return None
    messages = [
        MessageRow(row.message_id, row.direction, row.kind, row.body, row.sent_at)
        for row in rows
        if row.message_id is not None
    ]
    shown = messages[:PAGE_SIZE]
    older = Cursor(shown[-1].sent_at, shown[-1].id) if len(messages) > PAGE_SIZE else None
    statement = next((message for message in messages if message.kind == "system"), None)
    return Work(_view(rows[0]), Page(shown, older), statement, rows[0].left)


@cache
def _work(instructors: int) -> Executable:
    message_id = Message.id.label("message_id")
    newest_first = (
        select(message_id, Message.direction, Message.kind, Message.body, Message.sent_at)
        .where(
            Message.conversation_id == bindparam("conversation_id"),
            among(Message.instructor_id.expression, "instructor", instructors),
        )
        .order_by(Message.sent_at.desc(), Message.id.desc())
    )
    statement = newest_first.where(Message.kind == "system").limit(1).subquery()
    newest = union(select(newest_first.limit(PAGE_SIZE + 1).subquery()), select(statement)).subquery()
    shown = aliased(Conversation)
    its_instructor = select(shown.instructor_id).where(
        shown.id == bindparam("conversation_id"),
        among(shown.instructor_id.expression, "instructor", instructors),
    )
    return (
        _link_view(instructors, _left(its_instructor.scalar_subquery()).label("left"), *newest.c)
        .outerjoin(newest, true())
        .order_by(newest.c.sent_at.desc(), newest.c.message_id.desc())
    )


@cache
def _link_view(instructors: int, *others: ColumnElement[Any]) -> Select[*tuple[Any, ...]]:
    """Build the columns of a LinkView, named as its fields, and `others`."""
    return (
        select(
            Conversation.id,
            Conversation.instructor_id,
            Conversation.channel,
            Conversation.customer_identifier,
            Conversation.status,
            first_message_at().label("first_message_at"),
            Conversation.last_message_at,
            Conversation.customer_id,
            Customer.normalized_identifier.label("linked_identifier"),
            Conversation.link_version,
            cast(Conversation.audit_outbox, String).label("outbox"),
            *others,
        )
        .select_from(Conversation)
        .outerjoin(
            Customer,
            and_(
                Customer.id == Conversation.customer_id, Customer.instructor_id == Conversation.instructor_id
            ),
        )
        .where(
            Conversation.id == bindparam("conversation_id"),
            among(Conversation.instructor_id.expression, "instructor", instructors),
        )
    )


def left(connection: Connection, *, instructor_id: UUID) -> int:
    """Return how many of an instructor's conversations have no customer; MAX_LEFT + 1 stands for more."""
    counted: int = connection.execute(_left_of(), {"instructor_id": instructor_id}).scalar_one()
    return counted


@cache
def _left_of() -> Executable:
    return select(_left(bindparam("instructor_id")))


def _left(instructor_id: ColumnElement[Any]) -> ScalarSelect[int]:
    waiting = aliased(Conversation)
    unlinked = select(literal(1)).where(waiting.instructor_id == instructor_id, waiting.customer_id.is_(None))
    # In the order of its index: without an order, an index over all instructors may be read instead.
    some = unlinked.order_by(waiting.last_message_at.desc()).limit(MAX_LEFT + 1).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


def customers(
    connection: Connection, view: LinkView, q: str = "", *, chosen: UUID | None = None, with_own: bool = False
) -> Choices:
    """Return customers of the conversation's instructor and channel whose identifier contains `q`.

    `chosen` is always among them, and so is the one with the conversation's own identifier where that
    matches, or `with_own`. At most MAX_CUSTOMERS: these two first, then by identifier.
    """
    term, own = search_term(q), view.normalized_identifier
    sought = not q.strip() or bool(term)
    wants_own = own is not None and (with_own or (sought and term.lower() in own.lower()))
    if not (wants_own or chosen or sought):
        return Choices([], 0, False)
    statement = _customers(own=wants_own, chosen=chosen is not None, sought=sought)
    asked = {
        "instructor_id": view.instructor_id,
        "channel": view.channel,
        "own": own,
        "chosen": chosen,
        "pattern": containing(term),
    }
    found = [CustomerRow._make(row) for row in connection.execute(statement, asked).all()]
    shown = found[:MAX_CUSTOMERS]
    matching = sum(sought and term.lower() in row.normalized_identifier.lower() for row in shown)
    return Choices(shown, matching, len(found) > MAX_CUSTOMERS)


@cache
def _customers(*, own: bool, chosen: bool, sought: bool) -> Executable:
    customer = select(Customer.id, Customer.normalized_identifier, Customer.created_at).where(
        Customer.instructor_id == bindparam("instructor_id"), Customer.channel == bindparam("channel")
    )
    # Each part uses an index. With OR, all customers of the instructor would be read.
    parts = []
    if own:
        parts.append(customer.where(Customer.normalized_identifier == bindparam("own")))
    if chosen:
        parts.append(customer.where(Customer.id == bindparam("chosen")))
    if sought:
        matches = Customer.normalized_identifier.ilike(bindparam("pattern"), escape="/")
        first = customer.where(matches).order_by(Customer.normalized_identifier)
        parts.append(select(first.limit(MAX_CUSTOMERS + 1).subquery()))
    found = union(*parts).subquery()
    linked = (
        select(func.count())
        .where(
            Conversation.instructor_id == bindparam("instructor_id"), Conversation.customer_id == found.c.id
        )
        .scalar_subquery()
    )
    shown_id = cast(found.c.id, String)
    return select(shown_id, found.c.normalized_identifier, found.c.created_at, linked).order_by(
        (found.c.normalized_identifier == bindparam("own")).desc(),
        (found.c.id == bindparam("chosen")).desc(),
        found.c.normalized_identifier,
    )


def labels(
    connection: Connection, *, instructor_id: UUID, user_ids: Iterable[UUID], customer_ids: Iterable[UUID]
) -> Labels:
    """Return the names of users and the identifiers of an instructor's customers, with one statement."""
    asked = {"instructor_id": instructor_id, "user_ids": list(user_ids), "customer_ids": list(customer_ids)}
    if not (asked["user_ids"] or asked["customer_ids"]):
        return Labels({}, {})
    rows = connection.execute(_labels(), asked).all()
    return Labels(
        users={row.id: row.name for row in rows if row.kind == "user"},
        customers={row.id: row.name for row in rows if row.kind == "customer"},
    )


@cache
def _labels() -> Executable:
    users = select(literal("user").label("kind"), User.id, User.name).where(
        User.id.in_(bindparam("user_ids"))
    )
    known = select(literal("customer"), Customer.id, Customer.normalized_identifier).where(
        Customer.instructor_id == bindparam("instructor_id"),
        Customer.id.in_(bindparam("customer_ids")),
    )
    return union_all(users, known)
