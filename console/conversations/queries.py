"""Conversations and messages as pages show them, selected straight into small frozen types."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, func, literal, null, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, aliased

from console.conversations.cursors import Cursor
from console.conversations.resolution import Subject
from console.database import Guid, UtcDateTime
from console.identifiers import search_term
from console.models import Conversation, Message

PAGE_SIZE = 50
PREVIEW_CHARACTERS = 160

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """One page of a list, and the cursor of the next if there is one."""

    rows: list[Row]
    next: Cursor | None


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A conversation in a list, with its last message cut short."""

    id: UUID
    instructor_id: UUID
    channel: str
    customer_identifier: str | None
    customer_id: UUID | None
    last_message_at: datetime
    kind: str | None
    body: str | None
    direction: str | None

    @property
    def subject(self) -> Subject:
        """Return what resolution looks at."""
        return Subject(self.id, self.instructor_id, self.channel, self.customer_identifier, self.customer_id)


@dataclass(frozen=True, slots=True)
class ConversationHead:
    """A conversation as its own page names it."""

    id: UUID
    instructor_id: UUID
    channel: str
    customer_identifier: str | None
    customer_id: UUID | None
    status: str

    @property
    def subject(self) -> Subject:
        """Return what resolution looks at."""
        return Subject(self.id, self.instructor_id, self.channel, self.customer_identifier, self.customer_id)


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One message of a thread."""

    id: UUID
    direction: str
    kind: str
    body: str | None
    sent_at: datetime


def inbox(
    connection: Connection,
    *,
    instructor_id: UUID,
    q: str = "",
    before: Cursor | None = None,
    with_link: bool,
    linked: bool | None = None,
) -> Page[ConversationRow]:
    """Return one instructor's conversations, newest message first, in one statement.

    `q` keeps those whose identifier contains it; `linked` those with, or without, a customer.
    Without `with_link` the columns of linking are not touched, and need not exist.
    """
    statement = select(
        Conversation.id,
        Conversation.instructor_id,
        Conversation.channel,
        Conversation.customer_identifier,
        (Conversation.customer_id if with_link else null()).label("customer_id"),
        Conversation.last_message_at,
    ).where(Conversation.instructor_id == instructor_id)
    if linked is not None:
        statement = statement.where(
            Conversation.customer_id.is_not(None) if linked else Conversation.customer_id.is_(None)
        )
    if term := search_term(q):
        statement = statement.where(_contains(Conversation.customer_identifier, q, term))
    found = _keyset(statement, Conversation.last_message_at, Conversation.id, before).subquery()

    last = aliased(Message)
    newest = (
        select(Message.id)
        .where(Message.conversation_id == found.c.id)
        .order_by(Message.sent_at.desc(), Message.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    preview = func.substr(last.body, 1, PREVIEW_CHARACTERS)
    rows = connection.execute(
        select(*found.c, last.kind, preview, last.direction)
        .select_from(found)
        .outerjoin(last, last.id == newest)
        .order_by(found.c.last_message_at.desc(), found.c.id.desc())
    )
    shown = [ConversationRow(*tuple(row)) for row in rows]
    return _page(shown, lambda row: Cursor(row.last_message_at, row.id))


def conversation(
    connection: Connection, *, conversation_id: UUID, instructor_ids: Sequence[UUID], with_link: bool
) -> ConversationHead | None:
    """Return one conversation of these instructors, None for every other."""
    row = connection.execute(
        select(
            Conversation.id,
            Conversation.instructor_id,
            Conversation.channel,
            Conversation.customer_identifier,
            Conversation.customer_id if with_link else null(),
            Conversation.status,
        ).where(Conversation.id == conversation_id, Conversation.instructor_id.in_(instructor_ids))
    ).one_or_none()
    return ConversationHead(*row) if row else None


def messages(
    connection: Connection, *, conversation_id: UUID, before: Cursor | None = None
) -> Page[MessageRow]:
    """Return the newest messages of a conversation below the cursor, newest first."""
    statement = select(Message.id, Message.direction, Message.kind, Message.body, Message.sent_at).where(
        Message.conversation_id == conversation_id
    )
    rows = connection.execute(_keyset(statement, Message.sent_at, Message.id, before))
    return _page([MessageRow(*row) for row in rows], lambda row: Cursor(row.sent_at, row.id))


def subjects(
    connection: Connection, *, conversation_ids: Sequence[UUID], instructor_ids: Sequence[UUID] | None = None
) -> list[Subject]:
    """Return what resolution looks at, in the order asked, of the conversations of these instructors.

    None stands for every instructor: for commands, not for pages.
    """
    statement = select(
        Conversation.id,
        Conversation.instructor_id,
        Conversation.channel,
        Conversation.customer_identifier,
        Conversation.customer_id,
    ).where(Conversation.id.in_(conversation_ids))
    if instructor_ids is not None:
        statement = statement.where(Conversation.instructor_id.in_(instructor_ids))
    found = {row.id: Subject(*row) for row in connection.execute(statement)}
    return [found[one] for one in dict.fromkeys(conversation_ids) if one in found]


def _contains(identifier: InstrumentedAttribute[str | None], q: str, term: str) -> ColumnElement[bool]:
    # Identifiers are kept as they came, so what was typed may stand there with its separators.
    return or_(*(identifier.icontains(text, autoescape=True) for text in dict.fromkeys((term, q.strip()))))


def _keyset(
    statement: Select[*tuple[Any, ...]],
    moment: InstrumentedAttribute[datetime],
    row_id: InstrumentedAttribute[UUID],
    before: Cursor | None,
) -> Select[*tuple[Any, ...]]:
    """Order by moment and id, newest first, and keep one page below the cursor and one row more."""
    if before:
        last = tuple_(literal(before.moment, UtcDateTime), literal(before.id, Guid))
        statement = statement.where(tuple_(moment, row_id) < last)
    return statement.order_by(moment.desc(), row_id.desc()).limit(PAGE_SIZE + 1)


def _page(rows: list[Row], cursor_of: Callable[[Row], Cursor]) -> Page[Row]:
    shown = rows[:PAGE_SIZE]
    return Page(shown, cursor_of(shown[-1]) if len(rows) > PAGE_SIZE else None)
